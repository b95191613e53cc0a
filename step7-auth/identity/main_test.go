package identity

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/step4-crypto/noise"
)

// childVar makes the test binary a program that adds clients to a registry, so
// that tests can have several of them, and kill them. Its value is the file and
// the beginning of the names.
const childVar = "IDENTITY_TEST_CHILD"

func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(childVar); ok {
		path, prefix, _ := strings.Cut(job, " ")
		if err := addMany(path, prefix); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const added = 25 // by a child

// addMany adds clients one by one, and prints the name of each after that.
func addMany(path, prefix string) error {
	for i := range added {
		name := fmt.Sprint(prefix, i)
		if err := Edit(path, func(d *Draft) error { return d.Add(testClient(name)) }); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

// testClient returns a client whose key belongs to its name.
func testClient(name string) *Client { return &Client{Name: name, Key: testKey(name)} }

func testKey(name string) noise.PublicKey { return sha256.Sum256([]byte(name)) }

// cheap is a cost for tests.
var cheap = cost{memory: 8, passes: 1, lanes: 1}

// registry parses lines, in which KEY(name) stands for testKey.
func registry(t testing.TB, lines ...string) *Registry {
	t.Helper()
	r, err := Parse("clients", withKeys(strings.Join(lines, "\n")))
	require.NoError(t, err)
	return r
}

// withKeys puts keys in place of KEY(name).
func withKeys(text string) string {
	for {
		before, rest, ok := strings.Cut(text, "KEY(")
		if !ok {
			return text
		}
		name, after, _ := strings.Cut(rest, ")")
		text = before + noise.FormatKey(testKey(name)) + after
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}
