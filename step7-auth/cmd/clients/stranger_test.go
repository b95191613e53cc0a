package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nobody is a user that is neither root nor who runs the test.
const nobody = 65534

// lockAll has another user lock all in the folder that he may open, until the test ends,
// and returns the names.
func (d desk) lockAll() (locked []string) {
	d.t.Helper()
	if os.Getuid() != 0 {
		d.t.Skip("only root may be another user, too: run it as root")
	}
	for _, folder := range []string{d.dir, filepath.Dir(d.dir)} { // the test's own
		require.NoError(d.t, os.Chmod(folder, 0o755))
	}
	thief := exec.Command("sh", "-c", `n=3; for f in . *; do
		if [ -r "$f" ]; then eval "exec $n<\"$f\""; flock -n $n && echo "$f"; n=$((n+1)); fi
	done; echo; exec cat`)
	thief.Dir = d.dir
	thief.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	in, err := thief.StdinPipe()
	require.NoError(d.t, err)
	out, err := thief.StdoutPipe()
	require.NoError(d.t, err)
	require.NoError(d.t, thief.Start())
	d.t.Cleanup(func() { in.Close(); thief.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		locked = append(locked, lines.Text())
	}
	return locked
}

// Anybody who may read the registry can lock it, and its folder, and the draft that a killed
// program has left beside it. A client is revoked all the same.
func TestRevokeInSpiteOfLocks(t *testing.T) {
	d := newDesk(t)
	d.ok("", "add alice "+server)
	for _, name := range []string{"authorized_clients.new", "authorized_clients.lock"} {
		require.NoError(t, os.WriteFile(d.path(name), []byte("left"), 0o644))
	}
	require.NoError(t, os.Chmod(d.path("authorized_clients"), 0o644))
	require.Equal(t, []string{".", "authorized_clients", "authorized_clients.lock", "authorized_clients.new"}, d.lockAll())
	folder, err := os.Open(d.dir)
	require.NoError(t, err)
	defer folder.Close()
	require.ErrorIs(t, syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK, "nothing is locked")

	began := time.Now()
	require.Equal(t, "alice: revoked. A running server cuts it off now.\n", d.ok("", "revoke alice"))
	t.Logf("revoked after %v", time.Since(began))
	require.Contains(t, d.files()["authorized_clients"], "\n# revoked ")
	require.NoFileExists(t, d.path("authorized_clients.lock"))
}
