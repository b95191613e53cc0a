// Package keeper is the privileged half of the programs of step 8: client.go of a client, and
// server.go of a server. (remote.go and remote_server.go are what the other half calls.) It
// does everything that only root may do (devices, marked sockets, routes, firewall, keys on the
// disk), and reads no packets. For the other half, the worker, it does a handful of things,
// each of which it checks against the operator's own settings. The worker reads everything that
// comes from the network, and has no privileges: a hole in it gives an attacker the tunnel, but
// not the machine. Introduced in step 8.
//
//	worker                                keeper
//	settings                          ->  settings and secrets, as they were last read; sockets for status and metrics
//	nameservers                       ->  those to ask for a server's name
//	dial server, dial nameserver      ->  a socket with the mark, connected to there; see mayDial
//	take (addresses, DNS, routes)     ->  the descriptor of the device
//	echo                              ->  a raw socket for pings through the tunnel, tied to the device
//	up, down, fit, done
//	learn (the server's next key)     ->  remembers it, see keys.go
//	notify                            ->  tells systemd the worker's status
//	                                  <-  the state of the host, and that the settings have changed
//
// A server's worker asks for its settings, to forget the connections of clients that have
// gone, and to bound the size of packets to a client (server_paths.go); it notifies as well,
// and says why it fails.
//
// Either half can be killed. The device stays while one of them has its descriptor, and the kill
// switch stays as it is. So do routes and DNS; but with kill_switch = false the keeper gives the
// host back when a session or the worker ends.
package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/step3-tunnel/transport"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/push"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/health"
	"stepvpn/step8-deploy/names"
	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/rotation"
	"stepvpn/step8-deploy/routes"
	"stepvpn/step8-deploy/takeover"
)

// Settings are what the worker of a client needs to know. Its sockets for status and metrics
// come with them, as descriptors.
type Settings struct {
	Client   *config.Client
	Identity identity.Profile
	Learned  []noise.PublicKey // keys of the server, besides that of Identity; the newest first
	User     string
	Password string
	Instance [8]byte // see join.Config
	Status   bool    // the first descriptor is the status socket
	Metrics  bool    // the next one is the socket for Prometheus
}

// A Client keeps the host of a client. Its methods are safe for concurrent use.
type Client struct {
	file     string
	host     *takeover.Host
	instance [8]byte
	status   int // descriptors, or -1
	metrics  int
	started  sync.Once // systemd knows that it has

	mu       sync.Mutex // guards all below
	cfg      *config.Client
	told     *Settings // what the worker gets; it can't make the keeper read them again
	attempts map[uint32]*attempt
	lessons  lessons
}

// An attempt is an attempt to reach a server or a nameserver.
type attempt struct {
	server  netip.AddrPort
	network string
	socket  guard.Socket
}

// maxAttempts bounds the attempts at one time: to a server, and to nameservers that look up
// its name in two families. (With the WireGuard protocol, there may be more servers at a time.)
const maxAttempts = 8

// mostAttempts returns how many there may be. k.mu is locked.
func (k *Client) mostAttempts() int {
	if k.cfg.WireGuard != nil {
		return maxAttempts * len(k.cfg.Servers)
	}
	return maxAttempts
}

// NewClient reads the settings, and does everything that can fail before it changes the
// host. Call Close when done.
func NewClient(file string, n names.Keeper) (*Client, error) {
	k := &Client{file: file, status: -1, metrics: -1, attempts: make(map[uint32]*attempt)}
	rand.Read(k.instance[:])
	s, err := k.read()
	if err != nil {
		return nil, err
	}
	if err := safeState(filepath.Join(s.Client.State, "killswitch.json")); err != nil {
		return nil, err
	}
	k.set(s)
	k.host = takeover.New(k.cfg, n)
	if k.status, k.metrics, err = listen(k.cfg.StatusSocket, k.cfg.StatusGroup, k.cfg.Metrics); err != nil {
		return nil, err
	}
	return k, nil
}

// Host returns the host that is kept.
func (k *Client) Host() *takeover.Host { return k.host }

