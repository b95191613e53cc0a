package tun

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"stepvpn/shared/link"
)

// An endpoint is the program's end of the device: each Read is one read(2) and returns one
// packet, and each Write is one write(2) and takes one. It tells faults that cost a single packet from those that end the
// device.
type endpoint struct {
	file  io.ReadWriteCloser
	name  string
	drops *link.Drops // may be nil
}

// Read waits for a packet that the host sends into the device.
func (e *endpoint) Read(b []byte) (int, error) {
	n, err := e.file.Read(b)
	if err != nil {
		return 0, e.final(err)
	}
	return n, nil
}

// Write hands a packet to the host, or counts it if the host does not take it.
func (e *endpoint) Write(b []byte) (int, error) {
	if _, err := e.file.Write(b); err != nil && !Passing(err, e.drops) {
		return 0, e.final(err)
	}
	return len(b), nil
}

// Close closes the program's end, which removes a device that is not persistent.
// A waiting Read returns.
func (e *endpoint) Close() error {
	err := e.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil // closing twice is fine
	}
	return err
}

// Passing reports whether err, which a write returned, is about a single packet that
// the host did not accept, and counts that packet in drops, which may be nil. Any
// other error means that the device can no longer be used. (It is exported for the faster
// endpoint of step 8.)
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
func (e *endpoint) final(err error) error {
	if deleted(e.file) {
		return fmt.Errorf("device %s was deleted by somebody else", e.name)
	}
	return err
}
