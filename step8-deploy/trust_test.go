package step8_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A user who can change or replace a file decides what the programs do, and so does a user who
// can read a key. Each program says so, of each file that it reads.
func TestFilesThatOthersHaveInHand(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.set(t, "server.toml", "status_socket", w.path("server.sock"), "state", w.path("state"))
	require.NoError(t, os.MkdirAll(w.path("state"), 0o700))
	server := []string{"server", w.path("server.toml")}
	check := []string{"check", w.path("server.toml")}
	revoke := []string{"clients", "revoke", "nobody", "-registry", w.path("clients")}
	add := []string{"clients", "add", "bob", "-registry", w.path("clients"), "-key", w.path("server.key"), "-server", "192.0.2.1:1"}
	client := []string{"client", w.path("alice.toml")}

	mode := func(name string, to, back os.FileMode) func() func() {
		return func() func() {
			require.NoError(t, os.Chmod(w.path(name), to))
			return func() { require.NoError(t, os.Chmod(w.path(name), back)) }
		}
	}
	owner := func(name string) func() func() {
		return func() func() {
			if err := os.Chown(w.path(name), 12, -1); err != nil {
				t.Logf("another owner is not tried: %v", err) // an ordinary user's namespace has one user only
				return nil
			}
			return func() { require.NoError(t, os.Chown(w.path(name), os.Getuid(), -1)) }
		}
	}
	try := func(args []string) (code int, said string) {
		host := w.Server
		if args[0] == "client" {
			host = w.Alice
		}
		p := host.Start(t, netlab.Program("stepvpn"), args...)
		return p.Wait(t), p.Log()
	}
	const (
		changed  = "may be written by users other than its owner"
		read     = "may be read or changed by users other than its owner"
		belongs  = "belongs to user 12"
		replaced = "others may write to the folder "
	)
	for _, c := range []struct {
		name     string
		make     func() func()
		want     string
		programs [][]string
	}{
		{"settings that others may change", mode("server.toml", 0o620, 0o600), changed, [][]string{server, check}},
		{"another's settings", owner("server.toml"), belongs, [][]string{server, check}},
		{"a key that others may read", mode("server.key", 0o604, 0o600), read, [][]string{server, check, add}},
		{"another's key", owner("server.key"), belongs, [][]string{server, check, add}},
		{"a registry that others may change", mode("clients", 0o602, 0o600), changed, [][]string{server, revoke, add}},
		{"another's registry", owner("clients"), belongs, [][]string{server, revoke, add}},
		{"a client's file that others may read", mode("alice.toml", 0o640, 0o600), "may be read or changed by users other than its owner", [][]string{client}},
		{"another's client's file", owner("alice.toml"), belongs, [][]string{client}},
		{"a folder of others", mode(".", 0o777, 0o755), replaced, [][]string{server, check, revoke, add, client}},
		{"a group's folder", mode(".", 0o775, 0o755), replaced, [][]string{server, check, revoke, add, client}},
		{"another's folder", owner("."), belongs, [][]string{server, check, revoke, add, client}},
		{"a state that others may change", mode("state", 0o777, 0o700), replaced, [][]string{server}},
		{"another's state", owner("state"), belongs, [][]string{server}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, said := try(check)
			require.Zero(t, code, said)
			back := c.make()
			if back == nil {
				return
			}
			defer back()
			for _, args := range c.programs {
				code, said := try(args)
				require.Equal(t, 1, code, "%v: %s", args, said)
				require.Contains(t, said, c.want, "%v", args)
				require.Regexp(t, `\n  .*(chmod|chown) .*`, said, "%v: what to do", args)
			}
		})
	}

	// In a folder like /tmp, nobody can replace another user's file.
	require.NoError(t, os.Chmod(w.dir, 0o777|os.ModeSticky))
	code, said := try(check)
	require.Zero(t, code, said)
}
