package rotation

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
)

// File returns the name of the file in a client's folder for state. The file has one key per
// line, in base64: that in the settings, and then the remembered keys, the newest first.
func File(state string) string { return filepath.Join(state, "server-keys") }

// Read returns the remembered keys of a client whose settings name the key settings. Keys
// that were remembered under another key in the settings do not count.
func Read(state string, settings noise.PublicKey) (keys []noise.PublicKey, err error) {
	text, _, err := atomicfile.Read(File(state), maxSize, atomicfile.Ours)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	under, keys, err := parse(string(text))
	if err != nil || under != settings {
		return nil, err
	}
	return keys, nil
}

// Load is Read for a caller that goes on in any case: it sets a damaged file aside.
func Load(state string, settings noise.PublicKey) []noise.PublicKey {
	keys, err := Read(state, settings)
	if err != nil {
		now, err2 := atomicfile.SetAside(File(state))
		if err2 != nil {
			now = "in its place: " + err2.Error()
		}
		slog.Warn("the file of the keys that the server has announced is damaged and was set aside: the client uses the key in the settings", "file", File(state), "damage", err, "now", now)
	}
	return keys
}

// Save stores keys that were announced while the client's settings named the key settings. If
// there are none, it removes the file.
func Save(state string, settings noise.PublicKey, keys []noise.PublicKey) error {
	if len(keys) == 0 {
		err := os.Remove(File(state))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var b strings.Builder
	for _, key := range append([]noise.PublicKey{settings}, keys...) {
		fmt.Fprintln(&b, noise.FormatKey(key))
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(File(state), []byte(b.String()), atomicfile.Options{})
}

func parse(text string) (under noise.PublicKey, keys []noise.PublicKey, err error) {
	var list []noise.PublicKey
	for line := range strings.Lines(text) {
		key, err := noise.ParseKey[noise.PublicKey](strings.TrimSuffix(line, "\n"))
		if err != nil || key == (noise.PublicKey{}) || len(list) > maxKeys {
			return under, nil, fmt.Errorf("line %d is not one of up to %d public keys", len(list)+1, 1+maxKeys)
		}
		list = append(list, key)
	}
	if len(list) < 2 {
		return under, nil, errors.New("the file has no remembered key")
	}
	return list[0], list[1:], nil
}

// maxKeys is the largest number of keys that are remembered: see After.
const maxKeys = 2

const maxSize = 256 // of the file, in bytes
