// Package uplink keeps the server's host as its clients need it: the device is up, and
// their packets are forwarded and translated, through whichever interfaces currently lead
// to the internet. Introduced in step 8. (On a client, package takeover does that.)
//
// Step 5's gateway sets that up once. But hosts change: a firewall is loaded from a file
// that begins with "flush ruleset", "sysctl --system" sets ip_forward=0, the default route
// moves to another interface, or an IPv6 default route appears late. The kernel announces
// most of this by netlink, and a Keeper then compares the host with what it should be.
// Changes that nothing announces (to iptables-legacy's rules) it finds within 10 s.
//
// It changes the host, and reads no packets.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/gateway"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step8-deploy/reach"
	"stepvpn/step8-deploy/reconcile"
)

// A Config says how the host should be.
type Config struct {
	// Device is the tunnel's device. It must exist.
	Device reconcile.Device

	// Egress lists the interfaces through which clients' packets leave. If it is empty,
	// these are the interfaces that the default routes currently use, for each family of
	// addresses on its own.
	Egress []string

	// Sysctls are further settings of the kernel (see gateway.Config). Where they can't be
	// set, the server does without them.
	Sysctls map[string]string

	// Service says what the host's own firewall must let in (see input.go).
	Service Service

	// Reach says what clients can reach on this host, besides DNS and ping; nil means all
	// of it.
	Reach []reach.Opening

	// MaxClients is how many clients share the connections that the kernel can track.
	MaxClients int

	// Paths, if there are any, are kept, too.
	Paths *Paths
}

// A pace says how often one thing may be put back.
type pace struct {
	reconcile.Pace
	what, cure string // of the Problem that another program keeps changing it
}

// A Problem is something that is wrong with the host.
type Problem struct {
	What string // such as "the device vpn0 is down"
	Cure string // what the operator can do about it; may be empty
}

func (p Problem) log() {
	var cure []any
	if p.Cure != "" {
		cure = []any{"cure", p.Cure}
	}
	slog.Warn(p.What, cure...)
}

// A Keeper keeps the host as a Config says. Its methods are safe for concurrent use. They
// act in the network namespace of the thread that they run on.
type Keeper struct {
	config Config

	mu       sync.Mutex // held while the host is changed
	closed   bool
	undo     func() error // removes the gateway; nil if there is none yet
	anchor   *anchor
	waysIn   []*wayIn
	egress   map[hostnet.Family][]string // the interfaces for which the gateway was set up
	rules    map[string]string           // what iptables lists then, by egress
	tables   reconcile.Tables            // see reach.go
	device   pace
	firewall pace
	ways     pace
	settings pace
	reach    pace
	paths    pace

	problems sync.Mutex // protects found
	found    []Problem
}

// Enable sets the host up. It is no error if the host has no default route yet: clients are
// served once there is one. Enable takes over what a killed process has left (see
// gateway.Enable). If it fails, nothing is left behind.
func Enable(c Config) (*Keeper, error) {
	name := c.Device.Name
	c.Sysctls = writable(c.Sysctls)
	k := &Keeper{config: c, rules: make(map[string]string), waysIn: waysIn(name), tables: reconcile.Tables{Terse: true},
		device: pace{what: "the device " + name,
			cure: "Find out which one ('ip monitor' shows what happens), and let it leave the device alone: NetworkManager and systemd-networkd call that unmanaged."},
		firewall: pace{what: "the firewall",
			cure: "Find out which one loads its rules again and again ('nft monitor' shows it), and let it leave the chains " + gateway.Chain(name) + " alone."},
		ways: pace{what: "the default route",
			cure: "'ip monitor route' shows what happens. Name the interfaces through which packets are to leave with egress in server.toml."},
		reach: pace{what: "the firewall's table of what clients can reach on this host",
			cure: "Find out which one ('nft monitor' shows it), and let it leave the table " + string(reach.Name(name)) + " alone."},
		paths: pace{what: "the routes to clients",
			cure: "Find out which one ('ip monitor route' shows it), and let it leave the routes of the device " + name + " alone."},
	}
	var err error
	if k.anchor, err = newAnchor(name); err != nil {
		slog.Debug("connections will not survive a flush of the firewall", "error", err)
	}
	err = k.makeReach()
	var egress map[hostnet.Family][]string
	if err == nil {
		egress, err = k.config.want()
	}
	if err == nil {
		err = k.enable(egress)
	}
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	k.report(append(problemsOf(k.mendInput()), k.wrong()...))
	for _, p := range k.Problems() {
		p.log()
	}
	return k, nil
}

// Close puts the host back as it was. It may be called more than once.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	var err error
	if k.undo != nil {
		err = k.undo()
	}
	for _, o := range k.waysIn {
		err = errors.Join(err, o.remove())
	}
	return errors.Join(err, k.tables.Only(), k.anchor.close())
}

