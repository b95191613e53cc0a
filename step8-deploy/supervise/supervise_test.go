package supervise

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/config"
)

var (
	home    = config.Endpoint{Host: "home.example.org", Port: 1}
	away    = config.Endpoint{Host: "away.example.org", Port: 2}
	homeV4  = netip.MustParseAddr("192.0.2.1")
	homeV6  = netip.MustParseAddr("2001:db8::1")
	awayV4  = netip.MustParseAddr("192.0.2.2")
	errDown = errors.New("connection refused")
)

// A world is everything that a supervisor depends on. The tests run in a bubble of synctest,
// where time passes when every goroutine waits.
type world struct {
	t     *testing.T
	start time.Time
	*Supervisor
	stop context.CancelFunc
	done chan error

	mu    sync.Mutex // protects what follows
	names map[string][]netip.Addr
	// the behaviour of the server at an address; nil: it does not answer. It may block until
	// ctx ends.
	server map[netip.Addr]func(ctx context.Context, up func()) error
	route  string // "": there is no way
	log    []string
	state  State // the last one
	ups    int   // how often it was up
}

func (w *world) setRoute(route string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.route = route
}

func (w *world) setNames(names map[string][]netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names = names
}

func (w *world) serve(a netip.Addr, does func(ctx context.Context, up func()) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server[a] = does
}

// run starts a supervisor in a bubble, and calls test.
func run(t *testing.T, prepare func(*world), test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, start: time.Now(), route: "eth0", done: make(chan error, 1),
			names:  map[string][]netip.Addr{home.Host: {homeV4}, away.Host: {awayV4}},
			server: map[netip.Addr]func(context.Context, func()) error{homeV4: connects},
		}
		cfg := Config{
			Servers: []config.Endpoint{home, away},
			Resolve: func(ctx context.Context, name string) ([]netip.Addr, error) {
				w.note("resolve %s", name)
				w.mu.Lock()
				addrs, ok := w.names[name]
				w.mu.Unlock()
				if !ok {
					return nil, errors.New("no such name")
				}
				return addrs, nil
			},
			Connect: func(ctx context.Context, server netip.AddrPort, up func()) error {
				w.note("connect %v", server.Addr())
				w.mu.Lock()
				does := w.server[server.Addr()]
				w.mu.Unlock()
				if does == nil {
					does = silent
				}
				err := does(ctx, up)
				w.note("end %v", server.Addr())
				return err
			},
			Route: func(netip.AddrPort) (string, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.route == "" {
					return "", errors.New("network is unreachable")
				}
				return w.route, nil
			},
			Changed: func(s Status) {
				require.Equal(t, s.State, w.Status().State)
				up := s.State == Up || s.State == Degraded
				require.True(t, !up || !s.Session.IsZero() && s.Err == nil, "told that it is up while it is not any more: %v", s)
				w.mu.Lock()
				defer w.mu.Unlock()
				if s.State == Up && w.state != Up {
					w.ups++
				}
				w.state = s.State
			},
		}
		w.Supervisor = New(cfg)
		if prepare != nil {
			prepare(w)
		}
		var ctx context.Context
		ctx, w.stop = context.WithCancel(t.Context())
		go func() { w.done <- w.Run(ctx) }()
		synctest.Wait()
		test(w)
		w.stop()
		synctest.Wait()
		require.Equal(t, Stopped, w.Status().State)
	})
}

func (w *world) connected() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ups
}

func connects(ctx context.Context, up func()) error { up(); <-ctx.Done(); return ctx.Err() }
func silent(ctx context.Context, up func()) error   { <-ctx.Done(); return ctx.Err() }
func down(context.Context, func()) error            { return errDown }

// note logs an event with the time since the start.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%v ", time.Since(w.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// sleep lets time pass, and waits until everything that is due then has happened.
func (w *world) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// events returns what has happened since the last call, without the times.
func (w *world) events() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []string
	for _, l := range w.log {
		_, event, _ := strings.Cut(l, " ")
		parts = append(parts, event)
	}
	w.log = nil
	return strings.Join(parts, ", ")
}

