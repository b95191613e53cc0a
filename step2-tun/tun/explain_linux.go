package tun

import (
	"errors"
	"fmt"
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
