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
	for _, c := range w.chains() {
		if _, err := w.tool.ListChains(c.table); err != nil {
			return w.explain(err)
		}
	}
	return nil
}

// build makes the chains, after removing what a killed gateway left.
func (w *firewall) build() error {
	if err := w.sweep(); err != nil {
		return err
	}
	for _, c := range w.chains() {
		w.say(c.table, "-N %s", w.name())
		if err := w.tool.NewChain(c.table, w.name()); err != nil {
			return w.explain(err)
		}
		for _, rule := range c.rules {
			w.say(c.table, "-A %s %s", w.name(), rule)
			if err := w.tool.Append(c.table, w.name(), strings.Fields(rule)...); err != nil {
				return w.explain(err)
			}
		}
		jump := c.jump(w.name())
		w.say(c.table, "-I %s 1 %s", c.from, strings.Join(jump, " "))
		if err := w.tool.Insert(c.table, c.from, 1, jump...); err != nil {
			return w.explain(err)
		}
	}
	if w.serves() {
		slog.Info(fmt.Sprintf("%s: %v leaves by %s under this host's address (chains %s)",
			w.command(), w.subnets, w.egress, w.name()))
	}
	return nil
}

// remove takes our chains out of all tables.
func (w *firewall) remove() error { return w.removeIf(func(device string) bool { return device == w.device }) }

// sweep removes our own chains and those of gateways whose device is gone.
func (w *firewall) sweep() error {
	return w.removeIf(func(device string) bool {
		_, err := net.InterfaceByName(device)
		return device == w.device || err != nil
	})
}

// removeIf removes the chains of the devices that match, and the jumps to them.
// It goes on after an error.
func (w *firewall) removeIf(match func(device string) bool) error {
	var errs []error
	for _, c := range w.chains() {
		names, err := w.tool.ListChains(c.table)
		if err != nil {
			errs = append(errs, w.explain(err))
			continue
		}
		for _, name := range names {
			device, ours := strings.CutPrefix(name, prefix)
			if ours && match(device) {
				errs = append(errs, w.drop(c.table, name))
			}
		}
	}
	return errors.Join(errs...)
}
