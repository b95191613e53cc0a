package identity

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func from(addr string, instance uint64) Source {
	return Source{Instance: instance, Addr: netip.MustParseAddr(addr)}
}

// A thief who has a client's file, and guesses its password from somewhere else, even from
// beside the owner, does not delay the owner's right password. The detector: it delays the
// thief's next guess.
func TestGuessesElsewhereDelayNobody(t *testing.T) {
	for thief, owner := range map[string]string{
		"203.0.113.66":     "198.51.100.10",
		"198.51.100.11":    "198.51.100.10",
		"2001:db8:cafe::b": "2001:db8:cafe::a",
	} {
		synctest.Test(t, func(t *testing.T) {
			p, alice, _ := newTestPasswords(t)
			for i := range uint64(200) { // in ten hours
				at := from(thief, 1000+i)
				require.Equal(t, ErrWrongPassword, p.Check(t.Context(), alice, at, "alice", "wrong"))
				require.ErrorAs(t, p.Check(t.Context(), alice, at, "alice", "secret"), new(*ThrottledError), "the detector")
				require.NoError(t, p.Check(t.Context(), alice, from(owner, 1+i), "alice", "secret"), i)
				time.Sleep(maxDelay)
			}
		})
	}
}

// The program that has been in waits for nobody, though the thief guesses at its very
// address, and so does the owner's address when the whole world guesses.
func TestWhoWasInDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, alice, _ := newTestPasswords(t)
		owner := from("198.51.100.10", 1)
		require.NoError(t, p.Check(t.Context(), alice, owner, "alice", "secret"))
		require.Equal(t, ErrWrongPassword, p.Check(t.Context(), alice, from("198.51.100.10", 666), "alice", "wrong"))
		require.ErrorAs(t, p.Check(t.Context(), alice, from("198.51.100.10", 2), "alice", "secret"), new(*ThrottledError), "the detector")
		require.NoError(t, p.Check(t.Context(), alice, owner, "alice", "secret"))
		require.NoError(t, p.Check(t.Context(), alice, from("203.0.113.7", 1), "alice", "secret"), "wherever it is")

		time.Sleep(time.Minute)
		for i := range maxFailures {
			require.Equal(t, ErrWrongPassword, p.Check(t.Context(), alice, from(fmt.Sprintf("10.0.%d.1", i), 1000), "alice", "wrong"))
		}
		require.Equal(t, ErrBusy, p.Check(t.Context(), alice, from("203.0.113.8", 3), "alice", "secret"), "the detector")
		require.NoError(t, p.Check(t.Context(), alice, from("198.51.100.10", 4), "alice", "secret"))
		require.NoError(t, p.Check(t.Context(), alice, owner, "alice", "secret"))

		// It is held to its own wrong passwords.
		require.Equal(t, ErrWrongPassword, p.Check(t.Context(), alice, owner, "alice", "wrong"))
		require.ErrorAs(t, p.Check(t.Context(), alice, owner, "alice", "secret"), new(*ThrottledError))
	})
}

// An attacker who has many addresses gets only a few more guesses by that.
func TestGuessesFromANetwork(t *testing.T) {
	for name, addr := range map[string]func(i int) string{
		"/24": func(i int) string { return fmt.Sprintf("198.51.100.%d", i) },
		"/64": func(i int) string { return fmt.Sprintf("2001:db8::%x", i) },
		"/56": func(i int) string { return fmt.Sprintf("2001:db8:0:%x::", i) },
		"/48": func(i int) string { return fmt.Sprintf("2001:db8:0:%x::", i<<8) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, alice, _ := newTestPasswords(t)
				guesses := 0
				guess := func(n int) {
					for i := range n {
						if p.Check(t.Context(), alice, from(addr(i), uint64(1000+i)), "alice", "wrong") == ErrWrongPassword {
							guesses++
						}
					}
				}
				guess(250)
				require.Equal(t, maxNetwork, guesses)
				require.NoError(t, p.Check(t.Context(), alice, from("192.0.2.1", 1), "alice", "secret"))
				for range 100 {
					time.Sleep(networkRefill)
					guess(250)
				}
				require.Equal(t, maxNetwork+100, guesses)
			})
		})
	}
}

// Nothing that comes from outside grows without end.
func TestThrottleIsBounded(t *testing.T) {
	var th throttle
	now := time.Now()
	for i := range maxRemembered + 500 {
		now = now.Add(time.Second)
		a := th.attempt(fmt.Sprint(i%10), from(fmt.Sprintf("10.%d.%d.1", i>>8, i&255), uint64(i+1)))
		th.fail(a, now)
		if i%2 == 0 {
			th.succeed(a, now)
			th.fail(a, now)
		}
	}
	require.Len(t, th.failures, maxRemembered)
	require.Len(t, th.networks, maxRemembered)
	require.Len(t, th.right, maxRemembered)
}
