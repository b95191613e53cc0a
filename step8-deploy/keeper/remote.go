package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/takeover"
)

// A Remote is a client's keeper, as its worker sees it. Its methods are safe for concurrent
// use.
type Remote struct {
	*privsep.Asker
	reload func()
	tell   atomic.Pointer[func()] // see Changed
	last   atomic.Uint32
	state  atomic.Pointer[takeover.State]
}

// NewRemote returns the keeper at the other end of a Conn. It calls reload when the worker
// must call Settings again.
func NewRemote(c *privsep.Conn, reload func()) *Remote {
	r := &Remote{reload: reload}
	r.state.Store(new(takeover.State))
	r.Asker = privsep.NewAsker(c, r.event)
	return r
}

func (r *Remote) event(event string, with json.RawMessage) {
	switch event {
	case eventReload:
		go r.reload()
	case eventState:
		s := new(takeover.State)
		if json.Unmarshal(with, s) == nil {
			r.state.Store(s)
			if tell := r.tell.Load(); tell != nil {
				go (*tell)() // on another goroutine: it may ask the keeper, whose answers this one reads
			}
		}
	}
}

// Changed sets the function that is called, on a goroutine of its own, when State has
// changed. It replaces the function that was set before.
func (r *Remote) Changed(tell func()) { r.tell.Store(&tell) }

// State returns the state of the host that the keeper last sent.
func (r *Remote) State() *takeover.State { return r.state.Load() }

// Settings fetches the settings from the keeper, and returns the sockets that come with them,
// or nil for each that there is none of.
func (r *Remote) Settings() (s *Settings, status, metrics net.Listener, err error) {
	s = new(Settings)
	fds, err := r.Ask("settings", nil, s)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, l := range []struct {
		given bool
		to    *net.Listener
	}{{s.Status, &status}, {s.Metrics, &metrics}} {
		if !l.given || len(fds) == 0 {
			continue
		}
		if *l.to, err = net.FileListener(file(fds[0], "socket")); err != nil {
			break
		}
		fds = fds[1:]
	}
	privsep.CloseAll(fds)
	return s, status, metrics, err
}

// Nameservers returns the nameservers to ask for a server's name.
func (r *Remote) Nameservers() (list []netip.Addr, err error) {
	_, err = r.Ask("nameservers", nil, &list)
	return list, err
}

// Take takes the host over. It returns the device's descriptor, which the caller must close,
// and a number that tells one device from another.
func (r *Remote) Take(t takeover.Terms) (fd, index int, err error) {
	fds, err := r.Ask("take", t, &index)
	if err != nil {
		return -1, 0, err
	}
	if len(fds) != 1 {
		privsep.CloseAll(fds)
		return -1, 0, errNoDescriptor
	}
	return fds[0], index, nil
}

// SetUp tells the keeper whether the tunnel carries packets.
func (r *Remote) SetUp(up bool) error {
	_, err := r.Ask("up", up, nil)
	return err
}

// Fit tells the keeper how long packets in the tunnel may be, in bytes.
func (r *Remote) Fit(size int) error {
	_, err := r.Ask("fit", size, nil)
	return err
}

// Attempt begins an attempt to reach an address outside of the tunnel. Its Close ends it.
func (r *Remote) Attempt() *Attempt { return &Attempt{r, r.last.Add(1)} }

// An Attempt makes sockets to one address. Only the latest of them receives answers.
type Attempt struct {
	keeper *Remote
	id     uint32
}

// DialContext is like that of a net.Dialer.
func (a *Attempt) DialContext(_ context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	fds, err := a.keeper.Ask("dial", dialRequest{a.id, network, to}, nil)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		privsep.CloseAll(fds)
		return nil, errNoDescriptor
	}
	f := file(fds[0], network)
	defer f.Close()
	return net.FileConn(f)
}

// Close ends the attempt.
func (a *Attempt) Close() error {
	_, err := a.keeper.Ask("done", a.id, nil)
	return err
}

// Echo returns a socket for echo requests to an address in the tunnel.
func (r *Remote) Echo(to netip.Addr) (*net.IPConn, error) {
	fds, err := r.Ask("echo", to, nil)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		privsep.CloseAll(fds)
		return nil, errNoDescriptor
	}
	f := file(fds[0], "icmp")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	ip, ok := conn.(*net.IPConn)
	if !ok {
		conn.Close()
		return nil, errNoDescriptor
	}
	return ip, nil
}

// file makes a File out of a descriptor.
func file(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

var errNoDescriptor = errors.New("the answer has no descriptor")
