package status

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"stepvpn/shared/accept"
	"stepvpn/shared/app"
)

// A Server answers at a daemon's Unix socket with its Report. Close is safe for concurrent use.
type Server struct {
	listener net.Listener
	report   func() *Report
	slots    chan struct{} // one token for each connection under way
	serving  sync.WaitGroup
}

const (
	maxReaders = 8               // connections that are answered at the same time
	answerIn   = 5 * time.Second // the time that a connection may take
	maxAnswer  = 64 << 20        // bytes of JSON that Query reads: 100,000 peers
	socketMode = 0o660           // owner and group may connect
)

// Listen makes the socket. It replaces a socket that a killed daemon has left, but not one at
// which a daemon answers. Closing the listener leaves the file.
func Listen(path string) (*net.UnixListener, error) {
	// systemd makes the folder for a service. Make it for a daemon that is started by hand.
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, app.Hint(fmt.Errorf("status socket %s: %w", path, err),
			"The setting status_socket names another one, or \"\" for none.")
	}
	if err := Free(path); err != nil {
		return nil, err
	}
	// The socket gets its mode before it gets its name. Otherwise every user could open it
	// for a moment.
	temp := path + ".new"
	os.Remove(temp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, app.Hint(fmt.Errorf("status socket %s: %w", path, err),
			"The setting status_socket names another one, or \"\" for none.")
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temp, socketMode), os.Rename(temp, path)); err != nil {
		l.Close()
		os.Remove(temp)
		return nil, fmt.Errorf("status socket: %w", err)
	}
	return l, nil
}

// Serve answers at a socket with what report returns, until the Server is closed. It calls
// report from any goroutine.
func Serve(l net.Listener, report func() *Report) *Server {
	s := &Server{listener: l, report: report, slots: make(chan struct{}, maxReaders)}
	s.serving.Go(s.accept)
	return s
}

// Free returns an error if the path is taken.
func Free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("status socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("status socket: %s is there, and is no socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil // no daemon listens there any more
	}
	if err == nil {
		conn.Close()
	}
	return app.Hint(fmt.Errorf("status socket: another daemon has %s", path),
		"Stop that one first, or set another status_socket.")
}

func (s *Server) accept() {
	err := accept.Loop(nil, s.listener.Accept, func(conn net.Conn) {
		s.slots <- struct{}{}
		s.serving.Go(func() {
			defer func() { conn.Close(); <-s.slots }()
			conn.SetDeadline(time.Now().Add(answerIn))
			w := bufio.NewWriter(conn)
			json.NewEncoder(w).Encode(s.report()) // an error concerns only this connection
			w.Flush()
		})
	})
	if err != nil {
		slog.Error("the status socket has failed: no more status is reported", "error", err)
	}
}

// Close stops answering.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.serving.Wait()
	return err
}

// Query asks a daemon at its socket.
func Query(ctx context.Context, path string) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, app.Hint(fmt.Errorf("no daemon answers at %s", path),
			"Is it running? 'systemctl status stepvpn-server stepvpn-client' shows that. The setting status_socket says where it answers.")
	case errors.Is(err, fs.ErrPermission):
		return nil, app.Hint(fmt.Errorf("you may not connect to %s", path), "Run it as root, for example with sudo.")
	case err != nil:
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer := io.LimitedReader{R: conn, N: maxAnswer}
	var r Report
	if err := json.NewDecoder(&answer).Decode(&r); err != nil {
		if answer.N == 0 {
			err = fmt.Errorf("more than %d bytes", maxAnswer)
		}
		return nil, fmt.Errorf("the answer at %s is not a status: %w", path, err)
	}
	return &r, nil
}