// isIn fails the test unless the supervisor is in this state.
func (w *world) isIn(want State) {
	w.t.Helper()
	require.Equal(w.t, want.String(), w.Status().State.String(), "after %v", time.Since(w.start))
}

func TestConnects(t *testing.T) {
	run(t, nil, func(w *world) {
		w.isIn(Up)
		require.Equal(t, "resolve home.example.org, connect 192.0.2.1", w.events())
		s := w.Status()
		require.Equal(t, "connected to home.example.org:1 (192.0.2.1:1)", s.String())
		require.Equal(t, 1, w.connected())
		require.NoError(t, s.Err)
		w.sleep(24 * time.Hour)
		w.isIn(Up)
		require.Equal(t, w.start, w.Status().Since)
		require.Empty(t, w.events(), "it is left alone")
	})
}

// A connection is lost after a while: the server is tried again about a second later, and its
// name is looked up again.
func TestReconnects(t *testing.T) {
	var lose chan struct{}
	run(t, func(w *world) {
		lose = make(chan struct{}) // in the bubble
		w.serve(homeV4, func(ctx context.Context, up func()) error {
			up()
			select {
			case <-lose:
				return errDown
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}, func(w *world) {
		for n := range 3 {
			w.sleep(stableAfter)
			w.isIn(Up)
			lose <- struct{}{}
			synctest.Wait()
			w.isIn(Waiting)
			require.ErrorIs(t, w.Status().Err, errDown)
			require.Equal(t, "192.0.2.1:1: connection refused", w.Status().Err.Error())
			w.events()
			w.sleep(800*time.Millisecond - time.Nanosecond)
			w.isIn(Waiting)
			w.sleep(400*time.Millisecond + time.Nanosecond)
			w.isIn(Up)
			require.Equal(t, "resolve home.example.org, connect 192.0.2.1", w.events())
			require.Equal(t, n+2, w.connected())
		}
	})
}

// If connections are lost as soon as they are up, the waits grow nevertheless.
func TestFlapping(t *testing.T) {
	run(t, func(w *world) {
		w.serve(homeV4, func(ctx context.Context, up func()) error { up(); return errDown })
	}, func(w *world) {
		w.sleep(10 * time.Minute)
		require.Less(t, w.connected(), 35)
		require.Greater(t, w.connected(), 15)
	})
}

// If no server answers, the waits grow from 1 s to 30 s.
func TestBackOff(t *testing.T) {
	run(t, func(w *world) { w.serve(homeV4, down); w.serve(awayV4, down) }, func(w *world) {
		for _, want := range []int{1, 2, 4, 8, 16, 30, 30, 30} {
			w.isIn(Waiting)
			require.Equal(t, "resolve home.example.org, connect 192.0.2.1, end 192.0.2.1, "+
				"resolve away.example.org, connect 192.0.2.2, end 192.0.2.2", w.events())
			least, most := time.Duration(want)*800*time.Millisecond, time.Duration(want)*1200*time.Millisecond
			least = max(least, minGap)
			left := time.Until(w.Status().Next)
			require.GreaterOrEqual(t, left, least)
			require.LessOrEqual(t, left, most)
			w.sleep(left - time.Nanosecond)
			require.Empty(t, w.events(), "it is not earlier than it says")
			w.sleep(time.Nanosecond)
		}
		w.serve(homeV4, connects)
		w.sleep(maxWait * 6 / 5)
		w.isIn(Up)
	})
}

func TestBackoffJitter(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 1000 {
		for n, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
			d := backoff(n)
			require.InDelta(t, float64(seconds), d.Seconds(), float64(seconds)*0.2)
			seen[d] = true
		}
		require.InDelta(t, 30, backoff(math.MaxInt).Seconds(), 6)
	}
	require.Greater(t, len(seen), 6000, "they differ")
}

// A server that does not answer has its time, and then the next server is tried.
func TestFailOver(t *testing.T) {
	run(t, func(w *world) {
		w.setNames(map[string][]netip.Addr{home.Host: {homeV4, homeV6, netip.MustParseAddr("::ffff:192.0.2.9")}, away.Host: {awayV4}})
		w.serve(homeV4, nil)
		w.serve(awayV4, connects)
	}, func(w *world) {
		require.Equal(t, "resolve home.example.org, connect 2001:db8::1", w.events())
		require.Equal(t, "connecting to home.example.org:1: waiting for an answer from [2001:db8::1]:1", w.Status().String())
		w.sleep(DefaultTry - time.Nanosecond)
		require.Empty(t, w.events())
		w.sleep(time.Nanosecond)
		require.Equal(t, "end 2001:db8::1, connect 192.0.2.1", w.events())
		w.sleep(DefaultTry)
		require.Equal(t, "end 192.0.2.1, connect 192.0.2.9", w.events())
		w.sleep(DefaultTry)
		require.Equal(t, "end 192.0.2.9, resolve away.example.org, connect 192.0.2.2", w.events())
		w.isIn(Up)
		require.Equal(t, away, w.Status().Server)

		// In another network, the server that worked last is asked first.
		w.setRoute("wlan0")
		w.NetworkChanged()
		w.sleep(time.Nanosecond)
		require.Equal(t, "end 192.0.2.2, resolve away.example.org, connect 192.0.2.2", w.events())
		w.isIn(Up)
	})
}

// The limit for an answer ends when the server has answered.
func TestTryEndsWithUp(t *testing.T) {
	run(t, func(w *world) {
		w.serve(homeV4, func(ctx context.Context, up func()) error {
			time.Sleep(DefaultTry - time.Nanosecond)
			return connects(ctx, up)
		})
	}, func(w *world) {
		w.isIn(Connecting)
		w.sleep(DefaultTry * 2)
		w.isIn(Up)
	})
}

// The network is not there yet: no error is fatal, and when the network comes, the wait ends.
func TestStartsBeforeTheNetwork(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"no way":  func(w *world) { w.setRoute("") },
		"no name": func(w *world) { w.setNames(map[string][]netip.Addr{}) },
		"nothing behind the name": func(w *world) {
			w.setNames(map[string][]netip.Addr{home.Host: nil})
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, prepare, func(w *world) {
				w.isIn(Waiting)
				require.Error(t, w.Status().Err)
				w.sleep(5 * time.Minute)
				w.isIn(Waiting)
				w.setRoute("eth0")
				w.setNames(map[string][]netip.Addr{home.Host: {homeV4}})
				w.sleep(minGap) // the last round may have just begun
				if w.Status().State == Waiting {
					w.NetworkChanged()
					synctest.Wait()
				}
				w.isIn(Up)
			})
		})
	}
}

