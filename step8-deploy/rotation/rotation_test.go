package rotation

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/push"
	"stepvpn/step8-deploy/routes"
)

func key(n byte) noise.PublicKey { return noise.PublicKey{n} }

var none noise.PublicKey

// The next key is sent with the other settings, and clients that do not know it skip it.
func TestThereAndBack(t *testing.T) {
	s := push.Settings{DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1")}}
	plain, err := s.Marshal()
	require.NoError(t, err)
	got, err := Parse(plain)
	require.NoError(t, err)
	require.Equal(t, none, got)

	told := Append(plain, key(7))
	got, err = Parse(told)
	require.NoError(t, err)
	require.Equal(t, key(7), got)
	old, err := push.Parse(told)
	require.NoError(t, err)
	require.Equal(t, s, old)
	nets, err := routes.Parse(told)
	require.NoError(t, err)
	require.Empty(t, nets)
}

func TestParseRefuses(t *testing.T) {
	item := func(value []byte) []byte { return push.Item{Type: typeNextKey, Value: value}.Append([]byte{1}) }
	for what, settings := range map[string][]byte{
		"short": item(make([]byte, 31)), "long": item(bytes.Repeat([]byte{1}, 33)), "empty": item(nil),
		"zero": item(make([]byte, 32)), "two": Append(Append([]byte{1}, key(1)), key(2)),
		"cut": Append([]byte{1}, key(1))[:20], "another version": Append([]byte{2}, key(1)),
	} {
		got, err := Parse(settings)
		require.Error(t, err, what)
		require.Equal(t, none, got)
	}
}

func TestAfter(t *testing.T) {
	k0, k1, k2 := key(1), key(2), key(3)
	list := func(keys ...noise.PublicKey) []noise.PublicKey { return keys }
	for _, c := range []struct {
		what     string
		known    []noise.PublicKey
		by, next noise.PublicKey
		want     []noise.PublicKey
	}{
		{"nothing happens", nil, k0, none, nil},
		{"told", nil, k0, k1, list(k1)},
		{"told again", list(k1), k0, k1, list(k1)},
		{"another one", list(k1), k0, k2, list(k2)},
		{"come by it", list(k1), k1, none, list(k1)},
		{"the next change", list(k1), k1, k2, list(k2, k1)},
		{"come by that", list(k2, k1), k2, none, list(k2)},
		{"that was taken back", list(k2, k1), k1, none, list(k1)},
		{"all was taken back", list(k1), k0, none, nil},
		{"back to the first", list(k1), k1, k0, list(k0, k1)},
	} {
		got, err := After(k0, c.known, c.by, c.next)
		require.NoError(t, err, c.what)
		require.Equal(t, c.want, got, c.what)
		require.LessOrEqual(t, len(got), maxKeys)
	}
	for what, c := range map[string]struct{ by, next noise.PublicKey }{
		"by an unknown key": {k2, key(9)}, "by none": {none, k1}, "itself": {k0, k0}, "itself, told": {k1, k1},
	} {
		_, err := After(k0, list(k1), c.by, c.next)
		require.Error(t, err, what)
	}
}

func TestStored(t *testing.T) {
	dir := t.TempDir() + "/state" // which is made
	require.Empty(t, Load(dir, key(1)))
	require.NoError(t, Save(dir, key(1), nil))
	keys := []noise.PublicKey{key(3), key(2)}
	require.NoError(t, Save(dir, key(1), keys))
	info, err := os.Stat(File(dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.Equal(t, keys, Load(dir, key(1)))
	require.Empty(t, Load(dir, key(4)), "the settings name another key")
	require.FileExists(t, File(dir), "that is no damage")
	require.NoError(t, Save(dir, key(1), nil))
	require.NoFileExists(t, File(dir))
}

// A damaged file is set aside, with a warning, and the start goes on.
func TestDamaged(t *testing.T) {
	line := func(n byte) string { return noise.FormatKey(key(n)) + "\n" }
	for what, text := range map[string]string{
		"empty": "", "one key": line(1), "too many": line(1) + line(2) + line(3) + line(4), "cut": (line(1) + line(2))[:60],
		"zero": line(1) + line(0), "binary": "\x00\xff", "space": line(1) + " " + line(2), "long": line(1) + line(2) + strings.Repeat("\n", maxSize),
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(File(dir), []byte(text), 0o600))
		var log bytes.Buffer
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		got := Load(dir, key(1))
		slog.SetDefault(before)
		require.Empty(t, got, what)
		require.Contains(t, log.String(), "is damaged and was set aside", what)
		aside, err := os.ReadFile(File(dir) + ".damaged")
		require.NoError(t, err)
		require.Equal(t, text, string(aside))
		require.NoError(t, Save(dir, key(1), []noise.PublicKey{key(2)}), "it goes on")
		require.Equal(t, []noise.PublicKey{key(2)}, Load(dir, key(1)))
	}
	// A file that others could have written does not count, either.
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(File(dir), []byte(line(1)+line(2)), 0o600))
	require.NoError(t, os.Chmod(File(dir), 0o666))
	_, err := Read(dir, key(1))
	require.Error(t, err)
}

func FuzzParse(f *testing.F) {
	f.Add(Append([]byte{1}, key(1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		next, err := Parse(b)
		if err != nil || next == none {
			return
		}
		again, err := Parse(Append([]byte{1}, next))
		require.NoError(t, err)
		require.Equal(t, next, again)
	})
}
