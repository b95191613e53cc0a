package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// newTestPasswords returns a Passwords whose hashes are cheap, and two clients:
// alice has the password "secret", bob none.
func newTestPasswords(t *testing.T) (p *Passwords, alice, bob *Client) {
	p = NewPasswords()
	p.unknown.cost = cheap
	r := registry(t, "alice KEY(alice) password="+hashPassword("secret", cheap).String(), "bob KEY(bob)")
	alice, _ = r.ByName("alice")
	bob, _ = r.ByName("bob")
	return p, alice, bob
}

func TestCheck(t *testing.T) {
	p, alice, bob := newTestPasswords(t)
	require.NoError(t, p.Check(t.Context(), alice, Source{}, "alice", "secret"))
	require.NoError(t, p.Check(t.Context(), alice, Source{}, "alice", "secret"), "a right password is no reason to wait")
	for _, tt := range []struct {
		client         *Client
		user, password string
	}{
		{alice, "alice", "Secret"},
		{alice, "alice", "secret "},
		{alice, "alice", "secret\x00"},
		{alice, "alice", ""},
		{alice, "alice", strings.Repeat("x", MaxPassword)},
		{alice, "alice", strings.Repeat("x", MaxPassword+1)},
		{alice, "bob", "secret"}, // the key says who it is, too
		{alice, "", "secret"},
		{bob, "bob", "secret"}, // who has no password does not get in by one
		{bob, "alice", "secret"},
		{nil, "carol", "secret"},
		{nil, "", "secret"},
		{nil, strings.Repeat("x", 1<<20), "secret"},
	} {
		p.throttle = throttle{}
		err := p.Check(t.Context(), tt.client, Source{}, tt.user, tt.password)
		require.Equal(t, ErrWrongPassword, err)
		require.EqualError(t, err, "wrong user name or password")
	}
}

// Each check takes the same work, whether the user exists or not.
func TestUnknownUsersCostTheSame(t *testing.T) {
	p := NewPasswords()
	// HashPassword and the hash of nobody have the same parameters.
	ours, err := HashPassword("secret")
	require.NoError(t, err)
	r := registry(t, "alice KEY(alice) password="+ours.String(), "bob KEY(bob)")
	alice, _ := r.ByName("alice")
	bob, _ := r.ByName("bob")

	type work struct {
		cost           cost
		salt, key, len int
	}
	var done []work
	p.derive = func(h *PasswordHash, password string) []byte {
		done = append(done, work{h.cost, len(h.salt), len(h.key), len(password)})
		return make([]byte, len(h.key))
	}
	want := work{defaultCost, 16, 32, len("Secret")}
	for _, tt := range []struct {
		client *Client
		user   string
	}{{alice, "alice"}, {alice, "bob"}, {bob, "bob"}, {nil, "alice"}, {nil, "carol"}, {nil, "not a name!"}} {
		done = nil
		require.Equal(t, ErrWrongPassword, p.Check(t.Context(), tt.client, Source{}, tt.user, "Secret"))
		require.Equal(t, []work{want}, done, "%v", tt)
		p.throttle = throttle{}
	}
}

// A client in the log is its name, without the hash of its password.
func TestHashesAreNotLogged(t *testing.T) {
	_, alice, _ := newTestPasswords(t)
	require.Equal(t, "alice alice", fmt.Sprintf("%v %+v", alice, alice))
	require.Equal(t, "[alice]", fmt.Sprint([]*Client{alice}))
}

// A user without a password, or one that does not exist, gets in by no password, not even
// by one that fits the hash of nobody.
func TestNobodysHashLetsNobodyIn(t *testing.T) {
	p, _, bob := newTestPasswords(t)
	p.derive = func(h *PasswordHash, _ string) []byte { return h.key }
	require.Equal(t, ErrWrongPassword, p.Check(t.Context(), bob, Source{}, "bob", "secret"))
	require.Equal(t, ErrWrongPassword, p.Check(t.Context(), nil, Source{}, "carol", "secret"))
}

func TestGuessesAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, alice, bob := newTestPasswords(t)
		check := func(password string) error { return p.Check(t.Context(), alice, Source{}, "alice", password) }
		delay := time.Second
		for range 12 {
			require.Equal(t, ErrWrongPassword, check("wrong"))
			// The right one does not help now: it is not even looked at.
			require.Equal(t, &ThrottledError{delay}, check("secret"))
			time.Sleep(delay - time.Nanosecond)
			require.Equal(t, &ThrottledError{time.Nanosecond}, check("secret"))
			// Others can log in.
			require.NotErrorAs(t, p.Check(t.Context(), bob, Source{}, "bob", "x"), new(*ThrottledError))
			p.throttle.succeed(p.throttle.attempt("bob", Source{}), time.Now())
			time.Sleep(time.Nanosecond)
			delay = min(2*delay, 5*time.Minute)
		}
		require.NoError(t, check("secret"))
		require.Equal(t, ErrWrongPassword, check("wrong"))
		require.Equal(t, &ThrottledError{time.Second}, check("wrong"), "a right password has made the wrong ones before forgotten")

		for range 3 {
			time.Sleep(time.Minute)
			require.Equal(t, ErrWrongPassword, check("wrong"))
		}
		time.Sleep(forgetTime + 1)
		require.Equal(t, ErrWrongPassword, check("wrong"))
		require.Equal(t, &ThrottledError{time.Second}, check("wrong"), "after an hour they are forgotten, too")
	})
}

