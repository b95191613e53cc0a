package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
)

// childVar makes the test binary a client without a tunnel: it opens the
// device, calls Default, and waits for Ctrl-C to undo it. Its value is the
// tunnel's addresses, and optionally "@N": then it kills itself with SIGKILL
// when it is about to run the Nth command.
const childVar = "STEPVPN_TEST_CLIENT"

// unprivileged is a job to try without root.
const unprivileged = "unprivileged"

// allDone is what the child says after Default.
const allDone = "everything goes through the tunnel"

func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(childVar); ok {
		if err := child(job); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	netlab.Main(m)
}

const limit = 20 * time.Second

// serverAddr is the lab's server.
var serverAddr = netip.MustParseAddrPort("203.0.113.10:5555")

func child(job string) error {
	if job == unprivileged {
		_, err := Default(config(both))
		_, errMark := (&net.Dialer{Control: Mark}).Dial("udp", serverAddr.String())
		return errors.Join(err, errMark)
	}
	list, killAt, _ := strings.Cut(job, "@")
	dev, err := tun.Open(tun.Config{Name: "vpn9", Addrs: prefixes(list)})
	if err != nil {
		return err
	}
	defer dev.Close()
	if n, err := strconv.Atoi(killAt); err == nil {
		slog.SetDefault(slog.New(&suicide{slog.NewTextHandler(os.Stderr, nil), n}))
	}
	undo, err := Default(Config{Device: dev.Name(), Addrs: prefixes(list), Network: "udp", Server: serverAddr})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Println(allDone)
	<-ctx.Done()
	return undo()
}

// suicide is a log that ends the process by SIGKILL at a certain line. Each
// command is logged before it is carried out.
type suicide struct {
	slog.Handler
	left int
}

func (s *suicide) Handle(ctx context.Context, r slog.Record) error {
	if s.left--; s.left == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it takes effect
	}
	return s.Handler.Handle(ctx, r)
}

// startChild starts this binary as a child on the host.
func startChild(t *testing.T, h *netlab.Host, job string) *netlab.Process {
	return h.Start(t, "env", childVar+"="+job, os.Args[0])
}

func prefixes(list string) []netip.Prefix {
	var ps []netip.Prefix
	for s := range strings.SplitSeq(list, ",") {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

const (
	both     = "10.8.0.2/24,fd00:8::2/64"
	onlyIPv4 = "10.8.0.2/24"
	onlyIPv6 = "fd00:8::2/64"
)

// tunnelOn opens the device vpn0 on the host, and waits until the kernel has made
// its own routes for it.
func tunnelOn(t *testing.T, h *netlab.Host, list string) *tun.Device {
	t.Helper()
	var dev *tun.Device
	var err error
	h.Do(func() { dev, err = tun.Open(tun.Config{Name: "vpn0", Addrs: prefixes(list)}) })
	require.NoError(t, err)
	t.Cleanup(func() { dev.Close() })
	for _, p := range prefixes(list) {
		netlab.Eventually(t, limit, "there is a local route for "+p.String(), func() bool {
			return way(h, p.Addr().String()) == "lo"
		})
	}
	return dev
}

// config is for that device.
func config(list string) Config {
	return Config{Device: "vpn0", Addrs: prefixes(list), Network: "udp", Server: serverAddr}
}

// defaultOn calls Default on the host. The function that it returns undoes it
// there.
func defaultOn(t *testing.T, h *netlab.Host, c Config) (undo func()) {
	t.Helper()
	var back func() error
	var err error
	h.Do(func() { back, err = Default(c) })
	require.NoError(t, err)
	return func() {
		t.Helper()
		h.Do(func() { err = back() })
		require.NoError(t, err)
	}
}

// refused calls Default on the host, and returns the error that it must give.
// Nothing may have changed.
func refused(t *testing.T, h *netlab.Host, c Config) error {
	t.Helper()
	before := snapshot(t, h)
	var err error
	h.Do(func() { _, err = Default(c) })
	require.Error(t, err)
	same(t, before, h)
	return err
}

// snapshot lists all that Default could change on a host: rules, routes of all
// tables, and every setting of IP. Left out is what the kernel adds by itself
// when an interface has been up for a while.
func snapshot(t *testing.T, h *netlab.Host) []string {
	t.Helper()
	var lines []string
	for _, command := range []string{
		"ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all",
		"sysctl -a -r ^net.ipv[46].conf",
	} {
		args := strings.Fields(command)
		for line := range strings.Lines(h.Run(t, args[0], args[1:]...)) {
			if !strings.Contains(line, "fe80:") && !strings.Contains(line, "ff00::/8") {
				lines = append(lines, command+": "+strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// same fails the test unless the host is as it was before, and shows what is
// not.
func same(t *testing.T, before []string, h *netlab.Host, when ...any) {
	t.Helper()
	now := snapshot(t, h)
	require.Empty(t, slices.DeleteFunc(slices.Clone(now), func(l string) bool { return slices.Contains(before, l) }), when...)
	require.Empty(t, slices.DeleteFunc(slices.Clone(before), func(l string) bool { return slices.Contains(now, l) }), when...)
	require.Equal(t, len(before), len(now), when...)
}

// way asks the host where a packet would go, and returns the interface or why
// it would go nowhere.
func way(h *netlab.Host, question string) string {
	out, err := h.Try("ip", append([]string{"route", "get"}, strings.Fields(question)...)...)
	if err != nil {
		return strings.TrimPrefix(strings.TrimSpace(out), "RTNETLINK answers: ")
	}
	_, rest, _ := strings.Cut(out, " dev ")
	name, _, _ := strings.Cut(rest, " ")
	return name
}