func TestNetworkChanges(t *testing.T) {
	run(t, nil, func(w *world) {
		w.sleep(time.Minute)
		w.events()

		// If the route stays the same, or is gone for a while, the session goes on.
		w.NetworkChanged()
		synctest.Wait()
		w.setRoute("")
		w.NetworkChanged()
		synctest.Wait()
		w.setRoute("eth0")
		w.NetworkChanged()
		synctest.Wait()
		require.Empty(t, w.events())
		w.isIn(Up)

		// With another route, it connects again at once, without a wait.
		w.setRoute("wlan0")
		w.NetworkChanged()
		synctest.Wait()
		require.Equal(t, "end 192.0.2.1, resolve home.example.org, connect 192.0.2.1", w.events())
		w.isIn(Up)

		// If the route changes again and again, it connects at most once a second.
		for i := range 100 {
			w.setRoute(fmt.Sprint(i))
			w.NetworkChanged()
			w.sleep(100 * time.Millisecond)
		}
		n := strings.Count(w.events(), "connect")
		require.GreaterOrEqual(t, n, 9)
		require.LessOrEqual(t, n, 11)
	})
}

// What failed in the network before does not count in the next one.
func TestANewNetworkIsANewStart(t *testing.T) {
	run(t, func(w *world) { w.serve(homeV4, down); w.serve(awayV4, down) }, func(w *world) {
		w.sleep(10 * time.Minute)
		w.isIn(Waiting)
		w.sleep(time.Until(w.Status().Next) + time.Nanosecond) // the start of a wait
		require.Greater(t, time.Until(w.Status().Next), 20*time.Second, "the detector")
		w.sleep(2 * time.Second)
		w.setRoute("wlan0")
		w.events()
		w.NetworkChanged()
		synctest.Wait()
		require.Contains(t, w.events(), "connect 192.0.2.1", "at once")
		w.isIn(Waiting)
		require.LessOrEqual(t, time.Until(w.Status().Next), minWait*6/5, "and again soon")
	})
}

