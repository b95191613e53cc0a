package tun

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/songgao/water"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
)

// This is the TUN device of macOS, utun. The code follows the manual pages of
// ifconfig(8) and route(8). The project builds it, but has never run it: Linux is
// the platform of the course.
//
// Two things differ from Linux. There is no persistent utun. And water gives no
// access to the file descriptor, so close-on-exec cannot be set: a program that is
// started while the device is open inherits it.

// open makes the device of a checked Config, and closes it when it cannot be
// configured.
func open(attach Attacher, c Config) (*Device, error) {
	end, name, err := attach(c)
	if err != nil {
		return nil, err
	}
	for _, command := range configuration(name, c) {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			end.Close()
			return nil, fmt.Errorf("device %s: %s: %w: %s", name, strings.Join(command, " "), err,
				strings.Join(strings.Fields(string(out)), " "))
		}
	}
	return &Device{Link: end, name: name, mtu: c.MTU}, nil
}

// attach is our Attacher; it uses the package water.
func attach(c Config) (link.Link, string, error) {
	if c.Persist {
		return nil, "", errors.New("macOS has no persistent TUN device")
	}
	want := water.Config{DeviceType: water.TUN}
	want.Name = c.Name
	iface, err := water.New(want)
	if errors.Is(err, os.ErrPermission) || err != nil && os.Geteuid() != 0 {
		return nil, "", app.Hint(fmt.Errorf("no permission to make a network device: %w", err),
			"Run it as root (sudo).")
	}
	if err != nil {
		return nil, "", app.Hint(fmt.Errorf("making a TUN device: %w", err),
			"macOS accepts a name such as utun7, or an empty one: -dev ''")
	}
	return link.Single(&endpoint{file: iface, name: iface.Name(), drops: c.Drops}), iface.Name(), nil
}

// configuration lists the commands that configure the device. A utun is a
// point-to-point link: it needs an address for the other end, where we use our own,
// and a route to the addresses behind it.
func configuration(name string, c Config) [][]string {
	list := [][]string{{"ifconfig", name, "mtu", strconv.Itoa(c.MTU), "up"}}
	for _, a := range c.Addrs {
		list = append(list, addressCommands(name, a)...)
	}
	return list
}

func addressCommands(name string, a netip.Prefix) [][]string {
	if a.Addr().Is4() {
		return [][]string{
			{"ifconfig", name, "inet", a.String(), a.Addr().String(), "alias"},
			{"route", "-q", "-n", "add", "-inet", a.Masked().String(), "-interface", name},
		}
	}
	return [][]string{{"ifconfig", name, "inet6", a.String(), "alias"}}
}

// deleted reports whether the interface behind the descriptor is gone. A utun
// lives as long as its descriptor.
func deleted(io.ReadWriteCloser) bool { return false }
