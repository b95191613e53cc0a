package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
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

// childVar makes the test binary a server without a tunnel: it opens a device,
// calls Enable, and waits for Ctrl-C to undo it. Its value is the device's name
// and addresses, as in "vpn0=10.8.0.1/24", and optionally "@N": then it kills
// itself with SIGKILL when it is about to make the Nth change.
const childVar = "STEPVPN_TEST_SERVER"

// unprivileged is a job to try without root.
const unprivileged = "unprivileged"

// allDone is what the child says after Enable.
const allDone = "the gateway is open"

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

func child(job string) error {
	if job == unprivileged {
		_, err := Enable(Config{Device: "lo", Addrs: prefixes(both)})
		return err
	}
	job, killAt, _ := strings.Cut(job, "@")
	name, list, _ := strings.Cut(job, "=")
	dev, err := tun.Open(tun.Config{Name: name, Addrs: prefixes(list)})
	if err != nil {
		return err
	}
	defer dev.Close()
	if n, err := strconv.Atoi(killAt); err == nil {
		all := &slog.HandlerOptions{Level: slog.LevelDebug}
		slog.SetDefault(slog.New(&suicide{slog.NewTextHandler(os.Stderr, all), n}))
	}
	undo, err := Enable(Config{Device: dev.Name(), Addrs: prefixes(list)})
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
// change is logged before it is made.
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

// startChild starts this binary as a child on the server.
func startChild(t *testing.T, lab *netlab.Lab, job string) *netlab.Process {
	return lab.Server.Start(t, "env", childVar+"="+job, os.Args[0])
}

func prefixes(list string) []netip.Prefix {
	var ps []netip.Prefix
	for s := range strings.SplitSeq(list, ",") {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

const (
	both     = "10.8.0.1/24,fd00:8::1/64"
	onlyIPv4 = "10.8.0.1/24"
	onlyIPv6 = "fd00:8::1/64"
)

// tunnelOn opens a device on the server.
func tunnelOn(t *testing.T, lab *netlab.Lab, name, list string) *tun.Device {
	t.Helper()
	var dev *tun.Device
	var err error
	lab.Server.Do(func() { dev, err = tun.Open(tun.Config{Name: name, Addrs: prefixes(list)}) })
	require.NoError(t, err)
	t.Cleanup(func() { dev.Close() })
	return dev
}

// enable calls Enable on the server. The function that it returns undoes it
// there.
func enable(t *testing.T, lab *netlab.Lab, c Config) (undo func()) {
	t.Helper()
	var back func() error
	var err error
	lab.Server.Do(func() { back, err = Enable(c) })
	require.NoError(t, err)
	return func() {
		t.Helper()
		lab.Server.Do(func() { err = back() })
		require.NoError(t, err)
	}
}

// use makes tests call one of the two kinds of iptables, "nft" or "legacy".
func use(t *testing.T, kind string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables", "iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore"} {
		command, suffix, found := strings.Cut(name, "-")
		if found {
			suffix = "-" + suffix
		}
		path, err := exec.LookPath(command + "-" + kind + suffix)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// counters are what iptables-save and nft print along with a rule or chain.
var counters = regexp.MustCompile(`\[\d+:\d+\]|counter packets \d+ bytes \d+`)

// snapshot lists all that Enable could change on the server: the firewall, as
// all the tools see it, every setting of IP, and the files in /run.
func snapshot(t *testing.T, lab *netlab.Lab) []string {
	t.Helper()
	commands := []string{
		"nft list ruleset", "sysctl -a -r ^net.ipv[46].(conf|ip_forward)", "ls /run", "find /run/stepvpn -type f",
	}
	for _, h := range hooks("") { // one by one: an ordinary user may not ask for all tables at once
		commands = append(commands, "iptables-save -t "+h.table, "ip6tables-save -t "+h.table)
	}
	var lines []string
	for _, command := range commands {
		args := strings.Fields(command)
		out, _ := lab.Server.Try(args[0], args[1:]...) // there may be no /run/stepvpn
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
			if line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, command+": "+line)
			}
		}
	}
	return slices.DeleteFunc(lines, func(l string) bool {
		// The directory stays, empty. A find in an absent one fails.
		return l == "ls /run: stepvpn" || strings.HasPrefix(l, "find /run/stepvpn -type f: find:")
	})
}

// same fails the test unless the server is as it was before, and shows what is
// not.
func same(t *testing.T, before []string, lab *netlab.Lab, when ...any) {
	t.Helper()
	now := snapshot(t, lab)
	require.Empty(t, minus(now, before), when...)
	require.Empty(t, minus(before, now), when...)
	require.Equal(t, len(before), len(now), when...)
}

// minus returns the lines of a that are not in b.
func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(l string) bool { return slices.Contains(b, l) })
}

// dockerHost makes the server look like one with Docker: forwarded packets are
// dropped unless a chain accepts them. All tables get a rule, so that they are
// there before we are.
func dockerHost(t *testing.T, lab *netlab.Lab) {
	t.Helper()
	for _, tool := range []string{"iptables", "ip6tables"} {
		subnet := "172.17.0.0/16"
		if tool == "ip6tables" {
			subnet = "fd17::/64"
		}
		for _, rule := range []string{
			"-P FORWARD DROP", "-N DOCKER", "-N DOCKER-USER", "-N DOCKER-FORWARD",
			"-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-FORWARD",
			"-A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"-A DOCKER-FORWARD -i docker0 -j ACCEPT",
			"-t nat -N DOCKER", "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
			"-t nat -A POSTROUTING -s " + subnet + " ! -o docker0 -j MASQUERADE",
			"-t mangle -A FORWARD -o docker0 -j ACCEPT",
			"-t raw -A PREROUTING ! -i docker0 -d " + subnet + " -j DROP",
		} {
			lab.Server.Run(t, tool, strings.Fields(rule)...)
		}
	}
}
