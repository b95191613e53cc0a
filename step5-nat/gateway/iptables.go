package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// build makes the firewall's chains by the program iptables, each of them complete before
// any rule jumps to it. The chains that a killed gateway has left are replaced rule by
// rule: if the last rule that needs connection tracking went away, the kernel would stop
// translating the existing connections. Their next packets would then seem to be for this
// host, which would reset connections that it does not know.
func (w *firewall) build() error {
	chains := w.chains()
	for _, c := range chains {
		if err := w.fill(c); err != nil {
			return w.explain(err)
		}
	}
	if err := w.sweep(chains); err != nil {
		return err
	}
	if w.serves() {
		slog.Info(fmt.Sprintf("%s: %s leaves by %s, under its address (chains %s)",
			w.command(), strings.Trim(fmt.Sprint(w.subnets), "[]"), strings.Join(w.egress, " or "), Chain(w.device)))
	} else if len(w.subnets) > 0 {
		slog.Warn(fmt.Sprintf("this host has no %v default route: over %[1]v, clients reach only this host", w.family))
	}
	return nil
}

// fill makes one chain and the jump to it.
func (w *firewall) fill(c chain) error {
	name := Chain(w.device)
	old := 0 // how many rules a killed gateway has left
	there, err := w.tool.ChainExists(c.table, name)
	switch {
	case err != nil:
		return err
	case there:
		rules, err := w.tool.List(c.table, name)
		if err != nil {
			return err
		}
		old = len(rules) - 1 // the first one is "-N STEPVPN-vpn0"
		if err := w.detach(c.hook, name); err != nil {
			return err
		}
	default:
		slog.Debug(fmt.Sprintf("%s -t %s -N %s", w.command(), c.table, name))
		if err := w.tool.NewChain(c.table, name); err != nil {
			return err
		}
	}
	for _, rule := range c.rules {
		slog.Debug(fmt.Sprintf("%s -t %s -A %s %s", w.command(), c.table, name, rule))
		if err := w.tool.Append(c.table, name, strings.Fields(rule)...); err != nil {
			return err
		}
	}
	for range old {
		slog.Debug(fmt.Sprintf("%s -t %s -D %s 1", w.command(), c.table, name))
		if err := w.tool.DeleteById(c.table, name, 1); err != nil {
			return err
		}
	}
	jump := c.jump(name)
	slog.Debug(fmt.Sprintf("%s -t %s -I %s 1 %s", w.command(), c.table, c.from, strings.Join(jump, " ")))
	return w.tool.Insert(c.table, c.from, 1, jump...)
}

// open finds the program iptables and checks that the kernel has the tables.
func (w *firewall) open() error {
	const patience = 10 // seconds to wait for another program's iptables
	protocol := iptables.ProtocolIPv4
	if w.family == hostnet.V6 {
		protocol = iptables.ProtocolIPv6
	}
	var err error
	if w.tool, err = iptables.New(iptables.IPFamily(protocol), iptables.Timeout(patience)); err != nil {
		return w.explain(err)
	}
	for _, h := range hooks(w.device) {
		builtIn, err := w.tool.ListChains(h.table)
		if err != nil {
			return w.explain(err)
		}
		if len(builtIn) == 0 { // what iptables-nft says of a table that it cannot handle
			return app.Hint(fmt.Errorf("%s cannot use its table %s: somebody made chains there with nft", w.command(), h.table),
				"See 'nft list ruleset', and give that table another name.")
		}
	}
	return nil
}

// remove removes our chains from all tables. It continues after an error, to leave as
// little as possible behind.
func (w *firewall) remove() error {
	var errs []error
	for _, h := range hooks(w.device) {
		there, err := w.tool.ChainExists(h.table, Chain(w.device))
		if there {
			err = w.drop(h, Chain(w.device))
		}
		errs = append(errs, w.explain(err))
	}
	return errors.Join(errs...)
}

// sweep removes the other chains that killed gateways have left: those of our own device
// that are no longer needed, and those of devices that no longer exist.
func (w *firewall) sweep(needed []chain) error {
	var errs []error
	for i, h := range hooks(w.device) {
		isNeeded := slices.ContainsFunc(needed, func(c chain) bool { return c.hook == h })
		names, err := w.tool.ListChains(h.table)
		errs = append(errs, w.explain(err))
		for _, name := range names {
			device, ours := strings.CutPrefix(name, prefix)
			if !ours || device == w.device && isNeeded {
				continue
			}
			if _, err := net.InterfaceByName(device); err != nil || device == w.device {
				errs = append(errs, w.drop(hooks(device)[i], name))
			}
		}
	}
	return errors.Join(errs...)
}

// drop removes the jumps to a chain, and then the chain.
func (w *firewall) drop(h hook, name string) error {
	if err := w.detach(h, name); err != nil {
		return err
	}
	slog.Debug(fmt.Sprintf("%s -t %s -X %s", w.command(), h.table, name))
	return w.explain(w.tool.ClearAndDeleteChain(h.table, name))
}

// detach removes the jumps to a chain.
func (w *firewall) detach(h hook, name string) error {
	const most = 16 // there is one jump, unless somebody added more
	for range most {
		switch there, err := w.tool.Exists(h.table, h.from, h.jump(name)...); {
		case err != nil:
			return w.explain(err)
		case !there:
			return nil
		}
		slog.Debug(fmt.Sprintf("%s -t %s -D %s %s", w.command(), h.table, h.from, strings.Join(h.jump(name), " ")))
		if err := w.tool.Delete(h.table, h.from, h.jump(name)...); err != nil {
			return w.explain(err)
		}
	}
	return fmt.Errorf("%s: more than %d jumps to chain %s", w.command(), most, name)
}

// command returns the name of the program.
func (w *firewall) command() string {
	if w.family == hostnet.V6 {
		return "ip6tables"
	}
	return "iptables"
}

// explain puts an error of iptables on one line and says what to do about it.
func (w *firewall) explain(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	one := fmt.Errorf("%s: %s", w.command(), text)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return app.Hint(fmt.Errorf("the program %s is not installed", w.command()),
			"sudo apt-get install iptables%s", w.orWithout())
	case strings.Contains(text, "must be root"):
		return hostnet.NeedsRoot(one)
	case strings.Contains(text, "insmod"), strings.Contains(text, "Failed to initialize nft"):
		return app.Hint(one, "This kernel has no such table: load its module (sudo modprobe nf_tables; with iptables-legacy: iptable_nat)%s", w.orWithout())
	}
	return one
}

// orWithout returns the end of a hint: for IPv6, that it can be left out of the tunnel.
func (w *firewall) orWithout() string {
	if w.family == hostnet.V6 {
		return ", or leave IPv6 out of the tunnel with -addr."
	}
	return "."
}
