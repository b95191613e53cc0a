package resolvconf

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"stepvpn/shared/atomicfile"
)

// keepCopy saves a copy of the original, for a person to look at, and says so. It is called
// when resolv.conf is not put back, because another program has changed it meanwhile. The
// copy's name comes from the content, so that nothing is kept twice; the oldest go.
func (s *state) keepCopy(found snapshot) error {
	var was string
	switch found.Kind {
	case isAbsent:
		was = "there was none"
	case isSymlink:
		was = fmt.Sprintf("it was a symlink to %q", found.Target)
	default:
		sum := sha256.Sum256(found.Data)
		name := filepath.Join(s.dir, fmt.Sprintf("resolv.conf-%x", sum[:4]))
		if err := atomicfile.Write(name, found.Data, atomicfile.Options{Trace: step}); err != nil {
			return err
		}
		was = "it was as in " + name
		if kept, _ := filepath.Glob(filepath.Join(s.dir, "resolv.conf-*")); len(kept) > maxKept {
			slices.SortFunc(kept, func(a, b string) int { return cmp.Compare(changed(a), changed(b)) })
			os.Remove(kept[0])
		}
	}
	slog.Warn(fmt.Sprintf("%s was changed by another program meanwhile: left alone. Before, %s", s.path, was))
	return nil
}

// maxKept bounds what is kept for a person to look at.
const maxKept = 10

// changed returns when a file was written, for the order.
func changed(name string) int64 {
	info, err := os.Lstat(name)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}