// Device returns the name of the tunnel's device.
func (k *Client) Device() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cfg.Device
}

// Alive returns once it can take the lock. If it does not return, the keeper hangs.
func (k *Client) Alive() {
	k.mu.Lock()
	k.mu.Unlock() //lint:ignore SA2001 what counts is that it can be locked
	k.host.Alive()
}

// Close removes the sockets.
func (k *Client) Close() error {
	k.forget()
	k.mu.Lock()
	defer k.mu.Unlock()
	return unlisten(k.cfg.StatusSocket, k.status, k.metrics)
}

// read reads the settings and the secrets that they name.
func (k *Client) read() (*Settings, error) {
	cfg, err := config.LoadClient(k.file)
	if err != nil {
		return nil, err
	}
	key, err1 := cfg.OwnKey()
	psk, err2 := cfg.PresharedKey()
	user, password, err3 := cfg.UserPassword()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	s := &Settings{Client: cfg, User: user, Password: password, Instance: k.instance}
	s.Identity = identity.Profile{PrivateKey: key, ServerKey: noise.PublicKey(cfg.ServerKey)}
	if psk != ([config.KeySize]byte{}) {
		s.Identity.PresharedKey = (*[32]byte)(&psk)
	}
	return s, nil
}

// Serve does what a worker asks for, until the worker is gone. It can serve one at a time.
func (k *Client) Serve(c *privsep.Conn) error {
	states := make(chan takeover.State, 1)
	defer close(states)
	go func() {
		for s := range states {
			c.Tell(eventState, s)
		}
	}()
	k.host.Tell(func(s takeover.State) { // only the latest State counts
		select {
		case <-states:
		default:
		}
		states <- s
	})
	defer func() {
		k.host.Tell(nil)
		k.forget()
		if err := k.host.SetUp(false); err != nil {
			slog.Warn("the host is not as it should be", "error", err)
		}
	}()
	return privsep.Serve(c, map[string]privsep.Handler{
		"settings": k.settings, "dial": k.dial(c.Context()), "done": k.done, "nameservers": k.nameservers,
		"take": k.take, "up": k.up, "fit": k.fit, "learn": k.learn(c), "notify": notice(k.notice), "echo": k.echo,
	})
}

// Events: what the worker is told without having asked.
const (
	eventState  = "state"
	eventReload = "reload"
)

// Reload reads the settings again, makes the host what they say, whatever the worker does,
// and tells the worker, if there is one. A mistake in the settings changes nothing.
func (k *Client) Reload(c *privsep.Conn) {
	s, err := k.read()
	if err != nil {
		slog.Error("the settings stay as they are", "error", err)
		return
	}
	k.mu.Lock()
	for _, key := range s.Client.Keep(k.cfg) {
		slog.Warn("this setting has changed, but takes effect only after a restart", "key", key)
	}
	changed := !reflect.DeepEqual(s.Client, k.cfg)
	k.set(s)
	k.mu.Unlock()
	if changed {
		if err := k.host.Reconfigure(s.Client); err != nil {
			slog.Error("the new settings can't be applied", "error", err)
		}
	}
	if c != nil {
		c.Tell(eventReload, nil)
	}
}

// set takes over settings, and leaves out of the worker's copy what the worker does not
// need. k.mu is locked, or no other goroutine knows k yet.
func (k *Client) set(s *Settings) {
	k.cfg = s.Client
	k.told = new(*s)
	k.told.Learned = rotation.Load(k.cfg.State, s.Identity.ServerKey)
	k.told.Client = new(*s.Client)
	c := k.told.Client
	c.PrivateKey, c.PSK, c.Key, c.PSKFile, c.Login = config.Secret{}, config.Secret{}, "", "", ""
}

func (k *Client) settings(func(any) error) (privsep.Result, error) {
	k.mu.Lock()
	s := *k.told
	k.mu.Unlock()
	r := privsep.Result{With: &s, Keep: true}
	for _, l := range []struct {
		fd  int
		has *bool
	}{{k.status, &s.Status}, {k.metrics, &s.Metrics}} {
		if *l.has = l.fd >= 0; *l.has {
			r.FDs = append(r.FDs, l.fd)
		}
	}
	return r, nil
}

