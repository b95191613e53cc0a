// Package uplink keeps the server's host as its clients need it: the device up, their
// packets forwarded and translated, by whatever interfaces lead to the internet now.
// Introduced in step 8.
//
// Step 5's gateway sets that up once. But hosts change: a firewall is loaded from a file
// that begins with "flush ruleset", "sysctl --system" sets ip_forward=0, the default
// route moves to another interface, one of IPv6 comes late. The kernel tells of most of
// it by netlink, and then a Keeper compares what there should be with what there is. What
// nobody tells of it finds within 10 s: with iptables-legacy, what happens to its rules.
//
// It changes the host, and reads no packet.
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
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/reach"
)

// A Config says what is kept.
type Config struct {
	// Device is that of the tunnel. It must exist.
	Device keep.Device

	// Egress are the interfaces by which clients leave. None stands for those of the
	// default routes, for each family of addresses on its own, whatever they are at
	// the time.
	Egress []string

	// Sysctls are more settings of the kernel that are to hold (see gateway.Config),
	// where they can be set: it goes without them, too.
	Sysctls map[string]string

	// Service is what the host's own firewall is to let in (see input.go).
	Service Service

	// Reach is what clients reach of this host, beside DNS and ping; nil is all of it.
	Reach []reach.Opening

	// MaxClients is how many clients share the connections that the kernel can follow.
	MaxClients int

	// Paths, if there are any, are kept, too.
	Paths *Paths
}

// A pace says how often one thing may be mended.
type pace struct {
	keep.Pace
	what, cure string // of the problem that somebody else wants it in another way
}

// A Problem is something that is wrong with the host.
type Problem struct {
	What string // such as "the device vpn0 is down"
	Cure string // what to do about it; may be empty
}

func (p Problem) log() {
	var cure []any
	if p.Cure != "" {
		cure = []any{"cure", p.Cure}
	}
	slog.Warn(p.What, cure...)
}

// A Keeper keeps the host. Its methods may be called from any goroutine. They act in the
// network namespace of the thread that they run on.
type Keeper struct {
	config Config

	mu       sync.Mutex // held while the host is changed
	closed   bool
	undo     func() error // of the gateway; nil if there is none yet
	anchor   *anchor
	openings []*opening
	egress   map[hostnet.Family][]string // by which the gateway has been set up
	rules    map[string]string           // what iptables lists then, by egress
	tables   keep.Tables                 // see reach.go
	device   pace
	firewall pace
	ways     pace
	settings pace
	reach    pace
	paths    pace

	problems sync.Mutex // protects found
	found    []Problem
}

// Enable sets the host up. A host that has no default route yet is no error: clients are
// served when there is one. If Enable fails, nothing is left behind, and what a killed
// process has left is taken over (see gateway.Enable).
func Enable(c Config) (*Keeper, error) {
	name := c.Device.Name
	c.Sysctls = writable(c.Sysctls)
	k := &Keeper{config: c, rules: make(map[string]string), openings: openings(name), tables: keep.Tables{Terse: true},
		device: pace{what: "the device " + name,
			cure: "Find out which one ('ip monitor' shows what happens), and let it leave the device alone: NetworkManager and systemd-networkd call that unmanaged."},
		firewall: pace{what: "the firewall",
			cure: "Find out which one loads its rules again and again ('nft monitor' shows it), and let it leave the chains " + gateway.Chain(name) + " alone."},
		ways: pace{what: "the default route",
			cure: "'ip monitor route' shows what happens. Name the interfaces to leave by with egress in server.toml."},
		reach: pace{what: "the firewall's table of what clients reach of this host",
			cure: "Find out which one ('nft monitor' shows it), and let it leave the table " + string(reach.Name(name)) + " alone."},
		paths: pace{what: "the routes to clients",
			cure: "Find out which one ('ip monitor route' shows it), and let it leave the routes of the device " + name + " alone."},
	}
	var err error
	if k.anchor, err = drop(name); err != nil {
		slog.Debug("connections will not outlast a flush of the firewall", "error", err)
	}
	err = k.shut()
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
	for _, o := range k.openings {
		err = errors.Join(err, o.remove())
	}
	return errors.Join(err, k.tables.Only(), k.anchor.close())
}

// Problems lists what was wrong with the host when it was last looked at, which is
// whenever it changes, and every 10 s. It does not wait for anything.
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

