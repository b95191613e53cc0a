package pool

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

const alice, bob = "AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// logged returns what is logged while f runs, without times and levels.
func logged(t *testing.T, f func()) string {
	var log strings.Builder
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	f()
	return log.String()
}

func content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond) // so that there are fractions to round
		cfg := Config{Addrs: prefixes("10.8.0.1/29", "fd00:8::1/64"), State: filepath.Join(t.TempDir(), "new", "leases"), Grace: time.Minute}
		p := opened(t, cfg)
		require.Equal(t, "stepvpn leases 1 running\n", content(t, cfg.State))
		for n := range 5 {
			mustLease(t, p, n, time.Now())
		}
		synctest.Wait()
		require.Contains(t, content(t, cfg.State), "10.8.0.2 "+alice+" 2000-01-01T00:00:01Z\n")
		p.Forget(key(2), time.Now())
		p.Release(key(1), time.Now())
		time.Sleep(30 * time.Second)
		require.NoError(t, p.Close())
		require.Equal(t, `stepvpn leases 1 closed
10.8.0.2 AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:31Z
10.8.0.3 AAAAAAAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:01Z
10.8.0.4 - 2000-01-01T00:00:01Z
10.8.0.5 AAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:31Z
10.8.0.6 AAAAAAAAAAUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:31Z
fd00:8::2 AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:31Z
fd00:8::3 AAAAAAAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:01Z
fd00:8::4 - 2000-01-01T00:00:01Z
fd00:8::5 AAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:31Z
fd00:8::6 AAAAAAAAAAUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2000-01-01T00:00:31Z
`, content(t, cfg.State))

		p = opened(t, cfg)
		require.Equal(t, prefixes("10.8.0.6/29", "fd00:8::6/64"), mustLease(t, p, 4, time.Now()))
		_, err := p.Lease(key(9), time.Now())
		require.ErrorIs(t, err, ErrFull)
		time.Sleep(31 * time.Second) // the grace time went on
		mustLease(t, p, 9, time.Now())
		mustLease(t, p, 10, time.Now())
		require.Equal(t, prefixes("10.8.0.2/29", "fd00:8::2/64"), mustLease(t, p, 0, time.Now()))
	})
}

// Nobody knows how long clients were there after the file was written.
func TestRestartAfterKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Addrs: prefixes("10.8.0.1/30"), State: t.TempDir() + "/leases", Grace: time.Minute}
		p, err := Open(cfg)
		require.NoError(t, err)
		mustLease(t, p, 0, time.Now())
		synctest.Wait()
		time.Sleep(time.Hour)
		kill(p)
		p = opened(t, cfg)
		_, err = p.Lease(key(1), time.Now().Add(time.Minute-1))
		require.ErrorIs(t, err, ErrFull)
		mustLease(t, p, 1, time.Now().Add(time.Minute))
	})
}

// The clock was wrong when the leases were saved, or is now.
func TestTimesInTheFuture(t *testing.T) {
	name := t.TempDir() + "/leases"
	require.NoError(t, os.WriteFile(name, []byte(headClosed+"\n10.8.0.2 "+alice+" 2099-01-01T00:00:00Z\n"), 0o600))
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/30"), State: name, Grace: time.Minute})
	_, err := p.Lease(key(1), time.Now())
	require.ErrorIs(t, err, ErrFull)
	mustLease(t, p, 1, time.Now().Add(time.Minute))
}

// A client that comes and goes, and keeps its address, costs no writing. Those
// that are new cost one write a second.
func TestWritesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Addrs: prefixes("10.8.0.1/16"), State: t.TempDir() + "/leases"}
		p := opened(t, cfg)
		writes, last := 0, inode(t, cfg.State)
		look := func() {
			if now := inode(t, cfg.State); now != last {
				writes, last = writes+1, now
			}
		}
		mustLease(t, p, 0, time.Now())
		synctest.Wait()
		look()
		require.Equal(t, 1, writes, "at once")

		for n := range 100 { // for 10 seconds
			mustLease(t, p, 1+n, time.Now())
			synctest.Wait()
			look()
			time.Sleep(100 * time.Millisecond)
		}
		require.InDelta(t, 11, writes, 1)
		time.Sleep(2 * saveEvery)
		synctest.Wait()
		look()
		require.Equal(t, 2+100, strings.Count(content(t, cfg.State), "\n"), "nothing is left behind")

		writes = 0
		for n := range 1000 {
			p.Release(key(n%101), time.Now())
			mustLease(t, p, n%101, time.Now())
			time.Sleep(100 * time.Millisecond)
			look()
		}
		require.Zero(t, writes)
	})
}

