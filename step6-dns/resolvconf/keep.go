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

// putBackFile restores the file, unless another program has changed it since.
func (s *state) putBackFile(j *journal) error {
	left, err := j.File.putBack(j.Path)
	switch {
	case err != nil:
		return err
	case !left:
		slog.Info(j.Path + ": as it was")
		return nil
	}
	kept, err := s.keep(j.File.Found)
	if err != nil {
		return err
	}
	slog.Warn(fmt.Sprintf("%s was changed by another program meanwhile: left alone. Before, %s", j.Path, kept))
	return nil
}

// maxKept bounds what is kept for a person to look at.
const maxKept = 10

// keep saves what was found for a person to look at, and says what it was. Its
// name comes from its content, so that nothing is kept twice; the oldest go.
func (s *state) keep(found snapshot) (was string, err error) {
	switch found.Kind {
	case isAbsent:
		return "there was none", nil
	case isSymlink:
		return fmt.Sprintf("it was a symlink to %q", found.Target), nil
	}
	sum := sha256.Sum256(found.Data)
	name := filepath.Join(s.dir, fmt.Sprintf("resolv.conf-%x", sum[:4]))
	if err := atomicfile.Write(name, found.Data, atomicfile.Options{Trace: step}); err != nil {
		return "", err
	}
	if kept, _ := filepath.Glob(filepath.Join(s.dir, "resolv.conf-*")); len(kept) > maxKept {
		slices.SortFunc(kept, func(a, b string) int { return cmp.Compare(changed(a), changed(b)) })
		os.Remove(kept[0])
	}
	return "it was as in " + name, nil
}

// changed returns when a file was written, for the order.
func changed(name string) int64 {
	info, err := os.Lstat(name)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}