// want returns the interfaces by which clients are to leave now.
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
			slices.Sort(names) // another order is no other way out
		}
		if len(names) > 0 {
			egress[f] = names
		}
	}
	return egress, nil
}

// enable sets the gateway up, or up anew, and remembers what it looks like.
func (k *Keeper) enable(egress map[hostnet.Family][]string) error {
	c := gateway.Config{Device: k.config.Device.Name, Addrs: k.config.Device.Addrs, Sysctls: maps.Clone(k.config.Sysctls)}
	if c.Sysctls == nil {
		c.Sysctls = make(map[string]string)
	}
	if setting(forward4) == "1" { // else the kernel sets those of the interfaces along with it
		maps.Copy(c.Sysctls, forwarding(c.Device, egress[hostnet.V4]))
	}
	var undo func() error
	var err error
	for tries := 3; tries > 0; tries-- {
		if undo, err = gateway.EnableBy(c, egress); err == nil || k.undo == nil {
			break
		} // else those who have changed it may still be at it
	}
	if err != nil {
		return err
	}
	k.undo, k.egress = undo, egress
	text, complete, err := listed(c.Device, egress)
	const most = 64 // sets of interfaces that are remembered
	if len(k.rules) > most {
		clear(k.rules)
	}
	if _, known := k.rules[name(egress)]; !known && complete && err == nil {
		k.rules[name(egress)] = text // else somebody else was at it, and we shall look again
	}
	return nil
}

// name is one for each set of interfaces.
func name(egress map[hostnet.Family][]string) string {
	var all []string
	for _, f := range hostnet.Families {
		for _, itf := range egress[f] {
			all = append(all, itf+" ("+f.String()+")")
		}
	}
	return strings.Join(all, ", ")
}

// Keep mends what others change, until ctx ends.
func (k *Keeper) Keep(ctx context.Context) {
	const slow = 10 * time.Second // finds what nobody tells of
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

// look compares, and mends.
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

// flat takes apart what errors.Join has put together.
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

// mendGateway sets the gateway up anew if there are other ways out, or the rules are not
// what they were. It does so in their place, so that what is translated stays so.
func (k *Keeper) mendGateway(now time.Time) error {
	if _, err := net.InterfaceByName(k.config.Device.Name); err != nil {
		return nil // without a device there is nothing to forward, and that was said
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
		slog.Info("clients leave by other interfaces", "were", name(k.egress), "are", name(egress))
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

// mendSettings sets what of the kernel's settings others have changed. What was there
// before there was a gateway, that one knows, and puts it back in the end.
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
	slices.SortFunc(wrong, func(a, b string) int { // ip_forward sets others along
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

// wrong lists what is wrong with the host that nobody can mend but its owner.
func (k *Keeper) wrong() (list []Problem) {
	for _, p := range []*pace{&k.device, &k.firewall, &k.ways, &k.settings, &k.reach, &k.paths} {
		if p.Slow() {
			list = append(list, Problem{"another program keeps changing " + p.what + ": it is mended more seldom", p.cure})
		}
	}
	return slices.Concat(list, k.config.wrong(k.egress), k.closedByNft())
}

// Check lists what would be wrong with the host if this were enabled now. It changes
// nothing.
func Check(c Config) ([]Problem, error) {
	egress, err := c.want()
	return c.wrong(egress), err
}

func (c *Config) wrong(egress map[hostnet.Family][]string) (list []Problem) {
	if len(egress) == 0 {
		list = append(list, Problem{"this host has no default route: clients have no way out",
			"Connect the host to a network ('ip route' shows its routes), or name the interface to leave by with egress in server.toml."})
	}
	for _, name := range c.Egress {
		switch itf, err := net.InterfaceByName(name); {
		case err != nil:
			list = append(list, Problem{fmt.Sprintf("there is no interface %s, by which clients are to leave", name),
				"'ip link' lists the interfaces; egress in server.toml names those to leave by."})
		case itf.Flags&net.FlagUp == 0:
			list = append(list, Problem{fmt.Sprintf("the interface %s, by which clients are to leave, is down", name), "Switch it on: ip link set " + name + " up"})
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

// forwarding are the settings of the interfaces between which IPv4 is forwarded: each
// forwards what comes in by it. (IPv6 has one for all.)
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

// dotted is the name of key as sysctl(8) takes it.
func dotted(key string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(key) }
