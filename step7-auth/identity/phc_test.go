package identity

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The published vectors of the reference implementation (P-H-C/phc-winner-argon2,
// src/test.c) for Argon2id, version 0x13.
func TestPublishedHashes(t *testing.T) {
	for _, v := range []struct{ password, hash string }{
		{"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
		{"password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
		{"password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"},
		{"password", "$argon2id$v=19$m=65536,t=1,p=1$c29tZXNhbHQ$9qWtwbpyPd3vm1rB1GThgPzZ3/ydHL92zKL+15XZypg"},
		{"differentpassword", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94"},
		{"password", "$argon2id$v=19$m=65536,t=2,p=1$ZGlmZnNhbHQ$vfMrBczELrFdWP0ZsfhWsRPaHppYdP3MVEMIVlqoFBw"},
	} {
		h, err := ParsePasswordHash(v.hash)
		require.NoError(t, err, v.hash)
		require.Equal(t, v.hash, h.String())
		require.Equal(t, h.key, h.derive(v.password), v.hash)
		require.NotEqual(t, h.key, h.derive(v.password+"x"), v.hash)
	}
}

// The reference implementation's program makes the same of a password as we do.
func TestArgon2Program(t *testing.T) {
	program, err := exec.LookPath("argon2")
	require.NoError(t, err, "install it with shared/lab/setup.sh argon2")
	for _, c := range []cost{cheap, {64, 1, 8}, {100, 3, 3}, {256, 2, 2}, defaultCost} {
		for _, password := range []string{"x", "correct horse", "пароль", strings.Repeat("a", 127)} { // its limit
			if c == defaultCost && password != "x" {
				continue // it takes long
			}
			h := hashPassword(password, c)
			h.salt = []byte("a salt of any length")
			h.key = h.derive(password)
			cmd := exec.Command(program, string(h.salt), "-id", "-e", "-l", fmt.Sprint(len(h.key)), "-t", fmt.Sprint(c.passes), "-k", fmt.Sprint(c.memory), "-p", fmt.Sprint(c.lanes))
			cmd.Stdin = strings.NewReader(password)
			out, err := cmd.Output()
			require.NoError(t, err)
			require.Equal(t, h.String(), strings.TrimSpace(string(out)), "%+v", c)
		}
	}
}

func TestHashesHaveSaltsOfTheirOwn(t *testing.T) {
	a, b := hashPassword("secret", cheap), hashPassword("secret", cheap)
	require.NotEqual(t, a.salt, b.salt)
	require.NotEqual(t, a.key, b.key)
	require.Len(t, a.salt, 16)
	require.Len(t, a.key, 32)
}

func TestHashPassword(t *testing.T) {
	h, err := HashPassword("secret")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(h.String(), "$argon2id$v=19$m=65536,t=3,p=4$"), "the second recommended option of RFC 9106")
	require.Equal(t, h.key, h.derive("secret"))
	_, err = HashPassword("")
	require.EqualError(t, err, "a password has 1 to 255 bytes, not 0")
	_, err = HashPassword(strings.Repeat("x", 256))
	require.EqualError(t, err, "a password has 1 to 255 bytes, not 256")
}

func TestParsePasswordHashRefuses(t *testing.T) {
	const none = "the password is not a hash such as $argon2id$v=19$m=65536,t=3,p=4$SALT$KEY: use 'clients passwd'"
	const salt, key = "c29tZXNhbHQ", "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	b64 := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	limits := func(m, t, p string) string {
		return "a password hash with m=" + m + ",t=" + t + ",p=" + p + ": allowed are m from 8·p to 262144, t up to 10, and p up to 16"
	}
	for _, tt := range []struct{ hash, want string }{
		{"", none},
		{"secret", none},
		{"$2b$12$abcdefghijklmnopqrstuu", none},
		{"$argon2i$v=19$m=256,t=2,p=1$" + salt + "$" + key, none},
		{"$argon2id$v=16$m=256,t=2,p=1$" + salt + "$" + key, none},
		{"$argon2id$m=256,t=2,p=1$" + salt + "$" + key, none},
		{"$argon2id$v=19$m=256,t=2$" + salt + "$" + key, none},
		{"$argon2id$v=19$t=2,m=256,p=1$" + salt + "$" + key, none},
		{"$argon2id$v=19$m=0256,t=2,p=1$" + salt + "$" + key, none},
		{"$argon2id$v=19$m=+256,t=2,p=1$" + salt + "$" + key, none},
		{"$argon2id$v=19$m=256,t=2,p=1,keyid=x$" + salt + "$" + key, none},
		{"$argon2id$v=19$m=256,t=2,p=1$" + salt + "=$" + key, none},
		{"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + key + "$", none},
		{"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + key[:42] + "5", none}, // unused bits
		{"$argon2id$v=19$m=256,t=2,p=256$" + salt + "$" + key, none},
		{"$argon2id$v=19$m=4294967296,t=2,p=1$" + salt + "$" + key, none},
		{"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + b64(300), none},
		{"$argon2id$v=19$m=262145,t=2,p=1$" + salt + "$" + key, limits("262145", "2", "1")},
		{"$argon2id$v=19$m=4294967295,t=4294967295,p=255$" + salt + "$" + key, limits("4294967295", "4294967295", "255")},
		{"$argon2id$v=19$m=256,t=11,p=1$" + salt + "$" + key, limits("256", "11", "1")},
		{"$argon2id$v=19$m=256,t=0,p=1$" + salt + "$" + key, limits("256", "0", "1")},
		{"$argon2id$v=19$m=256,t=2,p=0$" + salt + "$" + key, limits("256", "2", "0")},
		{"$argon2id$v=19$m=256,t=2,p=17$" + salt + "$" + key, limits("256", "2", "17")},
		{"$argon2id$v=19$m=7,t=2,p=1$" + salt + "$" + key, limits("7", "2", "1")},
		{"$argon2id$v=19$m=31,t=2,p=4$" + salt + "$" + key, limits("31", "2", "4")},
		{"$argon2id$v=19$m=256,t=2,p=1$" + b64(7) + "$" + key, "a password hash with a salt of 7 bytes: 8 to 64 are allowed"},
		{"$argon2id$v=19$m=256,t=2,p=1$" + b64(65) + "$" + key, "a password hash with a salt of 65 bytes: 8 to 64 are allowed"},
		{"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + b64(15), "a password hash with a key of 15 bytes: 16 to 64 are allowed"},
		{"$argon2id$v=19$m=256,t=2,p=1$" + salt + "$" + b64(65), "a password hash with a key of 65 bytes: 16 to 64 are allowed"},
		{"$argon2id$v=19$m=256,t=2,p=1$$", "a password hash with a salt of 0 bytes: 8 to 64 are allowed"},
	} {
		_, err := ParsePasswordHash(tt.hash)
		require.EqualError(t, err, tt.want, tt.hash)
	}
}

func FuzzParsePasswordHash(f *testing.F) {
	f.Add(somePHC)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParsePasswordHash(s)
		if err != nil {
			require.Less(t, len(err.Error()), 200)
			return
		}
		require.Equal(t, s, h.String())
		require.LessOrEqual(t, h.cost.memory, uint32(maxMemory))
		require.LessOrEqual(t, h.cost.passes, uint32(maxPasses))
		require.LessOrEqual(t, h.cost.lanes, uint8(maxLanes))
		require.NotEmpty(t, h.salt)
		require.NotEmpty(t, h.key)
	})
}
