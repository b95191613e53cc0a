package pool

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// refused returns why a pool with a state file is not opened.
func refused(t *testing.T, name string) string {
	t.Helper()
	_, err := Open(Config{Addrs: prefixes("10.8.0.1/24"), State: name})
	require.Error(t, err)
	return err.Error()
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	text := headClosed + "\n"
	file := func(name string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		require.NoError(t, os.Chmod(name, mode))
		return name
	}

	open := file("open", 0o620)
	require.Equal(t, open+" is not ours alone", refused(t, open))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file("target", 0o600), link))
	require.Equal(t, "the file of leases: open "+link+": too many levels of symbolic links", refused(t, link))
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	require.Equal(t, "the file of leases: "+pipe+" is not a regular file", refused(t, pipe))
	require.Equal(t, "the file of leases: open "+dir+": is a directory", refused(t, dir))
	require.Equal(t, "a folder for the leases: mkdir "+dir+"/no/where: no such file or directory", refused(t, dir+"/no/where/leases"))
	require.Equal(t, "a folder for the leases: open "+open+": not a directory", refused(t, open+"/leases"))

	require.NoError(t, os.Chmod(dir, 0o777))
	require.Equal(t, dir+" is not ours alone", refused(t, dir+"/leases"))
	require.NoFileExists(t, dir+"/leases")
	for _, name := range []string{"open", "target"} {
		require.Equal(t, text, content(t, filepath.Join(dir, name)), "nothing was changed")
	}
}

func TestOneServerAFile(t *testing.T) {
	name := t.TempDir() + "/leases"
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24"), State: name})
	for range 3 { // each save locks a file of its own
		require.Equal(t, "the file of leases "+name+" is in use by another server", refused(t, name))
		require.NoError(t, p.store.file.Write([]byte(p.snapshot().String())))
	}
	mustLease(t, p, 0, epoch)
	require.NoError(t, p.Close())
	require.Contains(t, content(t, name), "10.8.0.2 "+alice)
	opened(t, Config{Addrs: prefixes("10.8.0.1/24"), State: name})
}

func TestModesAndLeftovers(t *testing.T) {
	name := t.TempDir() + "/leases"
	// A server was killed while it wrote.
	require.NoError(t, os.WriteFile(name, []byte(headRunning+"\n10.8.0.7 "+alice+" 2026-11-25T20:58:25Z\n"), 0o600))
	require.NoError(t, os.WriteFile(name+".new", []byte("stepvp"), 0o444))
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24"), State: name})
	require.Equal(t, "10.8.0.7/24", mustLease(t, p, 0, epoch)[0].String())
	require.NoError(t, p.Close())
	files, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := files[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// A disk that is full, or a folder that is gone, does not stop the server. It
// says so once, and goes on when it can.
func TestSavingFails(t *testing.T) {
	dir := t.TempDir() + "/state"
	name := dir + "/leases"
	p, err := Open(Config{Addrs: prefixes("10.8.0.1/24"), State: name})
	require.NoError(t, err)
	require.NoError(t, os.Rename(dir, dir+"2"))
	mustLease(t, p, 0, epoch)
	err = p.Close()
	require.ErrorContains(t, err, "saving the leases: open "+name+": no such file or directory")
	require.Equal(t, err, p.Close())
	require.True(t, strings.HasPrefix(content(t, dir+"2/leases"), headRunning), "the old one is whole")
}

func TestSavingGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir() + "/state"
		name := dir + "/leases"
		log := logged(t, func() {
			p := opened(t, Config{Addrs: prefixes("10.8.0.1/24"), State: name})
			require.NoError(t, os.Rename(dir, dir+"2"))
			mustLease(t, p, 0, time.Now())
			time.Sleep(5 * saveRetry)
			mustLease(t, p, 1, time.Now())
			time.Sleep(5 * saveRetry)
			require.NoError(t, os.Rename(dir+"2", dir))
			time.Sleep(saveRetry)
			synctest.Wait()
		})
		require.Equal(t, "msg=\"the leases can't be saved, trying on; clients may get other addresses after a restart\" error=\"open "+name+
			": no such file or directory\"\nmsg=\"the leases are saved again\" file="+name+"\n", log)
		require.Equal(t, 3, strings.Count(content(t, name), "\n"))
	})
}

// mountsVar tells a test that it runs in a mount namespace of its own.
const mountsVar = "STEPVPN_TEST_MOUNTS"

// inMounts runs the test again in a mount namespace of its own, so that nothing stays mounted, however it ends. It reports
// whether that has been done; if not, this is that run.
func inMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv("STEPVPN_SKIP_NETNS") == "1" {
		t.Skip("needs namespaces, and STEPVPN_SKIP_NETNS=1 says to skip")
	}
	if os.Getenv(mountsVar) != "" {
		return false
	}
	args := []string{"--mount", os.Args[0], "-test.run=^" + t.Name() + "$"}
	if os.Geteuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), mountsVar+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "no tests to run")
	return true
}

// On a disk that is full or read-only a server starts with the leases that it finds, and
// saves them again as soon as it can.
func TestDiskFails(t *testing.T) {
	if inMounts(t) {
		return
	}
	for name, c := range map[string]struct{ breaks, mends func(dir string) error }{
		"full": {
			func(dir string) error { return os.WriteFile(dir+"/fill", make([]byte, 1<<20), 0o600) },
			func(dir string) error { return os.Remove(dir + "/fill") },
		},
		"read-only": {
			func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") },
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, unix.Mount("small", dir, "tmpfs", 0, "size=64k,mode=700"))
			t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
			cfg := Config{Addrs: prefixes("10.8.0.1/24"), State: dir + "/leases"}
			p := opened(t, cfg)
			mustLease(t, p, 0, epoch)
			had := mustLease(t, p, 1, epoch)
			require.NoError(t, p.Close())
			err := c.breaks(dir)
			require.True(t, err == nil || errors.Is(err, unix.ENOSPC), err)

			log := logged(t, func() { p, err = Open(cfg) })
			require.NoError(t, err)
			t.Cleanup(func() { p.Close() })
			require.Equal(t, 1, strings.Count(log, "the leases can't be saved"), log)
			require.Equal(t, had, mustLease(t, p, 1, epoch), "it is the address of before")
			if c.mends != nil {
				require.NoError(t, c.mends(dir))
				mustLease(t, p, 2, epoch)
				require.NoError(t, p.Close())
				require.Equal(t, 4, strings.Count(content(t, cfg.State), "\n"))
			}
		})
	}
}
