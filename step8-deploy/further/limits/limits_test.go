package limits

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/atomicfile"
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/further/limits/plan"
)

func key(n byte) noise.PublicKey { return noise.PublicKey{0: n, 31: 1} }

// A server is a Table with a registry and a hub.
type server struct {
	*Table
	t     testing.TB
	mu    sync.Mutex
	in    *identity.Registry
	said  []string
	drops link.Drops
	state string
	plan  plan.Plan
}

func newServer(t testing.TB, p plan.Plan, lines ...string) *server {
	s := &server{t: t, state: filepath.Join(t.TempDir(), "used"), plan: p}
	s.register(lines...)
	s.open()
	return s
}

func (s *server) open() {
	s.Table = Open(Config{Default: s.plan, State: s.state, Drops: &s.drops, Registry: func() *identity.Registry {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.in
	}})
}

// register sets the registry: client n has line n.
func (s *server) register(lines ...string) {
	text := ""
	for i, l := range lines {
		text += fmt.Sprintf("client%d %s %s\n", i, noise.FormatKey(key(byte(i))), l)
	}
	r, err := identity.Parse("clients", text)
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = r
}

func (s *server) Cut(k noise.PublicKey, why secure.Rejected)  { s.say("cut %d: %s", k[0], why.Reason) }
func (s *server) Tell(k noise.PublicKey, kind byte, m []byte) { s.say("tell %d: %s", k[0], m) }

func (s *server) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

// heard returns what clients were told since the last call.
func (s *server) heard() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return said
}

// datagram is an IP packet of n bytes of a flow.
func datagram(n int, flow byte) []byte {
	p := make([]byte, n)
	copy(p, []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, 17, 0, 0, 10, 8, 0, 2, 192, 0, 2, 1, 0, flow, 0, 9})
	return p
}

// A drain reads what a pacer lets go, until the test ends.
type drain struct {
	mu    sync.Mutex
	bytes int
	sizes []int
}

func (s *server) drain(p *pacer) *drain {
	d := new(drain)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := link.NewBurst(); p.ReadBurst(b) == nil; {
			d.mu.Lock()
			for i := range b.Len() {
				d.bytes += len(b.At(i))
				d.sizes = append(d.sizes, len(b.At(i)))
			}
			d.mu.Unlock()
		}
	}()
	s.t.Cleanup(func() { p.Close(); <-done })
	return d
}

func (d *drain) total() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes
}

// What passes is the rate, in each second; the rest is dropped under its name. A ping does not
// wait for the flood.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, plan.Plan{}, "down=20Mbit/s up=1Mbit/s", "")
		c, free := s.Of(key(0)), s.Of(key(1))
		down, up := s.drain(s.down), s.drain(s.up)
		flood := func(send func([]byte, link.Hints) bool, d *drain, rate float64) {
			for second := range 5 {
				before, now := d.total(), 0
				for range 1000 { // 96 Mbit/s
					for range 8 {
						if send(datagram(1500, 1), link.Hints{}) {
							now += 1500
						}
					}
					time.Sleep(time.Millisecond)
				}
				synctest.Wait()
				require.InDelta(t, rate/8, now+d.total()-before, rate/8*0.05, "bytes in second %d", second)
				require.LessOrEqual(t, float64(now+d.total()-before), rate/8*1.05)
			}
			// Now something else comes.
			synctest.Wait()
			d.sizes = nil
			if !send(datagram(77, 2), link.Hints{}) {
				at := time.Now()
				for {
					d.mu.Lock()
					found := slices.Contains(d.sizes, 77)
					d.mu.Unlock()
					if found {
						break
					}
					time.Sleep(time.Millisecond)
					require.Less(t, time.Since(at), 30*time.Millisecond, "how long a ping waits")
				}
			}
			time.Sleep(time.Second)
		}
		flood(c.Send, down, 20e6)
		flood(c.Receive, up, 1e6)
		require.Greater(t, int(s.drops.Count(OverLimit)), 1000)
		require.Zero(t, held.Load(), "all that waited has left")

		// Others have no limit.
		for range 10_000 {
			require.True(t, free.Send(datagram(1500, 1), link.Hints{}))
		}
		// A limit that is taken away lets all that waits pass at once, and in its order.
		for range 20 {
			c.Receive(datagram(1500, 1), link.Hints{})
		}
		before := up.total()
		s.register("", "")
		s.Update()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		require.Greater(t, up.total(), before)
		require.True(t, c.Receive(datagram(1500, 1), link.Hints{}))
		require.Zero(t, held.Load())
	})
}

