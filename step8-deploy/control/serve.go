package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"stepvpn/step8-deploy/privsep"
)

// The limits of a server.
const (
	maxConns   = 256 // connections at the same time...
	maxPerUser = 24  // ...and those of one user: so no user can keep root out, and what answers take is bounded

	maxAnswers = 4 // answers to one user that are made and sent at the same time: the largest have megabytes

	turnIn    = time.Second      // how long a connection too many may take to be told so
	headIn    = 5 * time.Second  // how long a request may take to arrive
	answerIn  = 15 * time.Second // how long its answer may take
	idleFor   = 30 * time.Second // how long a connection may wait for its next request
	maxHead   = 8 << 10          // bytes of a request's header
	maxBody   = 16 << 10         // bytes of its body
	maxAnswer = 64 << 20         // bytes of an answer that Ask reads: more than 100,000 clients
)

// A Server serves the API at a socket.
type Server struct {
	http     *http.Server
	stop     context.CancelFunc
	done     chan error
	handlers sync.WaitGroup
	answers  sync.Map // from a user's number to a chan struct{} that holds an element for each of his answers
}

// Serve serves these routes at a socket, which it then owns, until the Server is closed. Only
// the kernel says who may connect (a socket's mode and group); refused are the numbers of users who may not
// in any case. Close may be called once.
func Serve(l *net.UnixListener, routes []Route, refused ...int) *Server {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{stop: stop, done: make(chan error, 1)}
	s.http = &http.Server{
		Handler:           s.handler(routes),
		ReadHeaderTimeout: headIn, ReadTimeout: headIn, IdleTimeout: idleFor, MaxHeaderBytes: maxHead,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, userKey{}, c.(*conn).user)
		},
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug), // what a client of the socket does wrong is its own business
	}
	go func() {
		s.done <- s.http.Serve(&listener{UnixListener: l, refused: refused, turned: make(chan struct{}, maxPerUser), open: make(map[int]int)})
	}()
	return s
}

// Close ends all connections, and returns when no request is worked on any more.
func (s *Server) Close() error {
	s.stop()
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.handlers.Wait()
	return err
}

// turn waits until one more answer to a user may be made. It returns what must be called when that has been sent,
// or nil if the user has left.
func (s *Server) turn(ctx context.Context, uid int) (done func()) {
	c, _ := s.answers.LoadOrStore(uid, make(chan struct{}, maxAnswers))
	turns := c.(chan struct{})
	select {
	case turns <- struct{}{}:
		return func() { <-turns }
	case <-ctx.Done():
		return nil
	}
}

// A listener accepts connections within the limits for all users, and for each.
type listener struct {
	*net.UnixListener
	refused []int         // users that may not connect, whatever the socket's mode says
	turned  chan struct{} // has an element for each connection that is turned away right now

	mu   sync.Mutex // guards all below
	open map[int]int
	n    int
}

// busy is the answer to a connection too many.
const busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 59\r\n\r\n" +
	`{"error":"too many connections at once: try again later"}` + "\r\n"

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := privsep.Peer(c)
		if err != nil {
			slog.Debug("a connection is refused: nobody knows whose it is", "error", err)
			c.Close()
			continue
		}
		user := User{UID: int(peer.Uid), PID: int(peer.Pid)}
		if l.isRefused(user.UID) {
			slog.Warn("a connection to the control socket is refused", "uid", user.UID, "pid", user.PID)
			c.Close()
			continue
		}
		if !l.enter(user.UID) {
			l.turnAway(c)
			continue
		}
		return &conn{UnixConn: c, user: user, leave: sync.OnceFunc(func() { l.leave(user.UID) })}, nil
	}
}

// turnAway answers a connection too many. It waits a little for the request, since programs expect no answer
// before that.
func (l *listener) turnAway(c *net.UnixConn) {
	select {
	case l.turned <- struct{}{}:
	default: // nor are there too many of these
		c.Close()
		return
	}
	go func() {
		defer func() { c.Close(); <-l.turned }()
		c.SetDeadline(time.Now().Add(turnIn))
		c.Read(make([]byte, maxHead))
		c.SetDeadline(time.Now().Add(turnIn))
		c.Write([]byte(busy))
	}()
}

func (l *listener) isRefused(uid int) bool { return slices.Contains(l.refused, uid) }

func (l *listener) enter(uid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == maxConns || l.open[uid] == maxPerUser {
		return false
	}
	l.n++
	l.open[uid]++
	return true
}

func (l *listener) leave(uid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
	if l.open[uid]--; l.open[uid] == 0 {
		delete(l.open, uid)
	}
}

// A conn is a connection of a user whom the kernel knows.
type conn struct {
	*net.UnixConn
	user  User
	leave func()
}

func (c *conn) Close() error {
	c.leave()
	return c.UnixConn.Close()
}

type userKey struct{}
