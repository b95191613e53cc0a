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

// setAside sets aside a damaged file of the state, such as resolvconf's journal, puts back what
// can be put back without it, and reports whether another try is worthwhile.
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
			return true // the file is not a journal
		}
	}
	path := cmp.Or(c.Path, resolvconf.DefaultPath)
	if err := restore(path); err != nil {
		slog.Warn(path+" can't be restored to what it was before a client that was killed", "error", err)
		return false
	}
	return true
}

// restore restores a file to what it was before a client that was killed, and that has left
// no usable journal. The original may be in a file beside it.
func restore(path string) error {
	aside := resolvconf.Aside(path)
	_, err := os.Lstat(aside)
	kept := err == nil
	switch {
	case kept && ours(aside):
		return os.Remove(aside)
	case kept && (ours(path) || !there(path)):
		slog.Warn(path+" was restored from what a killed client had set aside", "file", aside)
		return os.Rename(aside, path)
	case kept: // another program has written the file since
		now, err := atomicfile.SetAside(aside)
		if err == nil {
			slog.Warn("what a killed client had set aside is older than "+path, "now", now)
		}
		return err
	case ours(path):
		slog.Warn(path + " was written by a client that was killed, and what was there before is lost: it is removed, so that the program that manages the network writes it again")
		return os.Remove(path)
	}
	return nil
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// ours reports whether a client has written a file.
func ours(path string) bool {
	text, _, err := atomicfile.Read(path, maxFile, atomicfile.Follow)
	return err == nil && bytes.HasPrefix(text, []byte(resolvconf.Signature))
}
