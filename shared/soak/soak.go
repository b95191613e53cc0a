// Package soak is the one place where tests learn which tier runs them: "make
// test", which takes minutes, or "make soak", which takes as long as it takes. A
// test that guards something is in both; it only does more in the second.
package soak

import (
	"os"
	"testing"
)

// Var is the environment variable that "make soak" sets to 1.
const Var = "STEPVPN_SOAK"

// On tells whether this is "make soak".
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
