package keeper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/conntrack"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/reconcile"
	"stepvpn/step8-deploy/uplink"
)

// This file is the privileged half of a server; client.go is that of a client.

// ServerSettings are what the worker of a server needs to know. With them come descriptors, in
// this order: its folder, the sockets for status and metrics, those of each
// Listener, the queues of the device, and the resolver's, UDP and TCP for each address.
type ServerSettings struct {
	Server    *config.Server
	Off       []netip.Prefix // subnets that this host can't serve now; Server has the others
	Key       noise.PrivateKey
	NextKey   *noise.PrivateKey // the key that the server is changing to; nil: none
	WireGuard *noise.PrivateKey // the key for clients of the WireGuard protocol; nil: they may not come in
	PSK       *[noise.KeyLen]byte
	PSKSecret *[noise.KeyLen]byte // for clients' own pre-shared keys; nil: none
	Device    string
	MTU       int    // of the device, in bytes
	Sum       string // how it was computed, for the log
	Status    bool
	Metrics   bool
	Listeners []Listener
	Queues    int
}

// A Listener is a group of sockets, at one address, that reach the same clients.
type Listener struct {
	Network string
	Sockets int
}

// A Server keeps the host of a server. Its methods are safe for concurrent use.
type Server struct {
	cfg   *config.Server
	all   []netip.Prefix // the subnets in the settings
	told  ServerSettings
	fds   []int // in the order of ServerSettings
	owner atomicfile.Owner
	paths *uplink.Paths

	copying sync.Mutex              // of the registry; guards copied
	copied  identity.Stamp          // the registry, when it was copied last
	stale   atomic.Pointer[Problem] // why the copy of the registry is out of date; nil if it is not
	failed  atomic.Pointer[error]

	// Problems, if set before Serve is called, says what keeps this host from serving clients.
	Problems func() []Problem
}

// Names in the worker's folder, which is inside the state's folder.
const (
	WorkerFolder = "worker"
	RegistryName = "clients" // a copy of the registry, which the worker may not read itself
	LeasesName   = "pool/leases"
	SeenName     = "pool/seen"  // when clients were last seen
	AskedName    = "pool/asked" // when clients of the WireGuard protocol have asked
	PoolName     = "pool"       // the worker's own folder, where package usage has one
	UsedName     = "pool/used"  // what clients have used of their quotas
)