type dialRequest struct {
	Attempt uint32
	Network string
	Address netip.AddrPort
}

// dial handles requests for sockets that stay outside of the tunnel.
func (k *Client) dial(ctx context.Context) privsep.Handler {
	return func(parse func(any) error) (privsep.Result, error) { return k.dialOne(ctx, parse) }
}

func (k *Client) dialOne(ctx context.Context, parse func(any) error) (r privsep.Result, err error) {
	var q dialRequest
	if err := parse(&q); err != nil {
		return r, err
	}
	if err := k.mayDial(q); err != nil {
		return r, err
	}
	k.mu.Lock()
	a := k.attempts[q.Attempt]
	if a == nil {
		if most := k.mostAttempts(); len(k.attempts) >= most {
			k.mu.Unlock()
			return r, fmt.Errorf("more than %d attempts at once", most)
		}
		a = &attempt{server: q.Address, network: q.Network, socket: guard.Socket{CarryOut: k.host.CarryOut}}
		k.attempts[q.Attempt] = a
	}
	k.mu.Unlock()
	if a.server != q.Address {
		return r, errors.New("an attempt is for one address")
	}
	if err := k.host.Allow(q.Network, q.Address); err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit) // so that it ends even if the worker is gone
	defer cancel()
	d := net.Dialer{Control: a.socket.Control}
	conn, err := d.DialContext(ctx, q.Network, q.Address.String())
	k.mu.Lock()
	over := k.attempts[q.Attempt] != a
	k.mu.Unlock()
	if over { // the attempt was ended meanwhile, before this socket was part of it
		err = errors.Join(err, errOver, a.socket.Close())
		if conn != nil {
			conn.Close()
		}
	}
	if err != nil {
		return r, err
	}
	fd, err := take(conn.(syscall.Conn))
	conn.Close()
	if err != nil {
		return r, err
	}
	fast.Enlarge(fd)
	return privsep.Result{FDs: []int{fd}}, nil
}

var errOver = errors.New("the attempt is over")

// take returns a copy of a socket's descriptor. (It does not use File.Fd, which would make
// the socket blocking for all processes that share it.)
func take(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	failed := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(failed, os.NewSyscallError("fcntl", err))
}

// mayDial returns an error unless the operator's settings name this server, or the address is
// that of a nameserver to ask for the server's name.
//
// For a server that the settings give by address, that is strict. For one given by name it is
// not: the worker does the lookup, and the network decides the answer, so the keeper can't know
// which address the name has. A worker that has been taken over can then have marked sockets
// to any unicast address, except loopback ones, at that server's port, over UDP or TCP, and so
// send outside of the tunnel.
func (k *Client) mayDial(q dialRequest) error {
	k.mu.Lock()
	cfg := k.cfg
	k.mu.Unlock()
	if q.Network != transport.UDP && q.Network != transport.TCP {
		return fmt.Errorf("network %.10q is unknown", q.Network)
	}
	a := q.Address.Addr()
	if !a.IsGlobalUnicast() && !a.IsLinkLocalUnicast() && !a.IsLoopback() || a.Is4In6() {
		return fmt.Errorf("%v is not an address to connect to", a)
	}
	named := false
	for _, s := range cfg.Servers {
		if literal, err := netip.ParseAddr(s.Host); err == nil {
			if netip.AddrPortFrom(literal.Unmap(), s.Port) == q.Address {
				return nil
			}
			continue
		}
		named = true
		if s.Port == q.Address.Port() && !a.IsLoopback() {
			return nil // the network decides which address a name has
		}
	}
	if named && q.Address.Port() == dnsPort {
		if list, err := k.host.Nameservers(); err == nil && slices.Contains(list, a) {
			return nil
		}
	}
	return fmt.Errorf("the settings name no server at %v", q.Address)
}

