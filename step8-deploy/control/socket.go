package control

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/privsep"
)

// A Socket says where a socket is, and who may use it besides root and the daemon's own user.
type Socket struct {
	Path  string
	Name  string // what it is for, as in its settings NAME_socket and NAME_group: Status or Control
	Group string // whose members may use it; "": that of the process for the status, and nobody's for changes
}

// The names of the two sockets.
const (
	Status  = "status"
	Control = "control"
)

// mode is that of the socket: who may write to it may connect.
func (s Socket) mode() os.FileMode {
	if s.Name == Control && s.Group == "" {
		return 0o600
	}
	return 0o660
}

// orphaned is how long Listen waits for the worker of a killed daemon to end.
const orphaned = 20 * time.Second

// Listen makes the socket. It replaces a socket that a killed daemon has left, but not one at
// which a daemon answers; if only the worker of a killed one does, Listen waits until that has
// ended, too. Closing the listener leaves the file.
func (s Socket) Listen() (*net.UnixListener, error) {
	gid, err := s.GID()
	if err != nil {
		return nil, err
	}
	// systemd makes the folder for a service. Make it for a daemon that is started by hand.
	if err := os.Mkdir(filepath.Dir(s.Path), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, s.failed(err)
	}
	if err := s.await(); err != nil {
		return nil, err
	}
	// The socket gets its mode and group before it gets its name. Otherwise every user could
	// open it for a moment.
	temp := s.Path + ".new"
	os.Remove(temp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, s.failed(err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temp, 0), os.Lchown(temp, -1, gid), os.Chmod(temp, s.mode()), os.Rename(temp, s.Path)); err != nil {
		l.Close()
		os.Remove(temp)
		return nil, fmt.Errorf("%s socket: %w", s.Name, err)
	}
	return l, nil
}

// An orphan is the error that the worker of a killed daemon answers at a socket.
type orphan struct{ error }

// await returns an error if the path is taken, and stays so.
func (s Socket) await() error {
	err := s.Free()
	if _, is := errors.AsType[orphan](err); !is {
		return err
	}
	slog.Info("waiting for the worker of a killed daemon to end", "socket", s.Path)
	for end := time.Now().Add(orphaned); err != nil && time.Now().Before(end); err = s.Free() {
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func (s Socket) failed(err error) error {
	return app.Hint(fmt.Errorf("%s socket %s: %w", s.Name, s.Path, err), "The setting %s_socket names another one, or \"\" for none.", s.Name)
}

// GID returns the number of the socket's group, or -1 for that of the process.
func (s Socket) GID() (int, error) {
	if s.Group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(s.Group)
	if err != nil {
		return 0, app.Hint(fmt.Errorf("%s_group is %q, but this host has no such group", s.Name, s.Group), "Make it: groupadd --system %s", s.Group)
	}
	return strconv.Atoi(g.Gid)
}

// Free returns an error if the path is taken.
func (s Socket) Free() error {
	info, err := os.Lstat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s socket: %w", s.Name, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s socket: %s is there, and is no socket", s.Name, s.Path)
	}
	conn, err := net.DialTimeout("unix", s.Path, time.Second)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil // no daemon listens there any more
	}
	taken := fmt.Errorf("%s socket: another daemon has %s", s.Name, s.Path)
	if err == nil {
		defer conn.Close()
		// Whoever has made the socket was the keeper, as far as the kernel is concerned.
		peer, err := privsep.Peer(conn.(*net.UnixConn))
		if err == nil && peer.Pid > 0 && errors.Is(syscall.Kill(int(peer.Pid), 0), syscall.ESRCH) {
			taken = orphan{taken}
		}
	}
	return app.Hint(taken, "Stop that one first, or set another %s_socket.", s.Name)
}

// A denied error is fs.ErrPermission for programs, and has words of its own for people.
type denied struct{ error }

func (denied) Is(target error) bool { return target == fs.ErrPermission }

// mayNot returns the error for a user who may not connect to a socket.
func mayNot(path string) error {
	err := denied{fmt.Errorf("you may not connect to %s", path)}
	info, failed := os.Stat(path)
	if failed != nil || info.Mode().Perm()&0o020 == 0 {
		return app.Hint(err, "Run it as root, for example with sudo.")
	}
	gid := strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid))
	if g, failed := user.LookupGroupId(gid); failed == nil && g.Name != "root" {
		return app.Hint(err, "Members of the group %s may, and root: 'sudo usermod -aG %[1]s USER' adds a user, who has to log in again.", g.Name)
	}
	return app.Hint(err, "Run it as root, for example with sudo.")
}
