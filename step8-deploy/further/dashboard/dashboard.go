// Package dashboard is a page for the operator of a server: who is connected and what they use; and
// it adds clients, and keeps them out. Introduced in step 8, chapter dashboard.
//
// It is a program of its own (cmd/stepvpn-web), with a user of its own. All that it knows of the VPN are the
// two sockets of package control: it has no key, reads no file of the server, and can do what its
// groups may do there. So whoever takes it over can add clients and revoke them, which the audit log shows, but can't
// pose as the server, and can't read traffic.
//
// The order from the outside to the inside:
//
//	listen.go    connections, of which there are only so many
//	guard.go     what no page of ours sends is refused
//	login.go     a password and a one-time code (totp.go)
//	session.go   who is in stays in, for some time
//	pages.go     what is shown, and changed
//	limit.go     what a client may use
//	live.go      numbers as they change
//	daemon.go    the two sockets
package dashboard

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

//go:embed static
var staticFiles embed.FS

// static are the files that pages load.
var static, _ = fs.Sub(staticFiles, "static") // the folder is there: it was embedded

// The limits of requests. (For connections, see listen.go.)
const (
	headIn    = 10 * time.Second // how long a request may take to arrive
	answerIn  = 60 * time.Second // how long its answer may take: a login may have to wait for others
	restIn    = time.Minute      // how long a connection may wait for its next request
	maxHead   = 8 << 10          // bytes of a request's header: a browser sends also cookies of this host's other ports
	maxAtOnce = 8                // requests at a time on one connection: with maxConns, what bounds the memory
)

// A Server is the page.
type Server struct {
	settings *Settings
	daemon   *daemon
	door     *Door
	sessions Sessions
	streams  chan struct{} // has an element for each stream of numbers
	now      func() time.Time
}

// New returns the page with these settings.
func New(s *Settings, l *Login) *Server {
	return &Server{
		settings: s, door: NewDoor(l, time.Now()), now: time.Now,
		daemon:  &daemon{read: s.StatusSocket, change: s.ControlSocket},
		streams: make(chan struct{}, maxStreams),
	}
}

// Handler returns what answers requests.
func (s *Server) Handler() http.Handler {
	open := http.NewServeMux() // for everybody
	open.HandleFunc("GET /login", s.loginPage)
	open.HandleFunc("POST /login", s.login)
	open.Handle("GET /static/style.css", http.StripPrefix("/static/", http.FileServerFS(static)))

	inside := http.NewServeMux() // for those who have a session
	inside.HandleFunc("GET /{$}", s.overview)
	inside.HandleFunc("GET /clients/{name}", s.client)
	inside.HandleFunc("GET /clients/{name}/usage", s.usage)
	inside.HandleFunc("GET /clients/{name}/revoke", s.askRevoke)
	inside.HandleFunc("POST /clients/{name}/revoke", s.revoke)
	inside.HandleFunc("POST /clients/{name}/expire", s.expire)
	inside.HandleFunc("POST /clients/{name}/rename", s.rename)
	inside.HandleFunc("POST /clients/{name}/limit", s.limit)
	inside.HandleFunc("GET /add", s.addPage)
	inside.HandleFunc("POST /add", s.add)
	inside.HandleFunc("GET /audit", s.audit)
	inside.HandleFunc("GET /live", s.live)
	inside.HandleFunc("POST /logout", s.logout)
	inside.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(static)))
	inside.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, r, http.StatusNotFound, "There is no such page.", "")
	})
	open.Handle("/", s.needSession(inside))
	return guard(s.settings.names(), open)
}

// Run serves the page until ctx ends.
func (s *Server) Run(ctx context.Context, ready func([]net.Addr)) (err error) {
	cert, err := s.settings.certificate()
	if err != nil {
		return err
	}
	var listeners []net.Listener
	var addrs []net.Addr
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, a := range s.settings.Listen {
		l, err := net.Listen("tcp", a.String())
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		addrs = append(addrs, l.Addr())
	}
	ready(addrs)
	return s.serve(ctx, cert, listeners)
}

// serve serves the page until ctx ends.
func (s *Server) serve(ctx context.Context, cert tls.Certificate, listeners []net.Listener) (err error) {
	web := &http.Server{
		Handler: s.Handler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: headIn, ReadTimeout: headIn, WriteTimeout: answerIn, IdleTimeout: restIn, MaxHeaderBytes: maxHead,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxAtOnce, MaxReadFrameSize: 16 << 10,
			MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 32 << 10},
		ConnContext: withConn,
		ErrorLog:    slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug), // what strangers do wrong
	}
	shared := &bounded{} // one limit for all addresses
	var serving sync.WaitGroup
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		serving.Go(func() { failed <- web.ServeTLS(&boundedListener{l, shared}, "", "") })
	}
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-failed:
	}
	s.sessions.EndAll() // which ends the streams
	err = errors.Join(err, web.Close())
	serving.Wait()
	return err
}
