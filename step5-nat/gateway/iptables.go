package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/command"
	"stepvpn/step5-nat/hostnet"
)

// build makes the firewall's chains by one call of iptables-restore, which changes a table as
// a whole or not at all. So no rule jumps to a chain that is not complete, and the chains that
// a killed gateway has left are replaced at once: if the last rule that needs connection
// tracking went away, the kernel would stop translating the existing connections. Their next
// packets would then seem to be for this host, which would reset connections that it does not
// know.
func (w *firewall) build() error {
	chains := w.chains()
	script := make(map[string][]string) // what each table is told
	for i, h := range hooks(w.device) {
		needed := slices.IndexFunc(chains, func(c chain) bool { return c.hook == h })
		if needed >= 0 {
			script[h.table] = w.tables[i].fill(chains[needed], Chain(w.device))
		}
		for _, name := range w.tables[i].dead(w.device, needed >= 0) {
			script[h.table] = append(script[h.table], w.tables[i].drop(name)...)
		}
	}
	if err := w.restore(script); err != nil {
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

// remove removes our chains from all tables. It continues after an error, to leave as little
// as possible behind.
func (w *firewall) remove() error {
	errs := []error{w.read()}
	for i, h := range hooks(w.device) {
		if w.tables[i].has(Chain(w.device)) {
			errs = append(errs, w.restore(map[string][]string{h.table: w.tables[i].drop(Chain(w.device))}))
		}
	}
	return errors.Join(errs...)
}

// open finds the program iptables, checks that the kernel has the tables, and reads them.
func (w *firewall) open() error {
	if err := w.read(); err != nil {
		return err
	}
	for i, h := range hooks(w.device) {
		if strings.HasPrefix(w.tables[i][0], "# Table ") { // what iptables-nft says of one that it cannot handle
			return app.Hint(fmt.Errorf("%s cannot use its table %s: somebody made chains there with nft", w.command(), h.table),
				"See 'nft list ruleset', and give that table another name.")
		}
	}
	return nil
}

// A table is one table of the firewall, as iptables -S lists it, line by line.
type table []string

// patience is how many seconds iptables waits while another program has the tables.
const patience = "5"

// read reads all tables that we use. One that can't be read is empty.
func (w *firewall) read() error {
	var errs []error
	for i, h := range hooks(w.device) {
		out, err := command.Run("", w.command(), "-w", patience, "-t", h.table, "-S")
		if errors.Is(err, exec.ErrNotFound) {
			return w.explain(err)
		}
		w.tables[i] = strings.Split(strings.TrimSpace(out), "\n")
		errs = append(errs, w.explain(err))
	}
	return errors.Join(errs...)
}

// has reports whether the table has a chain.
func (t table) has(name string) bool { return slices.Contains(t, "-N "+name) }

// dead returns the chains that killed gateways have left: that of our own device, unless it
// is needed, and those of devices that no longer exist.
func (t table) dead(device string, needed bool) (names []string) {
	for _, line := range t {
		of, ours := strings.CutPrefix(line, "-N "+prefix)
		if !ours || of == device && needed {
			continue
		}
		if _, err := net.InterfaceByName(of); err != nil || of == device {
			names = append(names, Chain(of))
		}
	}
	return names
}

// fill returns commands that make a chain, or fill it anew if it is there, and the jump to it.
func (t table) fill(c chain, name string) (script []string) {
	if t.has(name) {
		script = append(t.detach(name), "-F "+name)
	} else {
		script = append(script, "-N "+name)
	}
	for _, rule := range c.rules {
		script = append(script, "-A "+name+" "+rule)
	}
	return append(script, fmt.Sprintf("-I %s 1 %s", c.from, strings.Join(c.jump(name), " ")))
}

// drop returns commands that remove a chain.
func (t table) drop(name string) []string {
	return append(t.detach(name), "-F "+name, "-X "+name)
}

// detach returns commands that remove all jumps to a chain.
func (t table) detach(name string) (script []string) {
	for _, line := range t {
		if rule, ok := strings.CutPrefix(line, "-A "); ok && strings.HasSuffix(rule, " -j "+name) {
			script = append(script, "-D "+rule)
		}
	}
	return script
}

// restore carries out a script for each table, each as a whole or not at all.
func (w *firewall) restore(script map[string][]string) error {
	var all []string
	for _, h := range hooks(w.device) {
		if list := script[h.table]; len(list) > 0 {
			all = append(all, "*"+h.table)
			for _, line := range list {
				slog.Debug(fmt.Sprintf("%s -t %s %s", w.command(), h.table, line))
				all = append(all, line)
			}
			all = append(all, "COMMIT")
		}
	}
	if len(all) == 0 {
		return nil
	}
	_, err := command.Run(strings.Join(all, "\n")+"\n", w.command()+"-restore", "-w", patience, "--noflush")
	return w.explain(err)
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