// A try that is under way is ended if its network is gone.
func TestNetworkChangesWhileConnecting(t *testing.T) {
	run(t, func(w *world) { w.serve(homeV4, nil); w.serve(awayV4, nil) }, func(w *world) {
		w.events()
		w.sleep(2 * time.Second)
		w.NetworkChanged() // not the server's own
		w.sleep(time.Second)
		require.Empty(t, w.events())
		w.setRoute("wlan0")
		w.serve(homeV4, connects)
		w.NetworkChanged()
		synctest.Wait()
		require.Equal(t, "end 192.0.2.1, resolve home.example.org, connect 192.0.2.1", w.events())
		w.isIn(Up)
	})
}

// A change that comes while the last try of a round fails is not forgotten.
func TestNetworkChangesBeforeWaiting(t *testing.T) {
	run(t, func(w *world) {
		w.serve(awayV4, nil)
		w.serve(homeV4, down)
	}, func(w *world) {
		w.isIn(Connecting)
		w.sleep(time.Second)
		w.serve(homeV4, connects)
		w.NetworkChanged() // the route is the same, so the try goes on
		w.sleep(DefaultTry - time.Second)
		w.isIn(Up)
		require.Equal(t, 8*time.Second, time.Since(w.start), "there was no wait")
	})
}

func TestClockJumps(t *testing.T) {
	run(t, nil, func(w *world) {
		w.sleep(time.Minute)
		w.events()
		w.ClockJumped()
		synctest.Wait()
		require.Equal(t, "end 192.0.2.1, resolve home.example.org, connect 192.0.2.1", w.events())
		w.isIn(Up)
		w.serve(homeV4, down)
		w.serve(awayV4, down)
		w.sleep(time.Minute)
		w.ClockJumped()
		w.sleep(10 * time.Minute)
		w.isIn(Waiting)
		w.sleep(time.Until(w.Status().Next) - time.Nanosecond)
		w.events()
		w.serve(homeV4, connects)
		w.ClockJumped()
		synctest.Wait()
		w.isIn(Up)
	})
}

// A server that refuses is left alone for five minutes, but not the others.
func TestRefused(t *testing.T) {
	no := errors.New("this client's key was revoked")
	refuses := func(context.Context, func()) error { return Refused(no) }
	run(t, func(w *world) {
		w.serve(homeV4, refuses)
		w.serve(awayV4, refuses)
	}, func(w *world) {
		w.isIn(Waiting)
		require.ErrorIs(t, w.Status().Err, no)
		w.events()
		for range 20 {
			w.sleep(11 * time.Second)
			w.NetworkChanged()
			w.ClockJumped()
			synctest.Wait()
		}
		require.Empty(t, w.events(), "nothing changes its mind")
		w.sleep(refusedWait * 6 / 5)
		require.Contains(t, w.events(), "connect 192.0.2.1", "and still it is asked again, some day")

		w.serve(homeV4, connects)
		w.sleep(refusedWait * 6 / 5)
		w.isIn(Up)
	})
	run(t, func(w *world) {
		w.serve(homeV4, refuses)
		w.serve(awayV4, down)
	}, func(w *world) {
		w.events()
		w.sleep(time.Minute)
		events := w.events()
		require.NotContains(t, events, "home")
		require.Greater(t, strings.Count(events, "connect 192.0.2.2"), 3)
		w.serve(awayV4, connects)
		w.sleep(time.Minute)
		w.isIn(Up)
		require.NoError(t, w.Status().Err)
	})
}