func TestThrottledError(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		1:                       "too many wrong passwords: try again in 1s",
		time.Second:             "too many wrong passwords: try again in 1s",
		1001 * time.Millisecond: "too many wrong passwords: try again in 2s",
		5 * time.Minute:         "too many wrong passwords: try again in 5m0s",
	} {
		require.EqualError(t, &ThrottledError{wait}, want)
	}
}

// If many guesses come at the same time, one of them is looked at.
func TestGuessesAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, alice, _ := newTestPasswords(t)
		hashed := 0
		var mu sync.Mutex
		p.derive = func(h *PasswordHash, password string) []byte {
			mu.Lock()
			hashed++
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			return h.derive(password)
		}
		results := make(map[string]int)
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				err := p.Check(t.Context(), alice, Source{}, "alice", fmt.Sprint(i))
				mu.Lock()
				defer mu.Unlock()
				results[err.Error()]++
			})
		}
		all.Wait()
		require.Equal(t, 1, hashed)
		require.Equal(t, map[string]int{
			"wrong user name or password":               1,
			"too many wrong passwords: try again in 1s": 49,
		}, results)
	})
}

// All identities together can't have many wrong passwords looked at.
func TestGuessesInTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, alice, _ := newTestPasswords(t)
		check := func(i int) error { return p.Check(t.Context(), nil, Source{}, fmt.Sprint("user", i), "guess") }
		for i := range maxFailures {
			require.Equal(t, ErrWrongPassword, check(i), i)
		}
		require.Equal(t, ErrBusy, check(-1))
		require.Equal(t, ErrBusy, p.Check(t.Context(), alice, Source{}, "alice", "secret"))
		time.Sleep(failureRefill)
		require.NoError(t, p.Check(t.Context(), alice, Source{}, "alice", "secret"))
		for i := range 10 {
			require.Equal(t, ErrWrongPassword, check(1000+i), "one a second")
			require.Equal(t, ErrBusy, check(2000+i))
			time.Sleep(failureRefill)
		}
		time.Sleep(time.Hour)
		for i := range maxFailures {
			require.Equal(t, ErrWrongPassword, check(3000+i), i)
		}
		require.Equal(t, ErrBusy, check(-1))
	})
}

func TestThrottleForgetsTheOldest(t *testing.T) {
	var th throttle
	now := time.Now()
	fail := func(id string) { th.fail(th.attempt(id, Source{}), now) }
	for i := range maxRemembered {
		now = now.Add(time.Millisecond)
		fail(fmt.Sprint(i))
	}
	now = now.Add(time.Minute)
	fail("1") // again
	fail("one more")
	fail("two more")
	at := func(id string) place { return place{id: id} }
	require.Len(t, th.failures, maxRemembered)
	require.NotContains(t, th.failures, at("0"))
	require.Equal(t, 2, th.failures[at("1")].count)
	require.NotContains(t, th.failures, at("2"))
	require.Contains(t, th.failures, at("3"))
}

// One password is checked at a time, and 64 wait. The others are refused, and
// a client that gives up makes room.
func TestChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, alice, _ := newTestPasswords(t)
		var running, most, done int
		var mu sync.Mutex
		p.derive = func(h *PasswordHash, password string) []byte {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			running--
			done++
			mu.Unlock()
			return h.derive(password)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the client is gone")
		var all sync.WaitGroup
		for i := range maxChecks + maxWaiting {
			c := *alice
			c.Name = fmt.Sprint("user", i)
			ctx := ctx
			if i < maxChecks {
				ctx = t.Context()
			}
			all.Go(func() {
				err := p.Check(ctx, &c, Source{}, c.Name, "secret")
				if err != nil {
					require.Equal(t, gone, err)
				}
			})
			synctest.Wait()
		}
		require.Equal(t, ErrBusy, p.Check(t.Context(), alice, Source{}, "alice", "secret"))
		time.Sleep(950 * time.Millisecond)
		cancel(gone)
		synctest.Wait()
		require.NoError(t, p.Check(t.Context(), alice, Source{}, "alice", "secret"), "there is room again")
		all.Wait()
		require.Equal(t, maxChecks, most)
		require.Equal(t, 10*maxChecks+1, done)
		require.Empty(t, p.throttle.failures, "waiting in vain is no wrong password")
	})
}

func BenchmarkCheck(b *testing.B) {
	hash, err := HashPassword("secret")
	require.NoError(b, err)
	alice := &Client{Name: "alice", Password: hash}
	for _, bb := range []struct {
		name   string
		client *Client
		user   string
	}{{"wrong password", alice, "alice"}, {"unknown user", nil, "bob"}} {
		b.Run(bb.name, func(b *testing.B) {
			p := NewPasswords()
			b.ReportAllocs()
			for b.Loop() {
				p.Check(b.Context(), bb.client, Source{}, bb.user, "wrong")
				p.throttle = throttle{}
			}
		})
	}
}