// Hints go with a packet: one that a router has marked stays marked.
func TestHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, plan.Plan{Down: 1e6})
		s.register("")
		c := s.Of(key(0))
		for range 3 { // the bucket is empty then
			c.Send(datagram(1400, 1), link.Hints{})
		}
		c.Send(datagram(1400, 1), link.Hints{Class: 3, More: true})
		c.Send(datagram(1400, 1), link.Hints{Class: 1})
		var classes []byte
		b := link.NewBurst()
		for len(classes) < 2 || classes[len(classes)-1] != 1 {
			require.NoError(t, s.down.ReadBurst(b))
			require.False(t, b.Hints.More)
			for range b.Len() {
				classes = append(classes, b.Hints.Class)
			}
		}
		require.Equal(t, []byte{3, 1}, classes[len(classes)-2:])
	})
}

// A used-up quota cuts off, with a sentence, and begins anew on its day. All of it survives the
// server.
func TestQuotaCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock begins on 1 January 2000
		s := newServer(t, plan.Plan{Day: 2}, "quota=1MB/month", "")
		ctx, stop := context.WithCancel(t.Context())
		go s.Run(ctx, s)
		c, other := s.Of(key(0)), s.Of(key(1))
		use := func(n int) {
			for range n {
				require.True(t, c.Send(datagram(1000, 1), link.Hints{}))
			}
		}
		use(500)
		for range 499 {
			require.True(t, c.Receive(datagram(1000, 1), link.Hints{}))
		}
		require.Nil(t, c.Refused())
		require.Empty(t, s.heard())
		use(1)
		const why = "your quota of 1 MB for this month is used up; it begins anew on 2 January"
		require.Equal(t, []string{"cut 0: " + why}, s.heard())
		require.Equal(t, why, c.Refused().Reason)
		require.True(t, c.Refused().Final)
		require.False(t, c.Send(datagram(1000, 1), link.Hints{}))
		require.False(t, c.Receive(datagram(1000, 1), link.Hints{}))
		require.EqualValues(t, 2, s.drops.Count(OverQuota))
		require.True(t, other.Send(datagram(1000, 1), link.Hints{}))
		require.Nil(t, other.Refused())
		require.Equal(t, State{plan.Plan{Quota: 1e6, Day: 2}, 1e6, time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), true}, c.State())

		// It is killed, and starts again: nothing that was used longer than 10 s ago is forgotten.
		time.Sleep(saveEvery + time.Second)
		synctest.Wait()
		stop()
		s.open()
		ctx, stop = context.WithCancel(t.Context())
		defer stop()
		go s.Run(ctx, s)
		c = s.Of(key(0))
		require.Equal(t, why, c.Refused().Reason)
		require.False(t, c.Send(datagram(1000, 1), link.Hints{}))

		// The operator raises it.
		s.register("quota=2MB/month", "")
		time.Sleep(lookEvery)
		synctest.Wait()
		require.Nil(t, c.Refused())
		use(1)
		s.register("quota=1MB/month", "")
		time.Sleep(lookEvery)
		synctest.Wait()
		require.NotNil(t, c.Refused())

		// The day comes.
		time.Sleep(time.Until(time.Date(2000, 1, 1, 23, 59, 59, 0, time.UTC)))
		require.NotNil(t, c.Refused())
		time.Sleep(time.Second + lookEvery)
		synctest.Wait()
		require.Nil(t, c.Refused())
		require.Zero(t, c.State().Used)
		use(999)
		s.heard()
		use(1)
		require.Equal(t, []string{"cut 0: your quota of 1 MB for this month is used up; it begins anew on 2 February"}, s.heard())
	})
}

// A quota that slows down leaves a rate, and says so again and again, as a message may get lost.
func TestQuotaSlowsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, plan.Plan{Quota: 1e6, Slow: 1e6, Up: 64e3}, "")
		down := s.drain(s.down)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go s.Run(ctx, s)
		c := s.Of(key(0))
		for range 1000 {
			require.True(t, c.Send(datagram(1000, 1), link.Hints{}))
		}
		const why = "tell 0: your quota of 1 MB for this month is used up: you are slowed down to 1Mbit/s until it begins anew on 1 February"
		require.Equal(t, []string{why}, s.heard())
		require.Nil(t, c.Refused())
		now := 0
		for range 2000 {
			if c.Send(datagram(1000, 1), link.Hints{}) {
				now += 1000
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		require.InDelta(t, 250_000, now+down.total(), 15_000, "bytes in two seconds at 1 Mbit/s")
		require.Equal(t, plan.Rate(64e3), c.up.rate, "a limit that is lower anyway")
		time.Sleep(30 * time.Second)
		require.Equal(t, []string{why, why, why}, s.heard())
		s.register("quota=none")
		time.Sleep(time.Second)
		require.Equal(t, []string{"tell 0: "}, s.heard())
		require.True(t, c.Send(datagram(1000, 1), link.Hints{}))
	})
}