func inode(t *testing.T, name string) uint64 {
	info, err := os.Stat(name)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestAnotherSubnet(t *testing.T) {
	name := t.TempDir() + "/leases"
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64"), State: name})
	for n := range 5 {
		mustLease(t, p, n, epoch)
	}
	require.NoError(t, p.Close())
	// A smaller subnet, the server has an address that a client had, and no IPv6.
	log := logged(t, func() { p = opened(t, Config{Addrs: prefixes("10.8.0.2/29"), State: name}) })
	require.Equal(t, "msg=\"leases are dropped: clients can't have these addresses in the tunnel's subnets\" leases=6 file="+name+"\n", log)
	require.Equal(t, prefixes("10.8.0.5/29"), mustLease(t, p, 3, epoch))
	require.Equal(t, prefixes("10.8.0.1/29"), mustLease(t, p, 0, epoch))
	require.NoError(t, p.Close())
	log = logged(t, func() { opened(t, Config{Addrs: prefixes("10.8.0.2/29"), State: name}) })
	require.Empty(t, log, "it is said once")
}

// A file that a power cut has damaged is put aside, and the log says so.
func TestDamagedState(t *testing.T) {
	for text, damage := range map[string]string{
		"":            `it is empty`,
		"stepvpn lea": `line 1 is not "stepvpn leases 1 running" or "stepvpn leases 1 closed"`,
	} {
		name := t.TempDir() + "/leases"
		config := Config{Addrs: prefixes("10.8.0.1/24"), State: name}
		require.Empty(t, logged(t, func() { require.NoError(t, opened(t, config).Close()) }), "a new file is not damaged")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		require.EqualError(t, CheckState(name), damage)
		var p *Pool
		log := logged(t, func() { p = opened(t, config) })
		require.Equal(t, `msg="the file of leases is damaged and was put aside; clients may get other addresses than before" file=`+name+
			` damage=`+strconv.Quote(damage)+` now=`+name+".damaged\n", log)
		require.Equal(t, text, content(t, name+".damaged"))
		mustLease(t, p, 0, epoch)
	}
}

func TestParseState(t *testing.T) {
	const at = " 2026-11-25T20:58:25Z\n"
	s, err := parseState(headClosed + "\n10.8.0.3 " + alice + at + "10.8.0.4 -" + at + "10.8.0.5 -" + at + "fd00::1 " + alice + at)
	require.NoError(t, err)
	require.True(t, s.closed)
	when := time.Date(2026, 11, 25, 20, 58, 25, 0, time.UTC)
	require.Equal(t, []record{
		{netip.MustParseAddr("10.8.0.3"), key(0), when},
		{netip.MustParseAddr("10.8.0.4"), nobody, when},
		{netip.MustParseAddr("10.8.0.5"), nobody, when},
		{netip.MustParseAddr("fd00::1"), key(0), when},
	}, s.records)

	for text, want := range map[string]string{
		strings.Repeat("x", maxStateSize+1):                            "it is larger than 16777216 bytes",
		"stepvpn leases 2 closed\n":                                    `line 1 is not "stepvpn leases 1 running" or "stepvpn leases 1 closed"`,
		"\n" + headClosed + "\n":                                       `line 1 is not "stepvpn leases 1 running" or "stepvpn leases 1 closed"`,
		headClosed:                                                     "the end is missing",
		headClosed + "\n10.8.0.3 - 2026-11-25T20:58:25Z":               "the end is missing",
		headClosed + "\n\n":                                            "line 2: it has 1 fields, not an address, a key and a time",
		headClosed + "\n10.8.0.3  -" + at:                              "line 2: it has 4 fields, not an address, a key and a time",
		headClosed + "\n10.8.0.03 -" + at:                              `line 2: "10.8.0.03" is not an address`,
		headClosed + "\nfd00:0::1 -" + at:                              `line 2: "fd00:0::1" is not an address`,
		headClosed + "\nfe80::1%eth0 -" + at:                           `line 2: "fe80::1%eth0" is not an address`,
		headClosed + "\n::ffff:10.8.0.3 -" + at:                        `line 2: "::ffff:10.8.0.3" is not an address`,
		headClosed + "\n10.8.0.3 x" + at:                               `line 2: "x" is not a key`,
		headClosed + "\n10.8.0.3 " + alice[:42] + "B=" + at:            `line 2: "` + alice[:42] + `B=" is not a key`,
		headClosed + "\n10.8.0.3 " + noise.FormatKey(nobody) + at:      `line 2: "` + noise.FormatKey(nobody) + `" is not a key`,
		headClosed + "\n10.8.0.3 - today\n":                            `line 2: "today" is not a time in UTC`,
		headClosed + "\n10.8.0.3 - 2026-11-25T20:58:25+01:00\n":        `line 2: "2026-11-25T20:58:25+01:00" is not a time in UTC`,
		headClosed + "\n10.8.0.3 - 2026-11-25T20:58:25.5Z\n":           `line 2: "2026-11-25T20:58:25.5Z" is not a time in UTC`,
		headClosed + "\n10.8.0.3 -" + at + "10.8.0.3 " + bob + at:      "line 3: 10.8.0.3 is not behind the address before",
		headClosed + "\n10.8.0.4 -" + at + "10.8.0.3 " + bob + at:      "line 3: 10.8.0.3 is not behind the address before",
		headClosed + "\n10.8.0.3 " + bob + at + "10.8.0.4 " + bob + at: "line 3: " + bob + " has two addresses of one family",
	} {
		_, err := parseState(text)
		require.EqualError(t, err, want)
	}

	var many strings.Builder
	many.WriteString(headClosed + "\n")
	addr := netip.MustParseAddr("fd00::")
	for range maxLeases + 1 {
		addr = addr.Next()
		fmt.Fprintf(&many, "%v -%s", addr, at)
	}
	_, err = parseState(many.String())
	require.EqualError(t, err, "line 65538: more than 65536 addresses of one family are too many")
}

// The largest state that there can be is one that can be read.
func TestLargestState(t *testing.T) {
	s := state{}
	a4, a6 := netip.MustParseAddr("210.100.100.100"), netip.MustParseAddr("fd00:1111:2222:3333:4444:5555:6666:1000")
	for n := range maxLeases {
		a4, a6 = a4.Next(), a6.Next()
		s.records = append(s.records, record{a4, key(n), epoch}, record{a6, key(n), epoch})
	}
	text := s.String()
	require.Less(t, len(text), maxStateSize)
	again, err := parseState(text)
	require.NoError(t, err)
	require.Len(t, again.records, 2*maxLeases)
	require.True(t, text == again.String())
}

// A state has one spelling.
func FuzzParseState(f *testing.F) {
	f.Add("")
	f.Add(headRunning + "\n")
	f.Add(headClosed + "\n10.8.0.3 - 2026-11-25T20:58:25Z\n10.8.0.4 " + bob + " 2026-11-25T20:58:25Z\nfd00::1 " + bob + " 0001-11-25T20:58:25Z\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseState(text)
		if err != nil || text == "" {
			require.Empty(t, s.records)
			return
		}
		require.Equal(t, text, s.String())
		owners := make(map[string]noise.PublicKey)
		for _, r := range s.records {
			require.False(t, r.addr.Is4In6())
			owner := fmt.Sprint(r.owner, r.addr.Is4())
			require.True(t, r.owner == nobody || owners[owner] == nobody)
			owners[owner] = r.owner
		}
	})
}
