package privsep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/accept"
	"stepvpn/shared/atomicfile"
)

// Listen serves workers that another program (systemd) starts, at a socket that belongs to
// owner, their user. It serves one at a time, until ctx ends, or serve returns an error that
// is final. A new connection replaces the previous one: then the worker was restarted. When ctx
// ends, a worker that is being stopped, too, may go on until it is done, for at most grace.
func Listen(ctx context.Context, path string, owner atomicfile.Owner, grace time.Duration, final func(error) bool, serve func(*Conn) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	temp := path + ".new" // the socket gets its owner before it gets its name
	os.Remove(temp)
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: temp, Net: network})
	if err != nil {
		return fmt.Errorf("the worker's socket: %w", err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temp, 0o600), os.Lchown(temp, owner.UID, owner.GID), os.Rename(temp, path)); err != nil {
		os.Remove(temp)
		return fmt.Errorf("the worker's socket: %w", err)
	}
	defer os.Remove(path)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var last *Conn
	var serving sync.WaitGroup
	err = accept.Loop(ctx.Done(), l.Accept, func(c net.Conn) {
		u := c.(*net.UnixConn)
		if err := from(u, owner); err != nil {
			slog.Warn("a connection to the worker's socket is refused", "error", err)
			u.Close()
			return
		}
		if last != nil {
			last.Close() // its process may be gone, but another one may still have the other end open
		}
		serving.Wait()
		conn := New(u)
		last = conn
		serving.Go(func() {
			defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { conn.Close() }) })()
			err := serve(conn)
			conn.Close()
			switch {
			case final(err):
				cancel(err)
			case err != nil:
				slog.Error("the worker is disconnected", "error", err)
			}
		})
	})
	cancel(err)
	serving.Wait()
	if why := context.Cause(ctx); final(why) {
		return why
	}
	return err
}

const network = "unixpacket"

// Peer returns the process at the other end of a Unix socket, and its user.
func Peer(c *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, errors.Join(failed, err)
}

// from returns an error unless the process at the other end belongs to this user.
func from(c *net.UnixConn, owner atomicfile.Owner) error {
	peer, err := Peer(c)
	if err != nil {
		return err
	}
	if int(peer.Uid) != owner.UID {
		return fmt.Errorf("it comes from process %d of user %d", peer.Pid, peer.Uid)
	}
	return nil
}

// Dial connects to the process that listens at a socket. It waits until there is one, or ctx
// ends.
func Dial(ctx context.Context, path string) (*Conn, error) {
	const every = 50 * time.Millisecond
	for told := false; ; told = true {
		c, err := net.DialUnix(network, nil, &net.UnixAddr{Name: path, Net: network})
		if err == nil {
			return New(c), nil
		}
		if errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		if !told {
			slog.Debug("waiting for the privileged process", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(every):
		}
	}
}
