package tun

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// open makes the device of a checked Config, and removes it again if it cannot be
// configured.
func open(attach Attacher, c Config) (*Device, error) {
	existed := exists(c.Name)
	if existed && !c.Persist {
		// With Persist off, water would take over a device that somebody made
		// to stay, and the kernel would delete it when we close.
		return nil, errTaken(c.Name)
	}
	end, name, err := attach(c)
	if err != nil {
		return nil, explain(c.Name, err)
	}
	if err := configure(name, c); err != nil {
		if c.Persist && !existed {
			remove(name) // without Persist, closing is enough
		}
		end.Close()
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return &Device{Link: end, name: name, mtu: c.MTU}, nil
}

// attach is our Attacher; it uses the package water.
func attach(c Config) (link.Link, string, error) {
	want := water.Config{DeviceType: water.TUN}
	want.Name = c.Name
	want.Persist = c.Persist

	// water opens the descriptor without close-on-exec. A program that another
	// goroutine starts before we set it would inherit the device, and keep it alive
	// after we have ended. ForkLock delays such a start.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	iface, err := water.New(want)
	if err != nil {
		// In this case water leaves the descriptor open, and we can't reach it to
		// close it. Most programs exit here anyway.
		return nil, "", err
	}
	file := iface.ReadWriteCloser.(*os.File)
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { unix.CloseOnExec(int(fd)) })
	}
	if err != nil {
		file.Close()
		return nil, "", fmt.Errorf("setting close-on-exec: %w", err)
	}
	// Single makes a burst of each packet: endpoint's Read and Write are read(2) and write(2).
	return link.Single(&endpoint{file: file, name: iface.Name(), drops: c.Drops}), iface.Name(), nil
}

// exists reports whether there is an interface of that name.
func exists(name string) bool {
	if name == "" {
		return false
	}
	_, err := net.InterfaceByName(name)
	return err == nil
}

// remove deletes the interface, if it is there.
func remove(name string) {
	if dev, err := netlink.LinkByName(name); err == nil {
		netlink.LinkDel(dev)
	}
}