// Problems lists what was wrong with the host when the Keeper last looked, which is
// whenever the host changes, and every 10 s. It does not block.
func (k *Keeper) Problems() []Problem {
	k.problems.Lock()
	defer k.problems.Unlock()
	return slices.Clone(k.found)
}

func (k *Keeper) report(list []Problem) {
	k.problems.Lock()
	defer k.problems.Unlock()
	k.found = list
}

// want returns the interfaces through which clients' packets are to leave now.
func (c *Config) want() (map[hostnet.Family][]string, error) {
	egress := make(map[hostnet.Family][]string)
	for _, f := range hostnet.Families {
		if f.Off() || len(f.Subnets(c.Device.Addrs)) == 0 {
			continue
		}
		names := c.Egress
		if len(names) == 0 {
			var err error
			if names, err = hostnet.DefaultRoutes(f, c.Device.Name); err != nil {
				return nil, err
			}
			slices.Sort(names) // so that their order does not matter
		}
		if len(names) > 0 {
			egress[f] = names
		}
	}
	return egress, nil
}

// enable sets the gateway up, or sets it up again, and remembers what it looks like.
func (k *Keeper) enable(egress map[hostnet.Family][]string) error {
	c := gateway.Config{Device: k.config.Device.Name, Addrs: k.config.Device.Addrs, Sysctls: maps.Clone(k.config.Sysctls)}
	if c.Sysctls == nil {
		c.Sysctls = make(map[string]string)
	}
	if setting(forward4) == "1" { // if it is not 1, setting it makes the kernel set those of the interfaces, too
		maps.Copy(c.Sysctls, forwarding(c.Device, egress[hostnet.V4]))
	}
	var undo func() error
	var err error
	for tries := 3; tries > 0; tries-- {
		if undo, err = gateway.EnableBy(c, egress); err == nil || k.undo == nil {
			break
		} // otherwise whoever has changed it may not have finished
	}
	if err != nil {
		return err
	}
	k.undo, k.egress = undo, egress
	text, complete, err := listed(c.Device, egress)
	const most = 64 // how many sets of interfaces are remembered
	if len(k.rules) > most {
		clear(k.rules)
	}
	if _, known := k.rules[name(egress)]; !known && complete && err == nil {
		k.rules[name(egress)] = text // if it is not complete, another program has changed it meanwhile, and look comes back to it
	}
	return nil
}

// name returns a text that identifies a set of interfaces.
func name(egress map[hostnet.Family][]string) string {
	var all []string
	for _, f := range hostnet.Families {
		for _, itf := range egress[f] {
			all = append(all, itf+" ("+f.String()+")")
		}
	}
	return strings.Join(all, ", ")
}

// Keep puts back what others change, until ctx ends.
func (k *Keeper) Keep(ctx context.Context) {
	const slow = 10 * time.Second // to find changes that nothing announces
	tick := time.NewTicker(slow)
	defer tick.Stop()
	changed := k.watch(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
		if ctx.Err() == nil {
			k.look(time.Now())
		}
	}
}

// look compares the host with what it should be, and puts back what differs.
func (k *Keeper) look(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	var list []Problem
	for _, err := range []error{k.mendDevice(now), k.mendGateway(now), k.mendSettings(now), k.mendInput(), k.mendReach(now), k.mendPaths(now)} {
		list = append(list, problemsOf(err)...)
	}
	list = append(list, k.wrong()...)
	before := k.Problems()
	k.report(list)
	for _, p := range list {
		if !slices.ContainsFunc(before, func(b Problem) bool { return b.What == p.What }) {
			p.log()
		}
	}
}

func problemsOf(err error) (list []Problem) {
	for _, one := range flat(err) {
		list = append(list, Problem{one.Error(), app.HintOf(one)})
	}
	return list
}