// Without limits, or with some, a packet costs no allocation.
func TestAllocatesNothing(t *testing.T) {
	s := newServer(t, plan.Plan{}, "", "down=100Gbit/s quota=1TB/month")
	p := datagram(1420, 1)
	for i := range 2 {
		c := s.Of(key(byte(i)))
		require.Zero(t, testing.AllocsPerRun(1000, func() { c.Send(p, link.Hints{}); c.Receive(p, link.Hints{}) }))
	}
}

// What a client has used is not forgotten when its line is removed and put back, whatever happens to the
// server meanwhile, but when its period is over.
func TestRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock begins on 1 January 2000
		s := newServer(t, plan.Plan{Quota: 1e6, Day: 2}, "", "")
		c := s.Of(key(1))
		c.Send(datagram(1000, 1), link.Hints{})
		s.Of(key(0)).Send(datagram(1000, 1), link.Hints{})
		lines := func() int {
			s.Save()
			text, err := os.ReadFile(s.state)
			require.NoError(t, err)
			return strings.Count(string(text), "\n")
		}
		s.register("")
		require.Nil(t, s.Of(key(1)))
		require.True(t, c.Send(datagram(1000, 1), link.Hints{}), "what is still on its way")
		require.Nil(t, s.Of(key(9)))
		s.register("", "")
		require.EqualValues(t, 1000, s.Of(key(1)).State().Used, "put back")

		s.register("")
		s.Update()
		require.Equal(t, 2, lines())
		s.open()
		require.Equal(t, 2, lines())
		s.register("", "")
		require.EqualValues(t, 1000, s.Of(key(1)).State().Used, "put back after a start")
		require.EqualValues(t, 1000, s.Of(key(0)).State().Used)

		s.register("")
		s.Update()
		time.Sleep(24 * time.Hour)
		s.Of(key(0)).Send(datagram(1000, 1), link.Hints{})
		require.EqualValues(t, 0, s.Of(key(0)).State().Used)
		require.Equal(t, 0, lines())
		s.register("", "")
		require.EqualValues(t, 0, s.Of(key(1)).State().Used, "in the next period")
	})
}

// A clock that is wrong for a while gives no quota back, and one that was years ahead puts no quota off for years.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock begins on 1 January 2000
		s := newServer(t, plan.Plan{Quota: 1e6}, "")
		c := s.Of(key(0))
		send := func() { c.Send(datagram(1000, 1), link.Hints{}) }
		used := func(at string, bytes uint64) {
			t.Helper()
			now, err := time.Parse(time.DateTime, at)
			require.NoError(t, err)
			s.Table.mu.Lock()
			defer s.Table.mu.Unlock()
			c.judge(now)
			require.EqualValues(t, bytes, c.used.Load(), at)
		}
		send()
		used("2000-01-15 12:00:00", 1000)
		for range 3 {
			used("1970-01-01 00:00:10", 1000)
			time.Sleep(backFor - time.Second)
			used("1970-01-01 05:00:00", 1000)
			used("2000-01-16 12:00:00", 1000)
		}
		used("2000-02-01 00:00:00", 0)

		used("2033-05-05 12:00:00", 0)
		send()
		used("2000-02-29 20:00:00", 1000)
		time.Sleep(backFor)
		used("2000-03-01 02:00:00", 0) // it does not count for March

		used("2033-05-05 12:00:00", 0)
		send()
		used("2000-03-02 20:00:00", 1000)
		time.Sleep(backFor)
		used("2000-03-03 02:00:00", 1000)
		used("2000-04-01 00:00:00", 0)
	})
}

