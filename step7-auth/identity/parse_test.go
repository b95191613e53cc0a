package identity

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

const somePHC = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestParse(t *testing.T) {
	r := registry(t,
		"# the clients",
		"",
		"alice KEY(alice)",
		"  bob\tKEY(bob)  addr=10.8.0.7,fd00:8::7   expires=2026-12-31 # his phone\r",
		"#carol KEY(carol)",
		"dora@work-2 KEY(dora) password="+somePHC+" expires=2026-12-31T18:00:00+01:00 #",
		"   # "+strings.Repeat("long comment ", 1000))
	require.Equal(t, 3, r.Len())
	all := slices.Collect(r.All())

	require.Equal(t, &Client{Name: "alice", Key: testKey("alice"), Line: 3}, all[0])
	require.Equal(t, &Client{
		Name: "bob", Key: testKey("bob"), Line: 4,
		Addrs:   []netip.Addr{netip.MustParseAddr("10.8.0.7"), netip.MustParseAddr("fd00:8::7")},
		Expires: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC),
	}, all[1])
	require.Equal(t, "dora@work-2", all[2].Name)
	require.Equal(t, time.Date(2026, 12, 31, 17, 0, 0, 0, time.UTC), all[2].Expires)
	require.Equal(t, somePHC, all[2].Password.String())

	for _, c := range all {
		byKey, ok := r.ByKey(c.Key)
		require.True(t, ok)
		require.Same(t, c, byKey)
		byName, ok := r.ByName(c.Name)
		require.True(t, ok)
		require.Same(t, c, byName)
	}
	_, ok := r.ByKey(testKey("carol"))
	require.False(t, ok)
	_, ok = r.ByName("carol")
	require.False(t, ok)
	require.False(t, all[0].NeedsPassword())
	require.True(t, all[2].NeedsPassword())
}

func TestExpired(t *testing.T) {
	r := registry(t, "alice KEY(a)", "bob KEY(b) expires=2026-12-31")
	alice, _ := r.ByName("alice")
	bob, _ := r.ByName("bob")
	end := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	require.False(t, alice.Expired(end))
	require.False(t, bob.Expired(end.Add(-1)))
	require.True(t, bob.Expired(end))
	require.True(t, bob.Expired(end.AddDate(100, 0, 0)))
}

func TestParseRefuses(t *testing.T) {
	const (
		option   = " is not an option: those are addr=, expires=, psk=, password= and colour="
		badName  = " is not a valid name: use up to 63 letters (a-z, A-Z), digits and . _ @ -, not starting with . or -"
		badTime  = " is not a time, such as 2026-12-31 or 2026-12-31T18:00:00Z"
		badAddr  = " is not an address, such as 10.8.0.7 or fd00:8::7"
		notInVPN = " is not an address that a client can have in the tunnel"
		badKey   = " is not a public key, which has 44 characters of base64"
	)
	for _, tt := range []struct{ line, want string }{
		{"alice", "alice has no public key: a line is NAME PUBLIC-KEY [OPTION...]"},
		{"alice # KEY(a)", "alice has no public key: a line is NAME PUBLIC-KEY [OPTION...]"},
		{"KEY(a) alice", `"` + noise.FormatKey(testKey("a")) + `"` + badName},
		{"-alice KEY(a)", `"-alice"` + badName},
		{".alice KEY(a)", `".alice"` + badName},
		{"al/ice KEY(a)", `"al/ice"` + badName},
		{"älice KEY(a)", `"älice"` + badName},
		{"al\x00ice KEY(a)", `"al\x00ice"` + badName},
		{strings.Repeat("a", 64) + " KEY(a)", `"` + strings.Repeat("a", 50) + `"...` + badName},
		{"alice AAAA", `"AAAA"` + badKey},
		{"alice " + noise.FormatKey(testKey("a"))[:43], `"` + noise.FormatKey(testKey("a"))[:43] + `"` + badKey},
		{"alice KEY(a)KEY(b)", `"` + noise.FormatKey(testKey("a")) + noise.FormatKey(testKey("b"))[:6] + `"...` + badKey},
		{"alice " + strings.Repeat("A", 42) + "B=", `"` + strings.Repeat("A", 42) + `B="` + badKey},
		{"alice " + strings.Repeat("!", 44), `"` + strings.Repeat("!", 44) + `"` + badKey},
		{"alice KEY(a) adr=10.8.0.7", `"adr"` + option},
		{"alice KEY(a) Addr=10.8.0.7", `"Addr"` + option},
		{"alice KEY(a) bob", `"bob"` + option},
		{"alice KEY(a) psk=KEY(b)", "psk= must be psk=own: the key itself does not belong here"},
		{"alice KEY(a) =", `""` + option},
		{"alice KEY(a) addr=10.8.0.7 addr=10.8.0.8", "the option addr is given twice"},
		{"alice KEY(a) addr", `""` + badAddr},
		{"alice KEY(a) addr=", `""` + badAddr},
		{"alice KEY(a) addr=10.8.0.7,", `""` + badAddr},
		{"alice KEY(a) addr=10.8.0.7/24", `"10.8.0.7/24"` + badAddr},
		{"alice KEY(a) addr=10.8.0.256", `"10.8.0.256"` + badAddr},
		{"alice KEY(a) addr=10.8.0.07", `"10.8.0.07"` + badAddr},
		{"alice KEY(a) addr=fe80::1%eth0", `"fe80::1%eth0"` + notInVPN},
		{"alice KEY(a) addr=fe80::1", `"fe80::1"` + notInVPN},
		{"alice KEY(a) addr=::ffff:10.8.0.7", `"::ffff:10.8.0.7"` + notInVPN},
		{"alice KEY(a) addr=0.0.0.0", `"0.0.0.0"` + notInVPN},
		{"alice KEY(a) addr=127.0.0.1", `"127.0.0.1"` + notInVPN},
		{"alice KEY(a) addr=224.0.0.1", `"224.0.0.1"` + notInVPN},
		{"alice KEY(a) addr=255.255.255.255", `"255.255.255.255"` + notInVPN},
		{"alice KEY(a) addr=10.8.0.7,10.8.0.7", "the address 10.8.0.7 is given twice"},
		{"alice KEY(a) addr=fd00::7,fd00:0::7", "the address fd00::7 is given twice"},
		{"alice KEY(a) addr=10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.9", "more than 8 addresses for one client"},
		{"alice KEY(a) expires=", `""` + badTime},
		{"alice KEY(a) expires=tomorrow", `"tomorrow"` + badTime},
		{"alice KEY(a) expires=2026-02-30", `"2026-02-30"` + badTime},
		{"alice KEY(a) expires=0001-01-01", `"0001-01-01"` + badTime},
		{"alice KEY(a) expires=2026-12-31T18:00:00", `"2026-12-31T18:00:00"` + badTime},
		{"alice KEY(a) password=secret", "the password is not a hash such as $argon2id$v=19$m=65536,t=3,p=4$SALT$KEY: use 'clients passwd'"},
		{"alice KEY(a) " + strings.Repeat("x", 1024), "the line has more than 1024 bytes"},
		{"zoe KEY(a)", "the name zoe is already in line 2"},
		{"alice KEY(zoe)", "alice has the public key of zoe in line 2: each client needs a key of its own"},
		{"alice KEY(a) addr=10.8.0.9", "alice has the address 10.8.0.9 of zoe in line 2"},
		{"alice KEY(a) addr=10.8.0.7,fd00:0::9", "alice has the address fd00::9 of zoe in line 2"},
	} {
		text := withKeys("#\nzoe KEY(zoe) addr=10.8.0.9,fd00::9\n" + tt.line + "\nlast KEY(last)\n")
		_, err := Parse("clients", text)
		require.EqualError(t, err, "clients:3: "+tt.want, tt.line)
	}
}

