package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A contender is a VPN to measure.
type contender struct {
	name  string
	about string   // its version and its settings, for readers of the results
	needs []string // programs

	// up starts the VPN, and records in the tunnel what it has started.
	up func(ctx context.Context, t *tunnel) error
}

// A tunnel is a running contender, or the plain wire.
type tunnel struct {
	dir  string // for its files, emptied each time
	lab  addresses
	addr string // of the server in the tunnel

	server, client *process // nil: the wire
	connect        time.Duration

	undo []func()
}

// addresses are those of the lab's hosts.
type addresses struct{ server, web string }

// missing returns why the contender can't be measured here, or nil.
func (c *contender) missing() error {
	for _, program := range c.needs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no %s", filepath.Base(program))
		}
	}
	return nil
}

// start starts the contender and waits until it carries packets. The caller must close the
// tunnel, even after an error.
func (c *contender) start(ctx context.Context, dir string, lab addresses) (*tunnel, error) {
	t := &tunnel{dir: dir, lab: lab}
	if err := os.RemoveAll(dir); err != nil {
		return t, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return t, err
	}
	if err := c.up(ctx, t); err != nil {
		return t, fmt.Errorf("%s: %w", c.name, err)
	}
	return t, nil
}

func (t *tunnel) close() {
	for i := range t.undo {
		t.undo[len(t.undo)-1-i]()
	}
}

// file writes a file for the contender and returns its name.
func (t *tunnel) file(name, content string) (string, error) {
	path := filepath.Join(t.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}

// startServer starts the server's process.
func (t *tunnel) startServer(args ...string) (err error) {
	t.server, err = server.start(t.dir, "server", args...)
	if err == nil {
		t.undo = append(t.undo, t.server.stop)
	}
	return err
}

// startClient starts the client's process, and waits until the tunnel carries packets.
// between, if set, configures what the client does not configure itself.
func (t *tunnel) startClient(ctx context.Context, between func() error, args ...string) (err error) {
	begin := time.Now()
	if t.client, err = alice.start(t.dir, "client", args...); err != nil {
		return err
	}
	t.undo = append(t.undo, t.client.stop)
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	err = waitFor(ctx, 20*time.Second, "the tunnel carries packets", func() bool { return answers(t.addr) }, t.client, t.server)
	t.connect = time.Since(begin)
	return err
}

// forward makes the server host let the tunnel's packets out under its own address, and alice
// send packets for web into the tunnel. It is for contenders that don't do so themselves.
func (t *tunnel) forward(device string) error {
	nat := "POSTROUTING -t nat -s 10.9.0.0/24 -o eth0 -j MASQUERADE"
	t.undo = append(t.undo, func() { server.all("iptables -D " + nat) })
	if err := server.all("sysctl -q net.ipv4.ip_forward=1\niptables -A " + nat); err != nil {
		return err
	}
	return alice.all("ip route replace " + t.lab.web + " dev " + device) // the route goes with the device
}
