// Package shards_test is what the test of netlab.MainInShards runs.
package shards_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.MainInShards(m, 2) }

// One process has the first and the third test, the other one the second.
func TestFirst(t *testing.T)  { meet(t, "first", "second") }
func TestSecond(t *testing.T) { meet(t, "second", "first", "third") }
func TestThird(t *testing.T)  { meet(t, "third", "second") }

// meet waits for the others, which run meanwhile, in a lab of the same names, and
// yet elsewhere.
func meet(t *testing.T, me string, others ...string) {
	netlab.New(t)
	dir := os.Getenv("NETLAB_TEST_DIR")
	here, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, me), []byte(here), 0o600))
	for _, other := range others {
		var there []byte
		netlab.Eventually(t, time.Minute, other+" runs", func() bool {
			there, _ = os.ReadFile(filepath.Join(dir, other))
			return len(there) > 0
		})
		require.NotEqual(t, here, string(there))
	}
	if me == os.Getenv("NETLAB_TEST_FAIL") {
		t.Fatalf("%s was told to fail", me)
	}
}