// A file that is damaged is set aside, with a warning, and one that can't be written does no harm.
func TestStateFile(t *testing.T) {
	line := noise.FormatKey(key(0)) + " 2026-11-01 1000\n"
	for what, damage := range map[string]string{
		"cut": line[:50], "binary": "\x00\xff", "no number": strings.Replace(line, "1000", "x", 1), "negative": strings.Replace(line, "1000", "-1", 1),
		"no day": strings.Replace(line, "-01 ", "-32 ", 1), "twice": line + line, "empty line": "\n", "long": strings.Repeat("1", 1000), "huge": strings.Repeat("\n", maxLines*maxLine+1),
	} {
		s := &server{t: t, state: filepath.Join(t.TempDir(), "used"), plan: plan.Plan{Quota: 1e6}}
		s.register("")
		require.NoError(t, os.WriteFile(s.state, []byte(damage), 0o600))
		require.Error(t, Check(s.state), what)
		require.Contains(t, warned(t, s.open), "is damaged and was set aside: all quotas begin anew", what)
		aside, err := os.ReadFile(s.state + ".damaged")
		require.NoError(t, err, what)
		require.Equal(t, damage, string(aside), what)
		s.Of(key(0)).Send(datagram(1000, 1), link.Hints{})
		s.Save()
		text, err := os.ReadFile(s.state)
		require.NoError(t, err, what)
		all, err := parseState(string(text))
		require.NoError(t, err, what)
		require.NoError(t, Check(s.state), what)
		require.EqualValues(t, 1000, all[key(0)].Bytes, what)
	}
	s := newServer(t, plan.Plan{Quota: 1e6}, "")
	require.NoError(t, Check(s.state), "there is none")
	dir := filepath.Dir(s.state)
	require.NoError(t, os.Rename(dir, dir+"2"))
	c := s.Of(key(0))
	require.Contains(t, warned(t, func() { c.Send(datagram(1000, 1), link.Hints{}); s.Save() }), "can't be saved")
	require.Empty(t, warned(t, func() { c.Send(datagram(1000, 1), link.Hints{}); s.Save() }), "said once")
	require.NoError(t, os.Rename(dir+"2", dir))
	s.Save()
	text, err := os.ReadFile(s.state)
	require.NoError(t, err)
	require.Contains(t, string(text), " 2000\n")
}

// A disk that does not answer holds nothing up but the saving.
func TestFrozenDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, plan.Plan{Quota: 1e6}, "")
		thaw := make(chan bool)
		s.write = func(name string, text []byte, o atomicfile.Options) error {
			<-thaw
			return atomicfile.Write(name, text, o)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go s.Run(ctx, s)
		s.Of(key(0)).Send(datagram(1000, 1), link.Hints{})
		time.Sleep(saveEvery + time.Second)
		synctest.Wait()
		asked := false
		go func() {
			s.Of(key(0)).State()
			asked = true
		}()
		for range 1000 {
			s.Of(key(0)).Send(datagram(1000, 1), link.Hints{})
		}
		require.Equal(t, []string{"cut 0: your quota of 1 MB for this month is used up; it begins anew on 1 February"}, s.heard())
		require.True(t, asked)
		close(thaw)
		synctest.Wait()
		text, err := os.ReadFile(s.state)
		require.NoError(t, err)
		require.Contains(t, string(text), " 1000\n")
	})
}

// warned returns what is logged while f runs.
func warned(t *testing.T, f func()) string {
	t.Helper()
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	f()
	return log.String()
}

// A notice is shown until the server says something else, or nothing for a while. What isn't a
// sentence is not shown.
func TestNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warned(t, func() {
			var n Notice
			require.Empty(t, n.String())
			require.False(t, n.Control(KindNotice+1, []byte("x")))
			require.True(t, n.Control(KindNotice, []byte("slow down")))
			for _, bad := range []string{"\x1b[2J", "two\nlines", strings.Repeat("x", secure.MaxReason+1), "\xff"} {
				require.True(t, n.Control(KindNotice, []byte(bad)))
				require.Equal(t, "slow down", n.String())
			}
			time.Sleep(forgetSay)
			require.Equal(t, "slow down", n.String())
			time.Sleep(time.Second)
			require.Empty(t, n.String())
			n.Control(KindNotice, []byte("slow down"))
			require.Equal(t, "slow down", n.String())
			n.Control(KindNotice, nil)
			require.Empty(t, n.String())
		})
	})
}

func FuzzParseState(f *testing.F) {
	f.Add(noise.FormatKey(key(1)) + " 2026-11-01 12345\n")
	f.Add("\x00\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseState(text)
		if err != nil {
			return
		}
		again, err := parseState(formatState(all))
		require.NoError(t, err)
		require.Equal(t, all, again)
	})
}

// No packet overtakes another of its flow: neither one that waits, nor one that the pacer has let go
// and that is not on its way yet.
func TestOrder(t *testing.T) {
	s := newServer(t, plan.Plan{Down: 8e6}, "")
	c := s.Of(key(0))
	c.down.bucket.level = -5000 // the first one has to wait
	var sent []byte
	send := func(n byte) {
		p := datagram(1000, 1)
		p[999] = n
		if c.Send(p, link.Hints{}) {
			sent = append(sent, n)
		}
	}
	send(1)
	b := link.NewBurst()
	require.NoError(t, s.down.ReadBurst(b))
	c.down.bucket.level = 10_000 // there is enough for the next ones, but the hub has still to send the first
	send(2)
	for i := range b.Len() {
		sent = append(sent, b.At(i)[999])
	}
	require.NoError(t, s.down.ReadBurst(b))
	for i := range b.Len() {
		sent = append(sent, b.At(i)[999])
	}
	require.Equal(t, []byte{1, 2}, sent)
}
