package tun

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
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

// Check returns the error that Open would return because of the Config, or because of
// this host: a device of that name exists, or there is no TUN driver. It changes nothing.
func Check(c Config) error {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if err := c.check(); err != nil {
		return err
	}
	if exists(c.Name) && !c.Persist {
		return errTaken(c.Name)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return explain(c.Name, err)
	}
	return nil
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
	return link.Single(&port{file: file, name: iface.Name(), drops: c.Drops}), iface.Name(), nil
}

// explain turns the kernel's answer into a sentence and a hint.
func explain(name string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return errTaken(name)
	case errors.Is(err, unix.EINVAL):
		return app.Hint(fmt.Errorf("device %s exists, and is not a TUN device", name),
			"Choose another name with -dev.")
	case errors.Is(err, os.ErrPermission):
		return app.Hint(fmt.Errorf("no permission to make a network device: %w", err),
			"Run it as root (sudo), or in the lab: make demo")
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return app.Hint(fmt.Errorf("no TUN driver behind /dev/net/tun: %w", err),
			"Load it: sudo modprobe tun. In a container: docker run --device /dev/net/tun --cap-add NET_ADMIN")
	}
	return fmt.Errorf("making a TUN device: %w", err)
}

func errTaken(name string) error {
	return app.Hint(fmt.Errorf("device name %s is taken", name),
		"Choose another one with -dev. To see what has it: ip -details link show %s", name)
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

// deleted reports whether the interface behind the descriptor is gone. The error of
// a read is no reliable sign: it is EBADFD, or "not pollable" if Go's poller notices
// first. So this asks the driver.
func deleted(file io.ReadWriteCloser) bool {
	raw, err := file.(*os.File).SyscallConn()
	if err != nil {
		return false // it is closed
	}
	var answer error
	err = raw.Control(func(fd uintptr) {
		var ifreq unix.Ifreq
		answer = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, &ifreq)
	})
	return err == nil && answer == unix.EBADFD
}
