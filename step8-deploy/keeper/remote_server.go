package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/privsep"
)

// A RemoteServer is a server's keeper, as its worker sees it. Its methods may be called
// from any goroutine.
type RemoteServer struct {
	*privsep.Asker
	problems atomic.Pointer[[]Problem]
	secret   atomic.Pointer[[noise.KeyLen]byte] // see psk.go
}

// NewRemoteServer returns the keeper at the other end of a Conn. registry is called when
// there is another registry.
func NewRemoteServer(c *privsep.Conn, registry func()) *RemoteServer {
	r := new(RemoteServer)
	r.problems.Store(new([]Problem))
	r.Asker = privsep.NewAsker(c, func(event string, with json.RawMessage) {
		switch event {
		case eventRegistry:
			registry()
		case eventPSKSecret:
			r.takePSKSecret(with)
		case eventProblems:
			list := new([]Problem)
			if json.Unmarshal(with, list) == nil {
				r.problems.Store(list)
			}
		}
	})
	return r
}

// Problems returns what keeps the host from serving clients, as it was told last.
func (r *RemoteServer) Problems() []Problem { return *r.problems.Load() }

// A Handover is what a server's worker works with.
type Handover struct {
	ServerSettings
	Folder          int // descriptor
	StatusAt        net.Listener
	MetricsAt       net.Listener
	Clients         [][]syscall.Conn // for each Listener
	Queues          []int            // descriptors
	ResolverSockets []resolver.Sockets
}

// Settings reads the settings, and takes what is handed over.
func (r *RemoteServer) Settings() (h *Handover, err error) {
	h = new(Handover)
	fds, err := r.Ask("settings", nil, &h.ServerSettings)
	if err != nil {
		return nil, err
	}
	r.secret.Store(h.PSKSecret)
	if err := h.take(fds); err != nil {
		return nil, fmt.Errorf("what the keeper hands over: %w", err)
	}
	return h, nil
}

func (h *Handover) take(fds []int) (err error) {
	next := func() int {
		if len(fds) == 0 {
			err = errNoDescriptor
			return -1
		}
		fd := fds[0]
		fds = fds[1:]
		return fd
	}
	listener := func() (l net.Listener) {
		if fd := next(); err == nil {
			f := file(fd, "socket")
			defer f.Close()
			l, err = net.FileListener(f)
		}
		return l
	}
	datagrams := func() (c *net.UDPConn) {
		if fd := next(); err == nil {
			f := file(fd, "socket")
			defer f.Close()
			var p net.PacketConn
			if p, err = net.FilePacketConn(f); err == nil {
				c, _ = p.(*net.UDPConn)
			}
		}
		return c
	}
	stream := func() *net.TCPListener {
		l, _ := listener().(*net.TCPListener)
		return l
	}
	h.Folder = next()
	if h.Status {
		h.StatusAt = listener()
	}
	if h.Metrics {
		h.MetricsAt = listener()
	}
	for _, l := range h.Listeners {
		var sockets []syscall.Conn
		for range l.Sockets {
			if l.Network == "udp" {
				sockets = append(sockets, datagrams())
			} else {
				sockets = append(sockets, stream())
			}
		}
		h.Clients = append(h.Clients, sockets)
	}
	for range h.ServerSettings.Queues {
		h.Queues = append(h.Queues, next())
	}
	for len(fds) > 0 && err == nil {
		h.ResolverSockets = append(h.ResolverSockets, resolver.Sockets{UDP: datagrams(), TCP: stream()})
	}
	return err
}

// Path returns where a file of the worker's folder is, for this process.
func (h *Handover) Path(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", h.Folder, name)
}

// Forget makes the kernel forget the connections of clients that have gone.
func (r *RemoteServer) Forget(gone []netip.Addr) error {
	var errs []error
	for list := range slices.Chunk(gone, maxForget) {
		_, err := r.Ask("forget", list, nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Bound has the host send clients no packets through the tunnel that are longer than these
// sizes: see Server.
func (r *RemoteServer) Bound(bounds []pathmtu.Bound) error {
	var errs []error
	for list := range slices.Chunk(bounds, maxBounds) {
		_, err := r.Ask("bound", list, nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Fail says that the worker can't go on, and why. The keeper ends then, too.
func (r *RemoteServer) Fail(err error) {
	r.Ask("fail", Failure{clip(err.Error(), maxFailure), clip(app.HintOf(err), maxFailure)}, nil)
}