// If one address of a server refuses, the server's other addresses are not asked, either.
func TestRefusedByOneAddress(t *testing.T) {
	run(t, func(w *world) {
		w.setNames(map[string][]netip.Addr{home.Host: {homeV4, homeV6}, away.Host: {awayV4}})
		w.serve(homeV6, func(context.Context, func()) error { return fmt.Errorf("outer: %w", Refused(errDown)) })
		w.serve(awayV4, connects)
	}, func(w *world) {
		require.Equal(t, "resolve home.example.org, connect 2001:db8::1, end 2001:db8::1, resolve away.example.org, connect 192.0.2.2", w.events())
	})
}

// A stop takes effect at once in every state, and is no error.
func TestStops(t *testing.T) {
	for name, does := range map[string]func(context.Context, func()) error{"up": connects, "connecting": nil, "waiting": down} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) { w.serve(homeV4, does); w.serve(awayV4, does) }, func(w *world) {
				require.Equal(t, name, w.Status().State.String())
				at := time.Now()
				w.stop()
				require.NoError(t, <-w.done)
				require.Equal(t, at, time.Now())
				require.Equal(t, "stopped", w.Status().String())
			})
		})
	}
	t.Run("looking up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			s := New(Config{Servers: []config.Endpoint{home}, Resolve: func(ctx context.Context, _ string) ([]netip.Addr, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}})
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			synctest.Wait()
			require.Equal(t, "connecting to home.example.org:1: waiting for the address of home.example.org", s.Status().String())
			time.Sleep(DefaultTry)
			synctest.Wait()
			require.Equal(t, Waiting, s.Status().State, "a resolver that hangs is not waited for")
			stop()
			require.NoError(t, <-done)
		})
	})
}

func TestInterleave(t *testing.T) {
	var addrs []netip.Addr
	for i := range 9 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	addrs = append(addrs, homeV6)
	got := interleave(addrs)
	require.Len(t, got, maxAddresses)
	require.Equal(t, homeV6, got[0])
	require.Equal(t, addrs[0], got[1])
	require.Equal(t, addrs[1], got[2])
}

// A session that is judged is up when Judge says so. A problem is reported with its cure, and
// does not end the session.
func TestJudged(t *testing.T) {
	run(t, func(w *world) {
		w.cfg.Judged = true
		w.serve(homeV4, func(ctx context.Context, up func()) error {
			w.Judge("too early", "Wait.")
			up()
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}, func(w *world) {
		w.isIn(Connecting)
		require.Equal(t, w.start, w.Status().Session)
		require.Equal(t, "connecting to home.example.org:1: waiting for the first packet that comes back through the tunnel", w.Status().String())
		w.sleep(time.Second)
		w.Judge("", "")
		w.isIn(Up)
		w.sleep(time.Minute)
		w.Judge("names are not found", "Wake the resolver.")
		w.isIn(Degraded)
		s := w.Status()
		require.Equal(t, []string{"names are not found", "Wake the resolver."}, []string{s.Reason, s.Cure})
		require.Equal(t, w.start, s.Session)
		require.Equal(t, "connected to home.example.org:1 (192.0.2.1:1), but names are not found. Wake the resolver.", s.String())
		w.sleep(time.Hour)
		require.Equal(t, 1, strings.Count(w.events(), "connect"), "the session goes on")
		w.Judge("", "")
		w.isIn(Up)
		require.Empty(t, w.Status().Reason+w.Status().Cure)

		w.serve(homeV4, nil)
		w.serve(awayV4, nil)
		w.setRoute("wlan0")
		w.NetworkChanged()
		w.sleep(time.Second / 2)
		w.Judge("", "")
		w.isIn(Connecting)
		require.Equal(t, "192.0.2.1:1: the network has changed", w.Status().Reason)
		require.NotEmpty(t, w.Status().Cure)
		require.Zero(t, w.Status().Session)
	})
}
