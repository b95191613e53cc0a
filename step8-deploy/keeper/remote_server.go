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
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/privsep"
)

// A RemoteServer is a server's keeper, as its worker sees it. Its methods are safe for
// concurrent use.
type RemoteServer struct {
	*privsep.Asker
	problems atomic.Pointer[[]Problem]
	secret   atomic.Pointer[[noise.KeyLen]byte] // see psk.go
}

// NewRemoteServer returns the keeper at the other end of a Conn. It calls registry when the
// registry has changed, and changed with what somebody has changed at the control socket.
func NewRemoteServer(c *privsep.Conn, registry func(), changed func(control.Event)) *RemoteServer {
	r := new(RemoteServer)
	r.problems.Store(new([]Problem))
	r.Asker = privsep.NewAsker(c, func(event string, with json.RawMessage) {
		switch event {
		case eventRegistry:
			registry()
		case eventChanged:
			var e control.Event
			if json.Unmarshal(with, &e) == nil {
				changed(e)
			}
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

// Problems returns what keeps the host from serving clients, as the keeper last sent it.
func (r *RemoteServer) Problems() []Problem { return *r.problems.Load() }

// A Handover is what a server's keeper hands to its worker: settings and descriptors.
type Handover struct {
	ServerSettings
	Folder          int // descriptor
	StatusAt        net.Listener
	MetricsAt       net.Listener
	Clients         [][]syscall.Conn // for each Listener
	Queues          []int            // descriptors
	ResolverSockets []resolver.Sockets
}

// Settings fetches the settings and the descriptors from the keeper.
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

// Path returns the path by which this process can reach a file in the worker's folder.
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

// Bound limits the size of the packets that the host sends to clients through the tunnel: see
// Server.
func (r *RemoteServer) Bound(bounds []pathmtu.Bound) error {
	var errs []error
	for list := range slices.Chunk(bounds, maxBounds) {
		_, err := r.Ask("bound", list, nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Fail tells the keeper that the worker can't go on, and why. Then the keeper ends, too.
func (r *RemoteServer) Fail(err error) {
	r.Ask("fail", Failure{clip(err.Error(), maxFailure), clip(app.HintOf(err), maxFailure)}, nil)
}
