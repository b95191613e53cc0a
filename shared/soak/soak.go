// Package soak tells tests which tier they run in: "make test", which takes minutes, or
// "make soak", which may take as long as it needs. A test that guards a promise runs in
// both tiers; it only does more in the second.
package soak

import (
	"os"
	"testing"
)

// Var is the environment variable that "make soak" sets to 1.
const Var = "STEPVPN_SOAK"

// On reports whether this is "make soak".
func On() bool { return os.Getenv(Var) == "1" }

// Pick returns quick in "make test" and all in "make soak", and notes in the
// test's log which of the two it was.
func Pick[T any](t testing.TB, quick, all T) T {
	t.Helper()
	if On() {
		return all
	}
	t.Logf("the quick variant, with %v; in 'make soak' it is %v", quick, all)
	return quick
}