// done handles the request to end an attempt.
func (k *Client) done(parse func(any) error) (r privsep.Result, err error) {
	var id uint32
	if err := parse(&id); err != nil {
		return r, err
	}
	k.mu.Lock()
	a := k.attempts[id]
	delete(k.attempts, id)
	k.mu.Unlock()
	if a == nil {
		return r, nil
	}
	k.host.Disuse(a.network, a.server)
	return r, a.socket.Close()
}

// forget ends all attempts of a worker that is gone.
func (k *Client) forget() {
	k.mu.Lock()
	list := k.attempts
	k.attempts = make(map[uint32]*attempt)
	k.mu.Unlock()
	for _, a := range list {
		if err := a.socket.Close(); err != nil {
			slog.Warn("a policy rule could not be removed", "error", err)
		}
	}
}

func (k *Client) nameservers(func(any) error) (r privsep.Result, err error) {
	list, err := k.host.Nameservers()
	return privsep.Result{With: list}, err
}

// take handles the request to take the host over, on terms that the worker got from a server.
func (k *Client) take(parse func(any) error) (r privsep.Result, err error) {
	var t takeover.Terms
	if err := parse(&t); err != nil {
		return r, err
	}
	if err := k.check(t); err != nil {
		return r, fmt.Errorf("the server's terms are refused: %w", err)
	}
	fd, index, err := k.host.Take(t)
	return privsep.Result{With: index, FDs: []int{fd}}, err
}

// Limits on what a server may hand out.
const (
	maxAddrs = 8
	minBits  = 8 // of a subnet's prefix, as in a server's settings
	minMTU   = 576
	maxMTU   = 65535
)

// check returns an error for terms that no server of this project hands out, or that the file
// of the WireGuard protocol does not have.
func (k *Client) check(t takeover.Terms) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	dialled := false
	for _, a := range k.attempts {
		dialled = dialled || a.server == t.Server
	}
	if !dialled {
		return fmt.Errorf("the server %v was not asked for a session", t.Server)
	}
	if k.cfg.WireGuard != nil {
		return checkWireGuard(t, k.cfg)
	}
	if len(t.Addrs) == 0 || len(t.Addrs) > maxAddrs {
		return fmt.Errorf("%d addresses", len(t.Addrs))
	}
	for _, a := range t.Addrs {
		if !a.IsValid() || !a.Addr().IsGlobalUnicast() || a.Addr().Is4In6() || a.Addr().Zone() != "" {
			return fmt.Errorf("%v is not a possible address in a tunnel", a)
		}
		if a.Bits() < minBits {
			return fmt.Errorf("%v is more than a subnet", a)
		}
	}
	if t.MTU < minMTU || t.MTU > maxMTU {
		return fmt.Errorf("an MTU of %d", t.MTU)
	}
	if _, err := routes.Append(nil, t.Routes); err != nil {
		return err
	}
	text, err := t.Settings.Marshal()
	if err == nil {
		_, err = push.Parse(text)
	}
	return err
}

func (k *Client) up(parse func(any) error) (r privsep.Result, err error) {
	var up bool
	if err := parse(&up); err != nil {
		return r, err
	}
	return r, k.host.SetUp(up)
}

func (k *Client) fit(parse func(any) error) (r privsep.Result, err error) {
	var size int
	if err := parse(&size); err != nil {
		return r, err
	}
	if size < minMTU || size > maxMTU {
		return r, fmt.Errorf("an MTU of %d", size)
	}
	return r, k.host.Fit(size)
}

// echo handles the request for a socket for echo requests to an address in the tunnel. The
// socket is tied to the device, which only a privileged process can change, and has the mark
// for such sockets.
func (k *Client) echo(parse func(any) error) (r privsep.Result, err error) {
	var to netip.Addr
	if err := parse(&to); err != nil {
		return r, err
	}
	if !to.IsValid() || to.Zone() != "" {
		return r, errors.New("no address to ask")
	}
	conn, err := health.OpenEcho(k.Device())(to)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	fd, err := take(conn)
	if err != nil {
		return r, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, takeover.TiedMark); err != nil {
		unix.Close(fd)
		return r, os.NewSyscallError("setsockopt", err)
	}
	return privsep.Result{FDs: []int{fd}}, nil
}
