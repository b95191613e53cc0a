package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// The wire, and the steps of this course.

var wire = contender{
	name:  "plain wire",
	about: "no VPN",
	up: func(_ context.Context, t *tunnel) error {
		t.addr = t.lab.server
		return nil
	},
}

var step3 = contender{
	name:  "step 3",
	about: "a tunnel in the clear",
	up: func(ctx context.Context, t *tunnel) error {
		t.addr = "10.9.0.1"
		if err := t.startServer("../step3-tunnel/bin/server", "-addr", "10.9.0.1/24"); err != nil {
			return err
		}
		if err := t.server.logged(ctx, "tunnel is up"); err != nil {
			return err
		}
		between := func() error {
			if err := t.client.logged(ctx, "tunnel is up"); err != nil {
				return err
			}
			return t.forward("vpn0")
		}
		return t.startClient(ctx, between, "../step3-tunnel/bin/client", "-addr", "10.9.0.2/24", "-server", t.lab.server+":5555")
	},
}

var step4 = contender{
	name:  "step 4",
	about: "AES-256-GCM, one packet a system call",
	up: func(ctx context.Context, t *tunnel) error {
		t.addr = "10.9.0.1"
		key := filepath.Join(t.dir, "vpn.key")
		if _, err := server.run("../step4-crypto/bin/keygen", "-out", key); err != nil {
			return err
		}
		if err := t.startServer("../step4-crypto/bin/server", "-key", key, "-addr", "10.9.0.1/24"); err != nil {
			return err
		}
		if err := t.server.logged(ctx, "tunnel is up"); err != nil {
			return err
		}
		between := func() error {
			if err := t.client.logged(ctx, "tunnel is up"); err != nil {
				return err
			}
			return t.forward("vpn0")
		}
		return t.startClient(ctx, between, "../step4-crypto/bin/client", "-key", key, "-addr", "10.9.0.2/24", "-server", t.lab.server+":5555")
	},
}

var step7 = contender{
	name:  "step 7",
	about: "many clients, one packet a system call",
	up: func(ctx context.Context, t *tunnel) error {
		t.addr = "10.8.0.1"
		at := func(name string) string { return filepath.Join(t.dir, name) }
		for _, args := range [][]string{
			{"init", "-key", at("server.key"), "-registry", at("authorized_clients")},
			{"add", "alice", "-key", at("server.key"), "-registry", at("authorized_clients"), "-server", t.lab.server + ":5555", "-out", at("alice.conf")},
		} {
			if _, err := server.run(append([]string{"../step7-auth/bin/clients"}, args...)...); err != nil {
				return err
			}
		}
		if err := t.startServer("../step7-auth/bin/server", "-key", at("server.key"), "-registry", at("authorized_clients"),
			"-leases", at("leases"), "-dns", t.lab.web); err != nil {
			return err
		}
		if err := t.server.logged(ctx, "server is up"); err != nil {
			return err
		}
		return t.startClient(ctx, nil, "../step7-auth/bin/client", "-profile", at("alice.conf"))
	},
}

var step8 = contender{
	name:  "step 8",
	about: "stepvpn as it is installed",
	up: func(ctx context.Context, t *tunnel) error {
		if err := t.stepvpnServer(ctx, 1, ""); err != nil {
			return err
		}
		return t.stepvpnClient(ctx)
	},
}

// byWireGuard has the longest packets that fit into 1,500 bytes, as wireguard-go has here.
var byWireGuard = contender{
	name:  "step 8 by WG",
	about: "stepvpn at both ends, by the WireGuard protocol, MTU 1440",
	up: func(ctx context.Context, t *tunnel) error {
		if err := t.stepvpnServer(ctx, 1, "wireguard = true\nmtu = 1440\n"); err != nil {
			return err
		}
		file := filepath.Join(t.dir, "phone.conf")
		if _, err := server.run(stepvpn, "clients", "add", "phone", "-wireguard", "-settings", filepath.Join(t.dir, "server", "server.toml"),
			"-server", t.lab.server+":5555", "-out", file); err != nil {
			return err
		}
		if text, err := os.ReadFile(file); err != nil || !bytes.Contains(text, []byte("MTU = 1440\n")) {
			return fmt.Errorf("the client's file has another MTU (%v)", err)
		}
		return t.startClient(ctx, nil, stepvpn, "client", file)
	},
}

// stepvpn is the program under test; it can be another build of it.
var stepvpn = "bin/stepvpn"

// stepvpnServer writes the settings of a server with room for this many clients, and with more
// lines, and starts it.
func (t *tunnel) stepvpnServer(ctx context.Context, room int, more string) error {
	dir := filepath.Join(t.dir, "server")
	if _, err := server.run(stepvpn, "init", "server", "-dir", dir, "-subnets", "10.8.0.1/16,fd00:8::1/64"); err != nil {
		return err
	}
	if _, err := server.run(stepvpn, "clients", "add", "alice", "-registry", filepath.Join(dir, "clients"),
		"-key", filepath.Join(dir, "server.key"), "-server", t.lab.server+":5555", "-out", filepath.Join(t.dir, "alice.toml")); err != nil {
		return err
	}
	if err := replaceIn(filepath.Join(dir, "server.toml"), "reach = []", `reach = ["server"]`); err != nil { // iperf3's runs there
		return err
	}
	if err := appendTo(filepath.Join(dir, "server.toml"), fmt.Sprintf("max_clients = %d\ndns_upstreams = [%q]\n", max(room, 250), t.lab.web)+more); err != nil {
		return err
	}
	t.addr = "10.8.0.1"
	if err := t.startServer(stepvpn, "server", filepath.Join(dir, "server.toml")); err != nil {
		return err
	}
	return t.server.logged(ctx, "server is up")
}

// stepvpnClient starts the client whose file stepvpnServer has made.
func (t *tunnel) stepvpnClient(ctx context.Context) error {
	return t.startClient(ctx, nil, stepvpn, "client", filepath.Join(t.dir, "alice.toml"))
}

func replaceIn(file, old, new string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, bytes.Replace(text, []byte(old), []byte(new), 1), 0o644)
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err2 := f.Close(); err == nil {
		err = err2
	}
	return err
}
