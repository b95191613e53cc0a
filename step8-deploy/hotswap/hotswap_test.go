package hotswap

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 20 * time.Second

func burst(text string) *link.Burst {
	b := link.NewBurst()
	copy(b.Alloc(len(text)), text)
	return b
}

// within fails the test if f takes too long.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done) // also when f fails the test
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		require.Fail(t, "it hangs")
	}
}

func read(t *testing.T, l link.Link) string {
	t.Helper()
	b := link.NewBurst()
	within(t, func() { require.NoError(t, l.ReadBurst(b)) })
	if b.Len() == 0 {
		return ""
	}
	return string(b.At(0))
}

// use puts a session in, and returns its far end and a channel with Use's result.
func use(ctx context.Context, s *Link) (far link.Link, result chan error) {
	near, far := link.Pipe(10)
	result = make(chan error, 1)
	go func() { result <- s.Use(ctx, near) }()
	return far, result
}

// requireClosed checks, from its far end, that a session was closed.
func requireClosed(t *testing.T, far link.Link) {
	t.Helper()
	within(t, func() {
		for b := link.NewBurst(); far.ReadBurst(b) == nil; { // packets that were on the way
		}
	})
}

func TestSessionsComeAndGo(t *testing.T) {
	var drops link.Drops
	s := New(&drops, secure.NoSession)
	require.NoError(t, s.WriteBurst(burst("there is no session")))
	require.EqualValues(t, 1, drops.Count(secure.NoSession), "what is dropped is counted")

	for range 3 {
		far, result := use(t.Context(), s)
		require.NoError(t, far.WriteBurst(burst("in")))
		require.Equal(t, "in", read(t, s)) // it has waited for the session
		require.NoError(t, s.WriteBurst(burst("out")))
		require.Equal(t, "out", read(t, far))
		far.Close() // the session is lost

		reading := make(chan string, 1)
		go func() { reading <- read(t, s) }() // notices, and waits for the next one
		require.ErrorIs(t, <-result, net.ErrClosed)
		dropped := drops.Count(secure.NoSession)
		require.NoError(t, s.WriteBurst(burst("between two")))
		require.Equal(t, dropped+1, drops.Count(secure.NoSession))

		ctx, cancel := context.WithCancel(t.Context())
		far, result = use(ctx, s)
		require.NoError(t, far.WriteBurst(burst("next")))
		require.Equal(t, "next", <-reading)
		cancel()
		require.NoError(t, <-result)
		requireClosed(t, far)
	}
	require.NoError(t, s.Close())
}

// A session whose writes fail has ended, too.
func TestAWriteThatFails(t *testing.T) {
	s := New(new(link.Drops), secure.NoSession)
	broken := errors.New("broken")
	result := make(chan error, 1)
	go func() { result <- s.Use(t.Context(), failing{broken}) }()
	within(t, func() {
		for {
			require.NoError(t, s.WriteBurst(burst("x")))
			select {
			case err := <-result:
				require.Equal(t, broken, err)
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	require.NoError(t, s.Close())
}

// A late is a session whose read comes back long after it was closed.
type late struct{ reading, fail chan struct{} }

func (l late) ReadBurst(*link.Burst) error {
	close(l.reading)
	<-l.fail
	return errors.New("the end of an earlier session")
}
func (l late) WriteBurst(*link.Burst) error { return nil }
func (l late) Close() error                 { return nil }

// What comes from an earlier session does not end the next one.
func TestTheSessionBefore(t *testing.T) {
	s := New(new(link.Drops), secure.NoSession)
	before := late{make(chan struct{}), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Use(ctx, before) }()
	got := make(chan string, 1)
	go func() { got <- read(t, s) }()
	<-before.reading
	cancel()
	require.NoError(t, <-ended)

	far, result := use(t.Context(), s)
	within(t, func() {
		for s.current() == nil {
			time.Sleep(time.Millisecond)
		}
	})
	require.NoError(t, far.WriteBurst(burst("of the next")))
	close(before.fail)
	select {
	case text := <-got:
		require.Equal(t, "of the next", text)
	case err := <-result:
		require.Fail(t, "this session has ended, too", "%v", err)
	}
	require.NoError(t, s.Close())
}

type failing struct{ err error }

func (f failing) ReadBurst(*link.Burst) error  { select {} }
func (f failing) WriteBurst(*link.Burst) error { return f.err }
func (f failing) Close() error                 { return nil }

func TestCloseEndsAll(t *testing.T) {
	for _, inUse := range []bool{false, true} {
		s := New(new(link.Drops), secure.NoSession)
		result := make(chan error, 1)
		if inUse {
			_, result = use(t.Context(), s)
			within(t, func() {
				for s.current() == nil {
					time.Sleep(time.Millisecond)
				}
			})
		} else {
			result <- errClosed
		}
		reading := make(chan error, 1)
		go func() { reading <- s.ReadBurst(link.NewBurst()) }()
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-reading, net.ErrClosed)
		require.Error(t, <-result)
		require.ErrorIs(t, s.WriteBurst(burst("x")), net.ErrClosed)

		near, far := link.Pipe(1)
		require.ErrorIs(t, s.Use(t.Context(), near), net.ErrClosed)
		requireClosed(t, far)
	}
}

func (s *Link) current() link.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner
}

// Sessions are exchanged while packets pass in both directions.
func TestRace(t *testing.T) {
	s := New(new(link.Drops), secure.NoSession)
	done := make(chan struct{}, 2)
	go func() {
		for s.WriteBurst(burst("out")) == nil {
		}
		done <- struct{}{}
	}()
	go func() {
		for b := link.NewBurst(); s.ReadBurst(b) == nil; {
		}
		done <- struct{}{}
	}()
	for range 300 {
		far, result := use(t.Context(), s)
		far.WriteBurst(burst("in"))
		read(t, far)
		far.Close()
		<-result
	}
	require.NoError(t, s.Close())
	<-done
	<-done
}
