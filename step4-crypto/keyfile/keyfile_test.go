package keyfile

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCreateAndRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	defer syscall.Umask(syscall.Umask(0))
	require.NoError(t, Create(name))
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Len(t, text, 45)

	key, err := Read(name)
	require.NoError(t, err)
	require.Equal(t, string(text), base64.StdEncoding.EncodeToString(key[:])+"\n")

	other := filepath.Join(t.TempDir(), "key")
	require.NoError(t, Create(other))
	otherKey, err := Read(other)
	require.NoError(t, err)
	require.NotEqual(t, key, otherKey)
}

func TestCreateNeverOverwrites(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(name, []byte("precious"), 0o600))
	require.ErrorContains(t, Create(name), "exists already")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
	require.Error(t, Create(filepath.Join(t.TempDir(), "no", "such", "folder")))
}

func TestReadRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, Size))
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"others may read", good, 0o644, "may be read or changed by others"},
		{"group may read", good, 0o640, "may be read or changed by others"},
		{"others may write", good, 0o602, "may be read or changed by others"},
		{"empty", "", 0o600, "holds 0 bytes, a key has 32"},
		{"short", base64.StdEncoding.EncodeToString(make([]byte, 31)), 0o600, "holds 31 bytes"},
		{"long", base64.StdEncoding.EncodeToString(make([]byte, 33)), 0o600, "holds 33 bytes"},
		{"cut", good[:20], 0o600, "holds 15 bytes"},
		{"not base64", strings.Repeat("!", 44), 0o600, "does not hold a key in base64"},
		{"two keys", good + "\n" + good, 0o600, "does not hold a key in base64"},
		{"another spelling", good[:42] + "B=", 0o600, "does not hold a key in base64"},
		{"endless", strings.Repeat(" ", 1<<20), 0o600, "does not hold a key in base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
			require.NoError(t, os.Chmod(file, c.mode))
			_, err := Read(file)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, file)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		file := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(file, []byte(" "+good+"\r\n"), mode))
		_, err := Read(file)
		require.NoError(t, err, "mode %o", mode)
	}
}

func TestReadOfWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	_, err := Read(dir)
	require.ErrorContains(t, err, "not a regular file")
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	_, err = Read(pipe) // and it does not hang
	require.ErrorContains(t, err, "not a regular file")
	_, err = Read(filepath.Join(dir, "missing"))
	require.ErrorContains(t, err, "there is no key file")
}
