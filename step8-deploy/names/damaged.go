package names

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf"
)

// setAside sets aside what of the state is damaged, puts back what can be put back without
// it, and tells whether it is worth another try.
func setAside(c resolvconf.Config, err error) bool {
	damage, is := errors.AsType[*resolvconf.Damaged](err)
	if !is {
		return false
	}
	if damage.File != "" {
		now, err := atomicfile.SetAside(damage.File)
		if err != nil {
			slog.Warn("a file of the state is damaged, and can't be set aside", "file", damage.File, "damage", damage.Err, "error", err)
			return false
		}
		slog.Warn("a file of the state is damaged, and was set aside", "file", damage.File, "damage", damage.Err, "now", now)
		if !strings.HasSuffix(damage.File, ".json") {
			return true // it is no journal
		}
	}
	path := cmp.Or(c.Path, resolvconf.DefaultPath)
	if err := restore(path); err != nil {
		slog.Warn(path+" can't be made what it was before a client that was killed", "error", err)
		return false
	}
	return true
}

// restore makes a file what it was before a client that was killed, of which there is no
// journal: that has its original beside it, or it has written a draft there.
func restore(path string) error {
	aside := resolvconf.Aside(path)
	_, err := os.Lstat(aside)
	kept := err == nil
	switch {
	case kept && ours(aside):
		return os.Remove(aside)
	case kept && (ours(path) || !there(path)):
		slog.Warn(path+" is again what a client that was killed had set aside", "file", aside)
		return os.Rename(aside, path)
	case kept: // somebody has written another one since
		now, err := atomicfile.SetAside(aside)
		if err == nil {
			slog.Warn("what a client that was killed had set aside is older than "+path, "now", now)
		}
		return err
	case ours(path):
		slog.Warn(path + " was written by a client that was killed, and nobody knows any more what was there before: it is removed, so that the network's own program writes it anew")
		return os.Remove(path)
	}
	return nil
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// ours tells whether a client has written a file.
func ours(path string) bool {
	text, _, err := atomicfile.Read(path, maxFile, atomicfile.Follow)
	return err == nil && bytes.HasPrefix(text, []byte(resolvconf.Signature))
}
