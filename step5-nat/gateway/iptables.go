package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// open finds the program and tries whether the kernel has the tables.
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

// build makes the chains, each complete before anything jumps to it. What killed
// gateways left goes one table at a time: while no table has a rule that asks which
// connection a packet belongs to, the kernel does not follow connections, and takes
// what comes back for a client to be for this host, which resets it.
func (w *firewall) build() error {
	for i, h := range hooks(w.device) {
		if err := w.sweep(i, h); err != nil {
			return err
		}
		if err := w.make(h); err != nil {
			return err
		}
	}
	if w.serves() {
		slog.Info(fmt.Sprintf("%s: %s leaves by %s, with its address (chains %s)",
			w.command(), strings.Trim(fmt.Sprint(w.subnets), "[]"), w.egress, w.name()))
	}
	return nil
}

// make makes the chain of one hook, if it has one.
func (w *firewall) make(h hook) error {
	name := w.name()
	for _, c := range w.chains() {
		if c.hook != h {
			continue
		}
		slog.Debug(fmt.Sprintf("%s -t %s -N %s", w.command(), c.table, name))
		if err := w.tool.NewChain(c.table, name); err != nil {
			return w.explain(err)
		}
		for _, rule := range c.rules {
			slog.Debug(fmt.Sprintf("%s -t %s -A %s %s", w.command(), c.table, name, rule))
			if err := w.tool.Append(c.table, name, strings.Fields(rule)...); err != nil {
				return w.explain(err)
			}
		}
		jump := c.jump(name)
		slog.Debug(fmt.Sprintf("%s -t %s -I %s 1 %s", w.command(), c.table, c.from, strings.Join(jump, " ")))
		if err := w.tool.Insert(c.table, c.from, 1, jump...); err != nil {
			return w.explain(err)
		}
	}
	return nil
}

// remove takes our chains out of all tables. It goes on after an error, to leave
// as little as possible.
func (w *firewall) remove() error {
	var errs []error
	for _, h := range hooks(w.device) {
		errs = append(errs, w.removeFrom(h))
	}
	return errors.Join(errs...)
}

func (w *firewall) removeFrom(h hook) error {
	there, err := w.tool.ChainExists(h.table, w.name())
	if there {
		err = w.drop(h, w.name())
	}
	return w.explain(err)
}

// sweep removes what killed gateways left in the table of hook i: the chains of our
// own device, and of those that are gone.
func (w *firewall) sweep(i int, h hook) error {
	errs := []error{w.removeFrom(h)}
	names, err := w.tool.ListChains(h.table)
	errs = append(errs, w.explain(err))
	for _, name := range names {
		device, ours := strings.CutPrefix(name, prefix)
		if _, err := net.InterfaceByName(device); ours && err != nil {
			errs = append(errs, w.drop(hooks(device)[i], name))
		}
	}
	return errors.Join(errs...)
}

// drop removes a chain, and first the jumps to it.
func (w *firewall) drop(h hook, name string) error {
	const most = 16 // there is one jump, unless somebody added more
	for range most {
		switch there, err := w.tool.Exists(h.table, h.from, h.jump(name)...); {
		case err != nil:
			return w.explain(err)
		case !there:
			slog.Debug(fmt.Sprintf("%s -t %s -X %s", w.command(), h.table, name))
			return w.explain(w.tool.ClearAndDeleteChain(h.table, name))
		}
		if err := w.tool.Delete(h.table, h.from, h.jump(name)...); err != nil {
			return w.explain(err)
		}
	}
	return fmt.Errorf("%s: more than %d jumps to chain %s", w.command(), most, name)
}

// command is the name of the program.
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

// orWithout is the other way out: IPv6 may be left out of the tunnel.
func (w *firewall) orWithout() string {
	if w.family == hostnet.V6 {
		return ", or leave IPv6 out of the tunnel with -addr."
	}
	return "."
}
