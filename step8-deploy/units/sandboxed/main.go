// Sandboxed stands in for stepvpn when its units are tested. It tries everything that a
// keeper, a worker or a kill switch must be able to do, and what they must not be able to
// do. It prints which of these it may do, tells systemd that it is ready, and waits to be
// stopped.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step2-tun/tun"
	"stepvpn/step8-deploy/notify"
)

// role returns the unit that this program runs in: client, client-worker, server,
// server-worker, names or killswitch.
func role() string {
	if os.Args[1] == "worker" {
		return os.Args[2] + "-worker"
	}
	return os.Args[1]
}

var attempts = []struct {
	what string
	try  func() error
}{
	{"open a TUN device", func() error {
		dev, err := tun.Open(tun.Config{Name: "vpn8"})
		if err != nil {
			return err
		}
		return dev.Close()
	}},
	{"turn forwarding on", write("/proc/sys/net/ipv4/ip_forward", "1")},
	{"change the firewall", run("iptables -w -N STEPVPN-x && iptables -w -X STEPVPN-x && ip6tables -w -N STEPVPN-x && ip6tables -w -X STEPVPN-x")},
	{"mark a socket", func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 7), unix.Close(fd))
	}},
	{"listen on port 53", func() error {
		c, err := net.ListenPacket("udp", "127.0.0.9:53")
		if err != nil {
			return err
		}
		return c.Close()
	}},
	{"add a route", func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		r := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(192, 0, 2, 99), Mask: net.CIDRMask(32, 32)}, Scope: netlink.SCOPE_LINK}
		return errors.Join(netlink.RouteAdd(r), netlink.RouteDel(r))
	}},
	{"read its key", func() error {
		_, err := os.ReadFile(filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), os.Args[1]+".key"))
		return err
	}},
	{"read its settings", func() error { _, err := os.ReadFile(os.Args[len(os.Args)-1]); return err }},
	{"read keys", func() error {
		_, err1 := os.ReadFile("/etc/stepvpn/server.key")
		_, err2 := os.ReadFile("/etc/stepvpn/client.key")
		return errors.Join(err1, err2)
	}},
	{"keep state", write("/var/lib/stepvpn/x", "")},
	{"replace resolv.conf", run("cp /etc/resolv.conf /etc/.resolv.new && mv /etc/.resolv.new /etc/resolv.conf")},

	{"have systemd run a command", run("systemd-run --quiet --wait true")},
	{"talk to systemd", dial("/run/systemd/private")},
	{"talk to the system bus", dial("/run/dbus/system_bus_socket")},
	{"write its settings", write("/etc/stepvpn/server.toml", "")},
	{"replace its settings", run("cp -p /etc/stepvpn/server.toml /etc/stepvpn/.t && mv -f /etc/stepvpn/.t /etc/stepvpn/server.toml || { rm /etc/stepvpn/.t; exit 1; }")},
	{"write keys", write("/etc/stepvpn/server.key", "")},
	{"change the registry", run("cp -p /etc/stepvpn/clients /etc/stepvpn/.t && mv -f /etc/stepvpn/.t /etc/stepvpn/clients")},
	{"write units", write("/etc/systemd/system/x.service", "")},
	{"write what dhclient runs", write("/etc/dhcp/dhclient-exit-hooks.d/x", "")},
	{"write what cron runs", write("/etc/cron.d/x", "")},
	{"make a file that runs at boot", create("/etc/rc.local")},
	{"make a file that all programs load", create("/etc/ld.so.preload")},
	{"read passwords", func() error { _, err := os.ReadFile("/etc/shadow"); return err }},
	{"send process 1 a signal", func() error { return unix.Kill(1, 0) }},
	{"write passwords", write("/etc/shadow", "")},
	{"write programs", write("/usr/local/bin/x", "")},
	{"write elsewhere", write("/srv", "")},
	{"read homes", func() error { _, err := os.ReadDir("/root"); return err }},
	{"capture packets", func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}},
	{"mount", run("mount -t tmpfs x /mnt && umount /mnt")},
	{"become another user", run("setpriv --reuid 1 --clear-groups true")},
	{"make a namespace", run("unshare --uts true")},
	{"make a set-user-ID program", run("cp /bin/true /var/lib/stepvpn/t && chmod u+s /var/lib/stepvpn/t")},
}

// dial tries to connect to a socket.
func dial(path string) func() error {
	return func() error {
		c, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// write tries to write a file, or one in a folder.
func write(name, text string) func() error {
	return func() error {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			name = filepath.Join(name, "x")
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600) // without O_TRUNC: this is only a try
		if err != nil {
			return err
		}
		_, err = f.WriteString(text)
		return errors.Join(err, f.Close())
	}
}

// create tries to make a file that is not there.
func create(name string) func() error {
	return func() error { return errors.Join(write(name, "")(), os.Remove(name)) }
}

// run tries a command of the shell.
func run(command string) func() error {
	return func() error {
		out, err := exec.Command("sh", "-ec", command).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

func main() {
	role := role()
	if role == "killswitch" && os.Args[2] == "open" {
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var may []string
	for _, a := range attempts {
		if err := a.try(); err != nil {
			fmt.Printf("may not %s: %v\n", a.what, err)
			continue
		}
		may = append(may, a.what)
	}
	fmt.Printf("may: %s.\n", strings.Join(may, ", "))
	notify.Ready("tried everything")
	if role != "killswitch" { // whose process ends once it is closed
		<-stop
	}
}
