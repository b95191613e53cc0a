package config

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server without a next key has no file for it or, as a service, one with the word "missing".
// A file that can't be used is an error: it is not taken for a missing one.
func TestNextKey(t *testing.T) {
	s := &Server{Key: t.TempDir() + "/server.key"}
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		require.NoError(t, os.WriteFile(name, []byte(text), mode))
		require.NoError(t, os.Chmod(name, mode))
	}
	put(s.Key, privateKey+"\n", 0o600)
	for what, c := range map[string]struct {
		text, wrong string
		mode        os.FileMode
		key         bool
	}{
		"a key":              {publicKey + "\n", "", 0o600, true},
		"the word for none":  {"missing", "", 0o400, false},
		"others may read it": {publicKey + "\n", "may be read or changed by users other than its owner", 0o644, false},
		"a damaged key":      {"not a key\n", "does not hold a key", 0o600, false},
		"an empty file":      {"", "holds 0 bytes", 0o600, false},
		"the present key":    {privateKey + "\n", "holds the same key", 0o600, false},
	} {
		os.Remove(s.NextKeyFile())
		none, err := s.NextKey()
		require.NoError(t, err)
		require.Nil(t, none)
		put(s.NextKeyFile(), c.text, c.mode)
		key, err := s.NextKey()
		require.Equal(t, c.key, key != nil, what)
		if c.wrong == "" {
			require.NoError(t, err, what)
			require.NoError(t, s.CheckFiles())
		} else {
			require.ErrorContains(t, err, c.wrong, what)
			require.ErrorContains(t, s.CheckFiles(), c.wrong, "'stepvpn check' reports it")
		}
	}
}
