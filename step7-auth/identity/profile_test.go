package identity

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

const goodProfile = "server vpn.example.org:5555\nserver-key KEY(server)\nprivate-key KEY(alice)\n"

func TestProfile(t *testing.T) {
	psk := testKey("psk")
	full := Profile{
		Server: "[2001:db8::1]:5555", ServerKey: testKey("server"), PrivateKey: noise.PrivateKey(testKey("alice")),
		PresharedKey: (*[noise.KeyLen]byte)(&psk), User: "alice",
	}
	least := Profile{Server: "203.0.113.10:5555", ServerKey: testKey("server"), PrivateKey: noise.PrivateKey(testKey("alice"))}
	for _, p := range []Profile{full, least} {
		back, err := ParseProfile("alice.conf", p.Text())
		require.NoError(t, err)
		require.Equal(t, &p, back)
	}
	require.Equal(t, withKeys("server         [2001:db8::1]:5555\nserver-key     KEY(server)\nprivate-key    KEY(alice)\n"+
		"preshared-key  KEY(psk)\nuser           alice\n"), full.Text())

	// As people write it.
	p, err := ParseProfile("alice.conf", withKeys("# hello\r\n\n private-key\tKEY(alice) # mine\r\nserver-key KEY(server)\nserver 203.0.113.10:5555"))
	require.NoError(t, err)
	require.Equal(t, &least, p)

	// Without a private key it is not complete.
	least.PrivateKey = noise.PrivateKey{}
	_, err = ParseProfile("alice.conf", least.Text())
	require.EqualError(t, err, "client file alice.conf has no line 'private-key ...'")
}

func TestParseProfileRefuses(t *testing.T) {
	notServer := " is not HOST:PORT, such as vpn.example.org:5555 or [2001:db8::1]:5555"
	for _, tt := range []struct{ text, want string }{
		{"", "client file alice.conf has no line 'server ...'"},
		{strings.Replace(goodProfile, "server-key", "#", 1), "client file alice.conf has no line 'server-key ...'"},
		{goodProfile + "colour blue", `alice.conf:4: "colour" is not a setting of a client file: those are server, server-key, private-key, preshared-key*, user* (* is optional)`},
		{goodProfile + "server 192.0.2.1:1", "alice.conf:4: server is given twice"},
		{goodProfile + "user", "alice.conf:4: user has 0 values, not 1"},
		{goodProfile + "user alice bob", "alice.conf:4: user has 2 values, not 1"},
		{goodProfile + "user a/b", `alice.conf:4: "a/b" is not a valid name: use up to 63 letters (a-z, A-Z), digits and . _ @ -, not starting with . or -`},
		{goodProfile + "preshared-key hunter2", "alice.conf:4: preshared-key is not a key, which has 44 characters of base64"},
		{"private-key hunter2", "alice.conf:1: private-key is not a key, which has 44 characters of base64"},
		{"server-key hunter2", `alice.conf:1: "hunter2" is not a public key, which has 44 characters of base64`},
		{"server vpn.example.org", `alice.conf:1: "vpn.example.org"` + notServer},
		{"server :5555", `alice.conf:1: ":5555"` + notServer},
		{"server vpn:", `alice.conf:1: "vpn:"` + notServer},
		{"server vpn:0", `alice.conf:1: "vpn:0"` + notServer},
		{"server vpn:65536", `alice.conf:1: "vpn:65536"` + notServer},
		{"server vpn:https", `alice.conf:1: "vpn:https"` + notServer},
		{"server 2001:db8::1:5555", `alice.conf:1: "2001:db8::1:5555"` + notServer},
		{"server " + strings.Repeat("x", 254) + ":1", `alice.conf:1: "` + strings.Repeat("x", 50) + `"...` + notServer},
		{strings.Repeat("#\n", 10_000), "client file alice.conf has more than 16384 bytes"},
	} {
		_, err := ParseProfile("alice.conf", withKeys(tt.text))
		require.EqualError(t, err, tt.want)
	}
}

func TestLoadProfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice.conf")
	_, err := LoadProfile(path)
	require.EqualError(t, err, "there is no client file "+path)
	require.NoError(t, CreateProfile(path, withKeys(goodProfile)))
	require.Equal(t, fs.FileMode(0o600), must[fs.FileInfo](t)(os.Stat(path)).Mode())
	p, err := LoadProfile(path)
	require.NoError(t, err)
	require.Equal(t, "vpn.example.org:5555", p.Server)

	require.EqualError(t, CreateProfile(path, ""), path+" exists already, and is left as it is")
	require.Equal(t, withKeys(goodProfile), contents(t, path))
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = LoadProfile(path)
		require.EqualError(t, err, fmt.Sprintf("client file %s may be read or changed by users other than its owner (mode %#o)", path, mode))
	}
	require.NoError(t, os.Chmod(path, 0o400))
	require.NoError(t, os.Truncate(path, 20))
	_, err = LoadProfile(path)
	require.ErrorContains(t, err, path+`:1: "vpn.example.o" is not HOST:PORT`)
	_, err = LoadProfile(t.TempDir())
	require.ErrorContains(t, err, " is not a regular file")
}

func FuzzParseProfile(f *testing.F) {
	f.Add(withKeys(goodProfile))
	f.Add(withKeys(goodProfile + "preshared-key KEY(psk) # x\r\nuser alice"))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProfile("alice.conf", text)
		if err != nil {
			require.Less(t, len(err.Error()), 500)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		if p.PrivateKey == (noise.PrivateKey{}) {
			return // Text leaves it to the owner
		}
		back, err := ParseProfile("alice.conf", p.Text())
		require.NoError(t, err)
		require.Equal(t, p, back)
	})
}
