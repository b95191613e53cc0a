package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"stepvpn/step2-tun/tun"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step6-dns/nft"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/further/limits"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/lastseen"
	"stepvpn/step8-deploy/reconcile"
	"stepvpn/step8-deploy/rotation"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/uplink"
	"stepvpn/step8-deploy/usage"
)

// A Check is the result of 'stepvpn check': the errors and warnings that a start with these
// settings would give. It runs the code that a start runs, except for what changes something.
// What the running daemon has, such as a port, counts as free, as the start would take that
// daemon's place.
type Check struct {
	Errors   []error   // the start would fail with these
	Warnings []Problem // the start would succeed, and report these

	running *status.Report // of the running daemon; nil if there is none
}

func (c *Check) failed(errs ...error) {
	for _, err := range errs {
		if err != nil {
			c.Errors = append(c.Errors, err)
		}
	}
}

func (c *Check) warn(what, cure string) {
	c.Warnings = append(c.Warnings, Problem{What: what, Cure: cure})
}

// CheckServer checks the settings of a server. It returns an error if the file itself can't
// be used.
func CheckServer(ctx context.Context, file string) (*Check, error) {
	cfg, err := config.LoadServer(file)
	if err != nil {
		return nil, err
	}
	c := &Check{running: running(ctx, "server", cfg.StatusSocket, config.ServerSocket)}
	if warning := cfg.Warning(); warning != "" {
		c.warn(warning, "")
	}
	c.failed(flat(cfg.CheckFiles())...)
	c.nextKey(cfg)
	c.failed(checkWireGuardKey(cfg))
	registry, err := identity.Load(cfg.Clients)
	if err == nil {
		err = admission.Check(registry, cfg.Subnets)
	}
	c.failed(err)
	c.ownPSKs(cfg, registry)
	if err := hostnet.MayChange(); err != nil {
		c.warn("the host was not checked, because only root can do that", "Run it as root, for example with sudo.")
		return c, nil
	}
	cfg.Subnets, _ = servable(cfg.Subnets)
	c.failed(hostnet.Free(cfg.Subnets, cfg.Device))
	c.device(cfg.Device, cfg.Subnets, cfg.MTU)
	for _, network := range cfg.Transports {
		for _, at := range cfg.Listen {
			c.port(network, at, fast.Spread(cfg.Queues))
		}
	}
	c.sockets(cfg.Metrics, control.Socket{Path: cfg.StatusSocket, Name: control.Status, Group: cfg.StatusGroup},
		control.Socket{Path: cfg.ControlSocket, Name: control.Control, Group: cfg.ControlGroup})
	if cfg.DNS && c.running == nil {
		c.failed(resolver.Check(ResolverOf(cfg, cfg.Device)))
	}
	seen := c.folder(cfg.State)
	if err := pool.CheckState(LeasesFile(cfg)); seen && err != nil {
		c.warn(fmt.Sprintf("the file of leases is damaged: %v", err), "A start sets it aside; clients may get other addresses than before.")
	}
	if _, err := lastseen.Read(SeenFile(cfg)); seen && err != nil {
		c.warn(fmt.Sprintf("the file that says when clients were last seen is damaged: %v", err), "A start sets it aside; 'stepvpn clients list' begins with no times.")
	}
	if err := limits.Check(filepath.Join(cfg.State, WorkerFolder, UsedName)); seen && err != nil {
		c.warn(fmt.Sprintf("the file of what clients have used of their quotas is damaged: %v", err), "A start sets it aside; all quotas begin anew.")
	}
	if seen && cfg.Usage {
		c.usage(PoolFolder(cfg))
	}
	problems, err := uplink.Check(uplink.Config{Device: reconcile.Device{Name: cfg.Device, Addrs: cfg.Subnets}, Egress: cfg.Egress})
	c.failed(err)
	c.Warnings = append(c.Warnings, problems...)
	return c, nil
}

// usage warns of what is lost of the clients' usage.
func (c *Check) usage(pool string) {
	damaged, err := usage.Check(pool)
	if err != nil {
		c.warn(fmt.Sprintf("the files of the clients' usage can't be read: %v", err), "")
	}
	for _, d := range damaged {
		if d.Why == nil {
			c.warn(fmt.Sprintf("%s was set aside, because it was damaged: a part of what the clients have used is forgotten", d.File), "Look at it, and remove it.")
		} else {
			c.warn(fmt.Sprintf("the file of the clients' usage %s is damaged: %v", d.File, d.Why), "A start sets it aside; a part of what the clients have used is then forgotten.")
		}
	}
}

// CheckClient checks the settings of a client. It returns an error if the file itself can't
// be used.
func CheckClient(ctx context.Context, file string) (*Check, error) {
	cfg, err := config.LoadClient(file)
	if err != nil {
		return nil, err
	}
	c := &Check{running: running(ctx, "client", cfg.StatusSocket, config.ClientSocket)}
	c.failed(flat(cfg.CheckFiles())...)
	if cfg.WireGuard != nil {
		c.wireGuard(cfg)
	}
	if err := hostnet.MayChange(); err != nil {
		c.warn("the host was not checked, because only root can do that", "Run it as root, for example with sudo.")
		return c, nil
	}
	c.device(cfg.Device, nil, cfg.MTU)
	c.sockets(cfg.Metrics, control.Socket{Path: cfg.StatusSocket, Name: control.Status, Group: cfg.StatusGroup})
	seen := c.folder(cfg.State)
	if _, err := rotation.Read(cfg.State, noise.PublicKey(cfg.ServerKey)); seen && err != nil && cfg.WireGuard == nil {
		c.warn(fmt.Sprintf("the file of the keys that the server has announced is damaged: %v", err), "A start sets it aside, and uses the key in the settings.")
	}
	_, err = nft.Run("", "list", "tables")
	c.failed(err)
	if _, _, err := killswitch.Saved(cfg.State); seen && err != nil {
		c.warn(fmt.Sprintf("the saved state of the kill switch can't be read: %v", err), "A start saves it again.")
	}
	return c, nil
}

