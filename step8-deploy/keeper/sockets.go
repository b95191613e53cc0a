package keeper

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/step8-deploy/control"
)

// listen makes the sockets for the status and the metrics of a worker, of a client or a server.
// It returns -1 for each that is not wanted.
func listen(path, group string, metrics netip.AddrPort) (statusFD, metricsFD int, err error) {
	statusFD, metricsFD = -1, -1
	if path != "" {
		l, err := control.Socket{Path: path, Name: control.Status, Group: group}.Listen()
		if err != nil {
			return -1, -1, err
		}
		defer l.Close()
		if statusFD, err = take(l); err != nil {
			return -1, -1, err
		}
	}
	if metrics.IsValid() {
		l, err := net.Listen("tcp", metrics.String())
		if err == nil {
			defer l.Close()
			metricsFD, err = take(l.(*net.TCPListener))
		}
		if err != nil {
			return -1, -1, errors.Join(fmt.Errorf("metrics: %w", err), unlisten(path, statusFD, -1))
		}
	}
	return statusFD, metricsFD, nil
}

const (
	dnsPort   = 53
	dialLimit = 5 * time.Second
)

// unlisten closes these sockets, and removes the status socket's file.
func unlisten(path string, fds ...int) error {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if path == "" {
		return nil
	}
	return os.Remove(path)
}
