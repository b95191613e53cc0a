package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// A port is the program's side of the device: one packet per Read and Write. It
// tells the faults that pass from those that do not.
type port struct {
	file  *os.File
	name  string
	drops *link.Drops // may be nil
}

// Read waits for a packet that the host sends into the device.
func (p *port) Read(b []byte) (int, error) {
	n, err := p.file.Read(b)
	if err != nil {
		err = p.final(err)
	}
	return n, err
}

// Write hands a packet to the host.
func (p *port) Write(b []byte) (int, error) {
	_, err := p.file.Write(b)
	if err == nil {
		return len(b), nil
	}
	reason, passing := faultOf(err)
	if !passing {
		return 0, p.final(err)
	}
	if p.drops != nil {
		p.drops.Add(reason)
	}
	return len(b), nil
}

func (p *port) Close() error { return p.file.Close() }

// faultOf returns the reason under which a packet is counted that the kernel
// did not take, and whether the device still works.
func faultOf(err error) (reason link.Reason, passing bool) {
	switch {
	case errors.Is(err, unix.EINVAL): // not an IP packet
		return link.Malformed, true
	case errors.Is(err, unix.EIO): // the device is down
		return link.Unreachable, true
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		return link.QueueFull, true
	default:
		return 0, false
	}
}

// final says what ended the device.
func (p *port) final(err error) error {
	if errors.Is(err, unix.EBADFD) {
		return fmt.Errorf("device %s was deleted", p.name)
	}
	return err
}