// wireGuard warns of what looks like a mistake in a WireGuard file, and may be none.
func (c *Check) wireGuard(cfg *config.Client) {
	if n := len(cfg.WireGuard.DNS); n > push.MaxDNS && cfg.DNS {
		c.warn(fmt.Sprintf("DNS has %d resolvers in %s, of which the system asks only the first %d", n, cfg.WireGuardFile, push.MaxDNS), "")
	}
	allowed := cfg.WireGuard.Networks()
	for _, a := range cfg.WireGuard.DNS {
		if cfg.DNS && !slices.ContainsFunc(allowed, func(n netip.Prefix) bool { return n.Contains(a) }) {
			c.warn(fmt.Sprintf("DNS has %v in %s, but no peer has it in its AllowedIPs: queries will not reach it", a, cfg.WireGuardFile),
				"Add it to the AllowedIPs of the peer behind which it is.")
		}
	}
}

// running returns the status of a daemon of that role that answers at one of the sockets.
func running(ctx context.Context, role string, sockets ...string) *status.Report {
	for _, path := range sockets {
		if r, err := control.QueryStatus(ctx, path); path != "" && err == nil && r.Role == role {
			return r
		}
	}
	return nil
}

// device checks whether the tunnel's device can be made.
func (c *Check) device(name string, addrs []netip.Prefix, mtu int) {
	if c.running == nil || c.running.Device != name {
		c.failed(tun.Check(tun.Config{Name: name, Addrs: addrs, MTU: mtu}))
	}
}

// has reports whether the running daemon listens on an address.
func (c *Check) has(network string, at netip.AddrPort) bool {
	return c.running != nil && slices.Contains(c.running.Listen, Waits(network, at))
}

// Waits returns the text by which a status says that a daemon listens on an address.
func Waits(network string, at netip.AddrPort) string { return network + " " + at.String() }

// ownPSKs checks whether clients with a pre-shared key of their own can come in.
func (c *Check) ownPSKs(cfg *config.Server, registry *identity.Registry) {
	secret, err := PSKSecret(cfg)
	c.failed(err)
	if registry == nil || secret != nil || err != nil {
		return
	}
	for client := range registry.All() {
		if client.OwnPSK {
			c.warn(fmt.Sprintf("there is no file %s: without it, %s and all other clients with psk=own can't come in", PSKSecretFile(cfg), client.Name),
				"Put it back from a backup, or revoke those clients and add them again.")
			return
		}
	}
}

// nextKey checks whether the running server uses the keys that are now on the disk.
func (c *Check) nextKey(cfg *config.Server) {
	next, err := cfg.NextKey()
	if err != nil || c.running == nil { // the error is reported elsewhere; or there is nothing to compare with
		return
	}
	has := ""
	if next != nil {
		has = noise.FormatKey(noise.PrivateKey(*next).Public())
	}
	if c.running.NextKey != has {
		c.warn("the running server was started before its keys were changed, and still uses the old ones", "Restart it: systemctl restart stepvpn-server")
	}
}

// port checks whether the server can listen for clients on an address.
func (c *Check) port(network string, at netip.AddrPort, n int) {
	if c.has(network, at) {
		return
	}
	sockets, err := fast.Bind(network, at, n)
	c.failed(err)
	for _, s := range sockets {
		s.(io.Closer).Close()
	}
}

// sockets checks whether the daemon can open its sockets for metrics, status and changes.
func (c *Check) sockets(metrics netip.AddrPort, sockets ...control.Socket) {
	for _, s := range sockets {
		if s.Path == "" {
			continue
		}
		_, err := s.GID()
		if err == nil && c.running == nil {
			err = s.Free()
		}
		c.failed(err)
	}
	if metrics.IsValid() && !c.has("tcp", metrics) {
		l, err := net.Listen("tcp", metrics.String())
		if err != nil {
			c.failed(fmt.Errorf("metrics: %w", err))
			return
		}
		l.Close()
	}
}

// folder checks whether the state's folder can be written to or, if it does not exist, can
// be made.
func (c *Check) folder(name string) bool {
	at := name
	info, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: at, Err: unix.ENOTDIR}
	}
	if err == nil {
		if failed := unix.Access(at, unix.W_OK); failed != nil {
			err = &fs.PathError{Op: "write to", Path: at, Err: failed}
		}
	}
	if err != nil {
		c.failed(noState(name, err))
	} else {
		c.failed(safeState(filepath.Join(name, "file")))
	}
	return err == nil
}

// flat returns the errors that errors.Join has joined.
func flat(err error) []error {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return several.Unwrap()
	}
	return []error{err}
}