// manyClients returns the text of a registry with so many clients, a third of
// which have options.
func manyClients(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "client%d %s", i, noise.FormatKey(testKey(fmt.Sprint(i))))
		if i%3 == 0 {
			fmt.Fprintf(&b, " addr=10.%d.%d.%d expires=2036-12-31 password=%s # a comment", 1+i>>16, i>>8&255, i&255, somePHC)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestParseBounds(t *testing.T) {
	text := manyClients(maxClients)
	r, err := Parse("clients", text)
	require.NoError(t, err)
	require.Equal(t, maxClients, r.Len())
	_, err = Parse("clients", text+withKeys("more KEY(more)"))
	require.EqualError(t, err, "clients:65537: more than 65536 clients")
	_, err = Parse("clients", strings.Repeat("#\n", MaxFile/2)+"\n")
	require.EqualError(t, err, "clients has more than 16777216 bytes")
}

func FuzzParse(f *testing.F) {
	f.Add(withKeys("# x\nalice KEY(a) addr=10.8.0.7,fd00::7 expires=2026-12-31 # y\r\n\nbob KEY(b) password=" + somePHC))
	f.Add("alice")
	f.Add("\x00")
	hash := hashPassword("secret", cheap)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse("clients", text)
		if err != nil {
			require.Contains(t, err.Error(), "clients")
			require.Less(t, len(err.Error()), 500)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		seen := 0
		for c := range r.All() {
			seen++
			// A client's text says all about it.
			again, err := Parse("clients", c.text())
			require.NoError(t, err)
			back, ok := again.ByKey(c.Key)
			require.True(t, ok)
			require.True(t, same(c, back))
			// Each can be edited, and nothing else changes.
			lines := strings.Split(text, "\n")
			if len(lines[c.Line-1])+200 > maxLine {
				continue
			}
			d := &Draft{Registry: r, file: "clients", text: text}
			require.NoError(t, d.SetPassword(c.Name, hash))
			edited, ok := d.ByName(c.Name)
			require.True(t, ok)
			require.Equal(t, hash.String(), edited.Password.String())
			require.NoError(t, d.Revoke(c.Name, time.Now()))
			require.Equal(t, r.Len()-1, d.Len())
			_, was := d.Revoked(c.Name)
			require.True(t, was)
			now := strings.Split(d.text, "\n")
			now[c.Line-1] = lines[c.Line-1]
			require.Equal(t, lines, now)
		}
		require.Equal(t, r.Len(), seen)
	})
}
