package tun

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// explain turns the error with which the kernel refuses to make a device into a sentence
// that says why, and a hint.
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

// Check returns the error that Open would return because of the Config, or because of
// this host: a device of that name exists, or there is no TUN driver. It changes nothing.
// The command 'check' of step 8 uses it.
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
