package health

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is everything that a prober depends on, in a bubble of synctest, where time passes
// when every goroutine waits.
type world struct {
	mu             sync.Mutex // guards what follows
	names          Answer
	echo           bool
	sent, received uint64
	asked, echoed  int
	handshake      time.Time
	told           []Problem
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// last returns what was reported last, and how many reports there were.
func (w *world) last() (Problem, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.told) == 0 {
		return Problem{}, 0
	}
	return w.told[len(w.told)-1], len(w.told)
}

func (w *world) probes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked + w.echoed
}

// run watches in a bubble. change may replace the functions.
func run(t *testing.T, change func(*world, *Config), test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{names: Found, echo: true}
		cfg := Config{
			Names: func(context.Context) Answer {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.asked++
				return w.names
			},
			Echo: func(context.Context) bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.echoed++
				return w.echo
			},
			Sent:     func() uint64 { w.mu.Lock(); defer w.mu.Unlock(); return w.sent },
			Received: func() uint64 { w.mu.Lock(); defer w.mu.Unlock(); return w.received },
			Changed:  func(p Problem) { w.set(func() { w.told = append(w.told, p) }) },
		}
		change(w, &cfg)
		ctx, stop := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { Watch(ctx, cfg) })
		wait(start)
		test(w)
		stop()
		watching.Wait()
	})
}

func asIs(*world, *Config)           {}
func echoOnly(_ *world, cfg *Config) { cfg.Names = nil }
func wait(d time.Duration)           { time.Sleep(d); synctest.Wait() }
func (w *world) fails(names Answer)  { w.set(func() { w.names, w.echo = names, false }) }
func (w *world) recovers()           { w.set(func() { w.names, w.echo = Found, true }) }
func (w *world) is(t *testing.T, want Problem, changes int) {
	t.Helper()
	found, n := w.last()
	require.Equal(t, want, found)
	require.Equal(t, changes, n)
}

// If all is well, that is reported at once. Then there is a probe every 10 s, and no report.
func TestAtRest(t *testing.T) {
	for _, change := range []func(*world, *Config){asIs, echoOnly} {
		run(t, change, func(w *world) {
			w.is(t, Problem{}, 1)
			require.Equal(t, 1, w.probes())
			wait(time.Hour)
			require.Equal(t, 361, w.probes())
			w.is(t, Problem{}, 1)
		})
	}
}

// Two failures in a row are forgiven; the third probe comes soon, and its failure is reported.
func TestThreeInARow(t *testing.T) {
	run(t, asIs, func(w *world) {
		wait(time.Second)
		w.fails(Silence)
		wait(rest - time.Second + retry)
		w.recovers() // after two
		wait(time.Hour)
		w.is(t, Problem{}, 1)

		w.fails(Silence)
		wait(rest + 2*retry)
		w.is(t, noPath, 2)
		before := w.probes()
		wait(10 * rest)
		require.Equal(t, before+20, w.probes(), "a query and an echo request every 10 s")
		w.is(t, noPath, 2)
		w.recovers()
		wait(rest)
		w.is(t, Problem{}, 3)
	})
	run(t, func(w *world, _ *Config) { w.names, w.echo = Silence, false }, func(w *world) {
		wait(2*retry - time.Nanosecond)
		_, n := w.last()
		require.Zero(t, n, "nothing is known yet")
		wait(time.Nanosecond)
		w.is(t, noPath, 1)
	})
}

// The reports tell what fails: the path, names, or the resolver.
func TestWhatFails(t *testing.T) {
	run(t, asIs, func(w *world) {
		w.set(func() { w.names = Failure })
		wait(rest + 2*retry)
		w.is(t, noNames, 2)
		require.Zero(t, w.echoed, "that something came back is enough")
		w.set(func() { w.names = Silence })
		wait(rest)
		w.is(t, noResolver, 3)
		w.set(func() { w.echo = false })
		wait(rest)
		w.is(t, noPath, 4)
		w.recovers()
		wait(rest)
		w.is(t, Problem{}, 5)
	})
	run(t, func(w *world, cfg *Config) { echoOnly(w, cfg); w.echo = false }, func(w *world) {
		wait(2 * retry)
		w.is(t, noPath, 1)
	})
	for _, p := range []Problem{noPath, noNames, noResolver, noHandshake} {
		require.NotEmpty(t, p.Reason)
		require.NotEmpty(t, p.Cure)
	}
}

// flow makes this many bytes arrive per second, for a while.
func (w *world) flow(bytes uint64, d time.Duration) {
	for range d / time.Second {
		w.set(func() { w.received += bytes })
		wait(time.Second)
	}
}

// Traffic takes the place of probes, unless it is a trickle. A host that sends, and receives
// nothing, is probed as well.
func TestTraffic(t *testing.T) {
	run(t, asIs, func(w *world) {
		wait(time.Nanosecond)
		w.flow(100_000, 5*time.Minute)
		require.Equal(t, 1, w.probes())
		w.flow(600, rest)
		require.Equal(t, 1+1, w.probes())

		// Traffic proves that a path works again, but not that names are found.
		w.fails(Silence)
		wait(rest + 2*retry)
		w.is(t, noPath, 2)
		w.flow(100_000, 2*rest)
		w.is(t, Problem{}, 3)
		w.set(func() { w.names = Failure })
		wait(rest + 2*retry)
		w.is(t, noNames, 4)
		w.flow(100_000, 2*rest)
		w.is(t, noNames, 4)
		w.recovers()
		w.flow(100_000, rest)
		w.is(t, Problem{}, 5)
	})
}

// A peer that answers no probes is sent none. It is judged by the age of the keys: they get
// old if it does not answer, or if nobody has sent anything.
func TestHandshakesAge(t *testing.T) {
	run(t, func(w *world, cfg *Config) {
		w.handshake = time.Now()
		cfg.Names, cfg.Echo = nil, nil
		cfg.Handshake = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.handshake }
	}, func(w *world) {
		w.is(t, Problem{}, 1)
		wait(time.Hour)
		w.is(t, Problem{}, 1) // nothing was sent
		w.set(func() { w.sent += 100 })
		wait(rest)
		w.is(t, noHandshake, 2)
		wait(time.Hour)
		w.is(t, noHandshake, 2)
		w.set(func() { w.handshake = time.Now() })
		wait(rest)
		w.is(t, Problem{}, 3)

		wait(time.Hour)
		w.set(func() { w.sent += 100; w.received += 100 })
		wait(rest)
		w.is(t, Problem{}, 3) // something came back
		w.set(func() { w.sent += 100 })
		wait(rest)
		w.is(t, noHandshake, 4)
		w.set(func() { w.received += 100 })
		wait(rest)
		w.is(t, Problem{}, 5)
		require.Zero(t, w.probes())
	})
}

// The result of a probe is not reported if the session has ended.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var told []Problem
		none := func() uint64 { return 0 }
		var watching sync.WaitGroup
		watching.Go(func() {
			Watch(ctx, Config{
				Names: func(ctx context.Context) Answer { <-ctx.Done(); return Silence },
				Echo:  func(ctx context.Context) bool { return ctx.Err() == nil },
				Sent:  none, Received: none,
				Changed: func(p Problem) { told = append(told, p) },
			})
		})
		synctest.Wait()
		stop()
		watching.Wait()
		require.Empty(t, slices.Clone(told))
	})
}