// NewServer reads the settings, and opens sockets and device. Close removes them.
func NewServer(file string, owner atomicfile.Owner) (*Server, error) {
	cfg, err := config.LoadServer(file)
	if err != nil {
		return nil, err
	}
	k := &Server{cfg: cfg, owner: owner}
	if err := k.open(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// open opens everything that is handed over, except the resolver's sockets.
func (s *Server) open() error {
	cfg := s.cfg
	s.told = ServerSettings{Server: cfg, Device: cfg.Device}
	s.all = cfg.Subnets
	cfg.Subnets, s.told.Off = servable(cfg.Subnets)
	key, err1 := cfg.PrivateKey()
	psk, err2 := cfg.PresharedKey()
	next, err3 := cfg.NextKey()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	s.told.Key, s.told.NextKey = key, (*noise.PrivateKey)(next)
	if cfg.PSK != "" {
		s.told.PSK = &psk
	}
	if cfg.WireGuard {
		key, err := WireGuardKey(cfg)
		if err != nil {
			return err
		}
		s.told.WireGuard = &key
	}
	if info, err := os.Stat(cfg.Clients); errors.Is(err, fs.ErrNotExist) {
		return identity.NoRegistry(cfg.Clients)
	} else if err != nil {
		return err
	} else if err := identity.Kind.Check(cfg.Clients, info); err != nil {
		return err
	}
	if err := s.openFolder(); err != nil {
		return err
	}
	statusFD, metricsFD, err := listen(cfg.StatusSocket, cfg.StatusGroup, cfg.Metrics)
	if err != nil {
		return err
	}
	s.told.Status, s.told.Metrics = s.add(statusFD), s.add(metricsFD)
	inner, err := s.bind()
	if err != nil {
		return err
	}
	inner = inner.Less(secure.Overhead, "encryption").Or(cfg.MTU)
	s.told.MTU, s.told.Sum = inner.Size, inner.String()
	name, queues, err := fast.Attach(tun.Config{Name: cfg.Device, Addrs: cfg.Subnets, MTU: inner.Size}, s.told.Queues, true)
	if err != nil {
		return err
	}
	s.told.Device = name
	s.paths = &uplink.Paths{Device: name, MTU: inner.Size}
	s.fds = append(s.fds, queues...)
	return nil
}

// add adds a descriptor, unless it is -1.
func (s *Server) add(fd int) bool {
	if fd >= 0 {
		s.fds = append(s.fds, fd)
	}
	return fd >= 0
}

// Settings returns the operator's settings.
func (s *Server) Settings() *config.Server { return s.cfg }

// Configured returns the operator's settings with all subnets, also those that this host can't serve
// now.
func (s *Server) Configured() *config.Server {
	all := *s.cfg
	all.Subnets = s.all
	return &all
}

// KeyFile returns the file with the private key by whose public half new clients get to know the server:
// the next one, if it is changing its key. By the old one a client comes in, too, and is told the next one.
func (s *Server) KeyFile() string {
	if s.told.NextKey != nil {
		return s.cfg.NextKeyFile()
	}
	return s.cfg.Key
}

// Owner returns the user of the worker.
func (s *Server) Owner() atomicfile.Owner { return s.owner }

// Device returns the tunnel's device as it should be.
func (s *Server) Device() reconcile.Device {
	return reconcile.Device{Name: s.told.Device, Addrs: s.cfg.Subnets, MTU: s.told.MTU}
}

// Paths returns what is said of the paths to clients.
func (s *Server) Paths() *uplink.Paths { return s.paths }

// Close closes the sockets and removes the device.
func (s *Server) Close() error {
	privsep.CloseAll(s.fds)
	s.fds = nil
	if s.cfg == nil || !s.told.Status {
		return nil
	}
	return os.Remove(s.cfg.StatusSocket)
}

// openFolder makes the worker's folder, which the worker may only read, and inside of it one
// that belongs to the worker, for the leases. (The keeper may do this because the folders
// belong to root. Its service lacks the capability to write to others' folders.)
func (s *Server) openFolder() error {
	if err := os.MkdirAll(s.cfg.State, 0o700); err != nil {
		return noState(s.cfg.State, err)
	}
	if err := safeState(s.folder()); err != nil {
		return err
	}
	name, own := s.folder(), filepath.Join(s.folder(), filepath.Dir(LeasesName))
	if err := atomicfile.MakeFolder(name); err != nil {
		return err
	}
	f, err := os.OpenFile(name, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o711); err != nil {
		return err
	}
	if _, err := os.Lstat(own); errors.Is(err, fs.ErrNotExist) {
		if err := s.makeOwn(own); err != nil {
			return err
		}
	}
	fd, err := take(f)
	if err != nil {
		return err
	}
	s.add(fd)
	return nil
}

// safeState returns an error if other users can change what this program keeps in a file: a
// later start, a boot and 'recover' rely on it.
func safeState(file string) error {
	return atomicfile.Kind{Name: "the state"}.CheckFolders(file)
}

func noState(name string, err error) error {
	return fmt.Errorf("the folder of the setting state, %s: %w", name, err)
}

// makeOwn makes the folder for leases, and moves leases there that an older version kept
// elsewhere.
func (s *Server) makeOwn(name string) error {
	if err := atomicfile.MakeFolder(name); err != nil {
		return err
	}
	leases := filepath.Join(s.folder(), LeasesName)
	err := os.Rename(filepath.Join(s.cfg.State, filepath.Base(LeasesName)), leases)
	if err == nil {
		err = os.Lchown(leases, s.owner.UID, s.owner.GID)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Lchown(name, s.owner.UID, s.owner.GID)
}

// LeasesFile returns the name of the file in which a server's worker keeps the clients'
// addresses.
func LeasesFile(cfg *config.Server) string { return filepath.Join(cfg.State, WorkerFolder, LeasesName) }

// PoolFolder returns the name of the folder that belongs to a server's worker.
func PoolFolder(cfg *config.Server) string { return filepath.Join(cfg.State, WorkerFolder, PoolName) }

// SeenFile returns the name of the file in which a server's worker notes when clients were
// last seen.
func SeenFile(cfg *config.Server) string { return filepath.Join(cfg.State, WorkerFolder, SeenName) }

// folder returns the name of the worker's folder.
func (s *Server) folder() string { return filepath.Join(s.cfg.State, WorkerFolder) }

// bind opens the sockets for clients, and finds the largest packet that all of them can carry.
// If there is UDP, only UDP counts: over TCP, a packet may take two segments.
func (s *Server) bind() (inner transport.MTU, err error) {
	networks := slices.Sorted(slices.Values(s.cfg.Transports)) // "tcp", "udp"
	for _, network := range networks {
		for _, at := range s.cfg.Listen {
			sockets, err := fast.Bind(network, at, fast.Spread(s.cfg.Queues))
			if err != nil {
				return inner, err
			}
			if m := transport.ServerMTU(sockets[0]); inner.Size == 0 || network != networks[0] || m.Size < inner.Size {
				inner = m
			}
			if err := s.hold(sockets...); err != nil {
				return inner, err
			}
			s.told.Listeners = append(s.told.Listeners, Listener{network, len(sockets)})
			s.told.Queues += len(sockets)
		}
	}
	return inner, nil
}

// hold keeps copies of the sockets' descriptors, and closes the sockets themselves, as this
// process does not read from them.
func (s *Server) hold(sockets ...syscall.Conn) (err error) {
	for _, socket := range sockets {
		fd, err2 := take(socket)
		if err = errors.Join(err, err2, socket.(interface{ Close() error }).Close()); err2 != nil {
			continue
		}
		if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_CORK); err == nil {
			fast.Enlarge(fd)
		}
		s.add(fd)
	}
	return err
}

// OpenResolver makes the resolver's sockets, once the device may be used.
func (s *Server) OpenResolver() error {
	if !s.cfg.DNS {
		return nil
	}
	list, err := resolver.Listen(ResolverOf(s.cfg, s.told.Device))
	if err != nil {
		return err
	}
	for _, at := range list {
		if err := s.hold(at.UDP, at.TCP); err != nil {
			return err
		}
	}
	return nil
}

// ResolverOf returns the resolver's settings.
func ResolverOf(cfg *config.Server, device string) resolver.Config {
	return resolver.Config{Addrs: resolver.At(cfg.Subnets), Device: device, Upstreams: cfg.DNSUpstreams}
}

// Serve does what a worker asks for, until the worker is gone. It can serve one at a time.
func (s *Server) Serve(c *privsep.Conn) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s.renewRegistry() // if there is no registry, the worker reports that
	go s.followRegistry(ctx, func() { s.tellPSKSecret(c) }, func() { c.Tell(eventRegistry, nil) })
	go s.followProblems(ctx, func(list []Problem) { c.Tell(eventProblems, list) })
	err := privsep.Serve(c, map[string]privsep.Handler{"settings": s.settings, "forget": s.forget, "bound": s.bound, "notify": notice(Notice.tell), "fail": s.fail(c)})
	if why := s.failed.Load(); why != nil {
		return *why
	}
	return err
}

// Reload makes the worker read the registry again, changed or not. Without a worker there is
// nothing to do: the next one reads the registry when it starts.
func (s *Server) Reload(c *privsep.Conn) {
	if c == nil {
		return
	}
	notify.Reloading()
	s.tellPSKSecret(c)
	if s.renewRegistry() == nil {
		c.Tell(eventRegistry, nil)
	}
	notify.Ready("clients read again")
}

func (s *Server) settings(func(any) error) (privsep.Result, error) {
	told := *s.cfg
	told.Key, told.PSK = "", ""
	answer := s.told
	answer.Server, answer.PSKSecret = &told, s.pskSecret()
	return privsep.Result{With: answer, FDs: s.fds, Keep: true}, nil
}

// fail handles the request of a worker that can't go on. Restarting both may solve what the
// worker can't, such as a device that somebody has deleted.
func (s *Server) fail(c *privsep.Conn) privsep.Handler {
	return func(parse func(any) error) (r privsep.Result, err error) {
		var why Failure
		if err := parse(&why); err != nil {
			return r, err
		}
		if len(why.Error) > maxFailure || len(why.Hint) > maxFailure {
			return r, errors.New("the failure's text is too long")
		}
		err = app.Hint(errors.New(why.Error), "%s", why.Hint)
		err = Failed{err}
		s.failed.Store(&err)
		return r, c.Close()
	}
}

// maxFailure bounds each text of a Failure, in bytes.
const maxFailure = 4 << 10

// A Failure is why a worker can't go on.
type Failure struct{ Error, Hint string }

// Failed is the error of Serve when the worker has reported a Failure.
type Failed struct{ error }

func (f Failed) Unwrap() error { return f.error }

// maxForget is the largest number of addresses in one request to forget.
const maxForget = 2048

// forget makes the kernel forget the connections of clients.
func (s *Server) forget(parse func(any) error) (r privsep.Result, err error) {
	var list []netip.Addr
	if err := parse(&list); err != nil {
		return r, err
	}
	if len(list) > maxForget {
		return r, fmt.Errorf("%d addresses at once are too many", len(list))
	}
	for _, a := range list {
		if !s.isClients(a) {
			return r, fmt.Errorf("%v is not the address of a client", a)
		}
	}
	return r, conntrack.Forget(list)
}

// isClients reports whether a client can have this address.
func (s *Server) isClients(a netip.Addr) bool {
	return slices.ContainsFunc(hostnet.FamilyOf(a).Subnets(s.cfg.Subnets), func(n netip.Prefix) bool { return n.Contains(a) })
}
