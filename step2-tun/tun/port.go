package tun

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"stepvpn/shared/link"
)

// A port is the program's side of the device: one packet per Read and Write. It
// distinguishes faults that pass from those that are final.
type port struct {
	file  io.ReadWriteCloser
	name  string
	drops *link.Drops // may be nil
}

// Read waits for a packet that the host sends into the device.
func (p *port) Read(b []byte) (int, error) {
	n, err := p.file.Read(b)
	if err != nil {
		return 0, p.final(err)
	}
	return n, nil
}

// Write hands a packet to the host, or counts it if the host does not take it.
func (p *port) Write(b []byte) (int, error) {
	if _, err := p.file.Write(b); err != nil && !Passing(err, p.drops) {
		return 0, p.final(err)
	}
	return len(b), nil
}

// Close closes the program's side, which removes a device that is not persistent.
// A waiting Read returns.
func (p *port) Close() error {
	err := p.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil // closing twice is fine
	}
	return err
}

// Passing reports whether err, which a write returned, is about a single packet that
// the host did not accept, and counts that packet in drops, which may be nil. Any
// other error means that the device can no longer be used.
func Passing(err error, drops *link.Drops) bool {
	var reason link.Reason
	switch {
	case errors.Is(err, syscall.EINVAL): // not an IP packet
		reason = link.Malformed
	case errors.Is(err, syscall.EIO): // the device is down
		reason = link.Unreachable
	case errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS):
		reason = link.QueueFull
	default:
		return false
	}
	if drops != nil {
		drops.Add(reason)
	}
	return true
}

// final returns the error to report when the device can no longer be used.
func (p *port) final(err error) error {
	if deleted(p.file) {
		return fmt.Errorf("device %s was deleted by somebody else", p.name)
	}
	return err
}