// flat returns the errors that errors.Join has joined.
func flat(err error) []error {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return several.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func (k *Keeper) mendDevice(now time.Time) error {
	if k.device.Wait(now) > 0 {
		return nil
	}
	mended, err := k.config.Device.Mend()
	if len(mended) > 0 {
		slog.Warn("the device had been changed, and is as it was", "dev", k.config.Device.Name, "what", strings.Join(mended, "; "))
		k.device.Mended(now)
	} else {
		k.device.Held(now)
	}
	return err
}

// mendGateway sets the gateway up again if the ways out have changed, or its rules have. It
// replaces the rules in place, so that existing connections stay translated.
func (k *Keeper) mendGateway(now time.Time) error {
	if _, err := net.InterfaceByName(k.config.Device.Name); err != nil {
		return nil // without a device there is nothing to forward; mendDevice has reported that
	}
	egress, err := k.config.want()
	if err != nil {
		return err
	}
	if name(egress) != name(k.egress) {
		if k.ways.Wait(now) > 0 {
			return nil
		}
		k.ways.Mended(now)
		slog.Info("clients' packets leave through other interfaces now", "were", name(k.egress), "are", name(egress))
		return k.enable(egress)
	}
	k.ways.Held(now)
	if k.firewall.Wait(now) > 0 {
		return nil
	}
	text, complete, err := listed(k.config.Device.Name, egress)
	if err != nil {
		return err
	}
	if complete && text == k.rules[name(egress)] {
		k.firewall.Held(now)
		return nil
	}
	k.firewall.Mended(now)
	if err := k.enable(egress); err != nil {
		return err
	}
	slog.Warn("the firewall's rules of the tunnel had been removed or changed, and are put back", "chains", gateway.Chain(k.config.Device.Name))
	return nil
}

// mendSettings sets the kernel's settings that others have changed. The gateway knows what
// they were before it was set up, and puts that back in the end.
func (k *Keeper) mendSettings(now time.Time) error {
	want := maps.Clone(k.config.Sysctls)
	if want == nil {
		want = make(map[string]string)
	}
	if out := k.egress[hostnet.V4]; len(out) > 0 {
		want[forward4] = "1"
		maps.Copy(want, forwarding(k.config.Device.Name, out))
	}
	if len(k.egress[hostnet.V6]) > 0 {
		want[forward6] = "1"
	}
	var wrong []string
	for key, value := range want {
		if now := setting(key); now != "" && now != value {
			wrong = append(wrong, key)
		}
	}
	if len(wrong) == 0 {
		k.settings.Held(now)
		return nil
	}
	slices.SortFunc(wrong, func(a, b string) int { // ip_forward first: setting it also sets others
		return strings.Compare(strings.TrimPrefix(a, forward4), strings.TrimPrefix(b, forward4))
	})
	if k.settings.Wait(now) > 0 {
		return nil
	}
	k.settings.Mended(now)
	k.settings.what = "the kernel's setting " + dotted(wrong[0])
	k.settings.cure = fmt.Sprintf("Let a file in /etc/sysctl.d say %s = %s, and see what else sets it.", dotted(wrong[0]), want[wrong[0]])
	var errs []error
	for _, key := range wrong {
		was := setting(key)
		if was == want[key] {
			continue
		}
		if err := os.WriteFile(procSys+key, []byte(want[key]), 0); err != nil {
			errs = append(errs, app.Hint(fmt.Errorf("%s is %s, and can't be set: %w", dotted(key), was, err), "Set it: sysctl -w %s=%s", dotted(key), want[key]))
			continue
		}
		slog.Warn("a setting of the kernel had been changed, and is put back: sysctl -w " + dotted(key) + "=" + want[key] + " (was " + was + ")")
	}
	return errors.Join(errs...)
}

// wrong lists what is wrong with the host and only its owner can put right.
func (k *Keeper) wrong() (list []Problem) {
	for _, p := range []*pace{&k.device, &k.firewall, &k.ways, &k.settings, &k.reach, &k.paths} {
		if p.Slow() {
			list = append(list, Problem{"another program keeps changing " + p.what + ": it is put back less often now", p.cure})
		}
	}
	return slices.Concat(list, k.config.wrong(k.egress), k.closedByNft())
}

// Check lists what would be wrong with the host if Enable were called now. It changes
// nothing.
func Check(c Config) ([]Problem, error) {
	egress, err := c.want()
	return c.wrong(egress), err
}

func (c *Config) wrong(egress map[hostnet.Family][]string) (list []Problem) {
	if len(egress) == 0 {
		list = append(list, Problem{"this host has no default route: clients have no way out",
			"Connect the host to a network ('ip route' shows its routes), or name the interface through which packets are to leave with egress in server.toml."})
	}
	for _, name := range c.Egress {
		switch itf, err := net.InterfaceByName(name); {
		case err != nil:
			list = append(list, Problem{fmt.Sprintf("there is no interface %s, through which clients' packets are to leave", name),
				"'ip link' lists the interfaces; egress in server.toml names those through which packets leave."})
		case itf.Flags&net.FlagUp == 0:
			list = append(list, Problem{fmt.Sprintf("the interface %s, through which clients' packets are to leave, is down", name), "Switch it on: ip link set " + name + " up"})
		}
	}
	return list
}

// Settings of the kernel, as paths below /proc/sys.
const (
	procSys  = "/proc/sys/"
	forward4 = "net/ipv4/ip_forward"
	forward6 = "net/ipv6/conf/all/forwarding"
)

// forwarding returns the settings of the interfaces between which IPv4 is forwarded: each
// forwards what comes in through it. (IPv6 has one setting for all.)
func forwarding(device string, egress []string) map[string]string {
	all := make(map[string]string)
	if len(egress) > 0 {
		for _, name := range append([]string{device}, egress...) {
			all["net/ipv4/conf/"+name+"/forwarding"] = "1"
		}
	}
	return all
}

// setting returns the value of key, or "" if it can't be read.
func setting(key string) string {
	value, _ := os.ReadFile(filepath.Join(procSys, key))
	return strings.TrimSpace(string(value))
}

// dotted returns the name of key as sysctl(8) expects it.
func dotted(key string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(key) }
