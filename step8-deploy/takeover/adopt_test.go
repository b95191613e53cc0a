package takeover

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step6-dns/push"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/lan"
)

// childVar makes the test binary a keeper, with a state folder; see child.
const childVar = "STEPVPN_TEST_KEEPER"

const limit = 20 * time.Second

func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(childVar); ok {
		if err := child(strings.Fields(job)); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	netlab.Main(m)
}

// child takes the host over until it gets SIGTERM: "STATE", or "STATE PID FD", by the
// device that another process has; with one more word it waits for somebody to take it.
func child(args []string) error {
	cfg := &config.Client{Device: "vpn0", KillSwitch: true, DNS: true, LAN: lan.Private, State: args[0], Transport: "udp"}
	cfg.Routes.Everything = true
	h := New(cfg)
	if len(args) > 2 {
		var pid, from int
		fmt.Sscan(args[1]+" "+args[2], &pid, &from)
		process, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(process, from, 0)
		if err != nil {
			return err
		}
		if err := h.Adopt(fd); err != nil {
			return err
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGUSR1)
	if len(args) > 3 {
		adoptWithin = time.Second
	}
	if err := h.Begin(); err != nil {
		return err
	}
	fmt.Println("begun")
	if len(args) > 2 && <-stop == syscall.SIGTERM {
		return h.End()
	}
	terms := Terms{
		Server: netip.MustParseAddrPort("203.0.113.10:5555"), Addrs: prefixes("10.8.0.2/24", "fd00:8::2/64"), MTU: 1400,
		Settings: push.Settings{DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1")}},
	}
	if err := h.Allow("udp", terms.Server); err != nil {
		return err
	}
	fd, index, err := h.Take(terms)
	if err != nil {
		return err
	}
	fmt.Printf("taken: device %d, descriptor %d.\n", index, fd)
	<-stop
	return h.End()
}

// A keeper is killed, and somebody has the descriptor of its device. The next one finds
// everything as it is, and changes nothing; or, if nobody asks for that any more, puts all back.
func TestAdopt(t *testing.T) {
	for _, name := range []string{"taken again", "not taken again", "stopped before"} {
		t.Run(name, func(t *testing.T) {
			lab := netlab.New(t)
			state := t.TempDir()
			look := func() string {
				out := lab.Alice.Run(t, "bash", "-c", `ip -4 rule; ip -6 rule; ip -4 route show table 22505 2>/dev/null; ip -6 route show table 22505 2>/dev/null; ip addr show dev vpn0 2>/dev/null
					nft -s list ruleset | sed '/_live/,/^}/d'; cat /etc/resolv.conf; stat -c %i /etc/resolv.conf`)
				lines := strings.Split(out, "\n") // tables may be in any order
				slices.Sort(lines)
				return strings.Join(lines, "\n")
			}
			before := look()
			start := func(args ...any) *netlab.Process {
				return lab.Alice.Start(t, "env", childVar+"="+strings.TrimSpace(fmt.Sprintln(append([]any{state}, args...)...)), os.Args[0])
			}
			first := start()
			first.WaitLog(t, "taken: ")
			var index, number int
			_, err := fmt.Sscanf(first.Log()[strings.Index(first.Log(), "taken: "):], "taken: device %d, descriptor %d.", &index, &number)
			require.NoError(t, err)
			process, err := unix.PidfdOpen(first.Pid(), 0)
			require.NoError(t, err)
			defer unix.Close(process)
			fd, err := unix.PidfdGetfd(process, number, 0) // env has become the child
			require.NoError(t, err)
			defer unix.Close(fd)
			first.Kill()
			first.Wait(t)
			while := look()
			require.Contains(t, while, "dev vpn0")
			require.Contains(t, while, "nameserver 10.8.0.1")

			monitor := lab.Alice.Start(t, "stdbuf", "-oL", "ip", "monitor", "rule", "route", "link", "address")
			netlab.Eventually(t, limit, "the monitor sees", func() bool {
				lab.Alice.Run(t, "bash", "-c", "ip rule add priority 22520 lookup main; ip rule del priority 22520")
				return strings.Contains(monitor.Log(), "Deleted 22520")
			})
			seen := func() (list []string) {
				for line := range strings.Lines(monitor.Log()) {
					if !strings.Contains(line, "22520:") && (strings.Contains(line, "225") || strings.Contains(line, "vpn0")) {
						list = append(list, line)
					}
				}
				return list
			}
			args := []any{os.Getpid(), fd}
			if name == "not taken again" {
				args = append(args, "soon")
			}
			second := start(args...)
			second.WaitLog(t, "begun")
			if name == "not taken again" {
				second.WaitLog(t, "nobody goes on")
				netlab.Eventually(t, limit, "it is put back", func() bool {
					return !strings.Contains(look(), "vpn0\n") && !strings.Contains(look(), "nameserver 10.8.0.1")
				})
				require.Contains(t, look(), "22511:", "but for the kill switch")
			} else {
				require.Equal(t, while, look())
			}
			if name == "taken again" {
				second.Signal(syscall.SIGUSR1)
				second.WaitLog(t, fmt.Sprintf("taken: device %d,", index))
				require.Equal(t, while, look())
				require.Empty(t, seen())
			}
			second.Signal(syscall.SIGTERM)
			require.Zero(t, second.Wait(t), second.Log())
			require.Equal(t, before, look())
		})
	}
}
