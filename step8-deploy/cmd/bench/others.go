package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Other VPNs, each with its fast settings, and with the longest packets that fit into 1,500
// bytes.

var wireguard = contender{
	name:  "wireguard-go",
	about: "golang.zx2c4.com/wireguard, MTU 1440",
	needs: []string{wireguardProgram},
	up: func(ctx context.Context, t *tunnel) error {
		var keys [2]*ecdh.PrivateKey
		for i := range keys {
			var err error
			if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
				return err
			}
		}
		t.addr = "10.9.0.1"
		own := func(i int) string {
			return fmt.Sprintf("set=1\nprivate_key=%x\n", keys[i].Bytes())
		}
		peer := func(i int) string {
			return fmt.Sprintf("public_key=%x\nallowed_ip=%s\n", keys[i].PublicKey().Bytes(), []string{"0.0.0.0/0", "10.9.0.2/32"}[i])
		}
		if err := t.startServer("env", "LOG_LEVEL=error", wireguardProgram, "-f", "wg0"); err != nil {
			return err
		}
		if err := configure(ctx, t.server, own(0)+"listen_port=5555\n"+peer(1)); err != nil {
			return err
		}
		if err := server.all("ip address add 10.9.0.1/24 dev wg0\nip link set wg0 mtu 1440 up"); err != nil {
			return err
		}
		return t.startClient(ctx, func() error {
			if err := configure(ctx, t.client, own(1)+peer(0)+"endpoint="+t.lab.server+":5555\n"); err != nil {
				return err
			}
			if err := alice.all("ip address add 10.9.0.2/24 dev wg0\nip link set wg0 mtu 1440 up"); err != nil {
				return err
			}
			return t.forward("wg0")
		}, "env", "LOG_LEVEL=error", wireguardProgram, "-f", "wg0")
	},
}

// wireguardProgram is where bench.sh installs it.
var wireguardProgram, _ = filepath.Abs("../.cache/wireguard-go/wireguard")

// configure tells a wireguard-go its settings (see the WireGuard "cross-platform
// userspace interface").
func configure(ctx context.Context, p *process, settings string) error {
	// The socket is in the host's own /run.
	socket := fmt.Sprintf("/proc/%d/root/run/wireguard/wg0.sock", p.cmd.Process.Pid)
	var conn net.Conn
	err := waitFor(ctx, 10*time.Second, "wireguard-go takes settings", func() (ok bool) {
		var err error
		conn, err = net.Dial("unix", socket)
		return err == nil
	}, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(settings + "\n")); err != nil {
		return err
	}
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	if err != nil || strings.TrimSpace(string(answer[:n])) != "errno=0" {
		return fmt.Errorf("wireguard-go says %q to its settings, %v", answer[:n], err)
	}
	return nil
}

var openvpn = contender{
	name:  "OpenVPN",
	about: "2.6, UDP, AES-256-GCM, in user space",
	needs: []string{"openvpn", "openssl"},
	up: func(ctx context.Context, t *tunnel) error {
		t.addr = "10.9.0.1"
		common := "dev ovpn0\ndev-type tun\ntopology subnet\nverb 1\ndh none\n" +
			"disable-dco\ndata-ciphers AES-256-GCM\ncipher AES-256-GCM\n" +
			"tun-mtu 1448\nmssfix 0\nsndbuf 4194304\nrcvbuf 4194304\ntxqueuelen 1000\nfast-io\n"
		fingerprint := make(map[host]string)
		for _, h := range []host{server, alice} {
			key, cert := t.path(h, "key"), t.path(h, "crt")
			if _, err := h.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
				"-nodes", "-days", "3650", "-subj", "/CN="+string(h), "-keyout", key, "-out", cert); err != nil {
				return err
			}
			out, err := h.run("openssl", "x509", "-in", cert, "-noout", "-sha256", "-fingerprint")
			if err != nil {
				return err
			}
			fingerprint[h] = strings.TrimSpace(out[strings.Index(out, "=")+1:])
		}
		own := func(h host) string { return fmt.Sprintf("key %s\ncert %s\n", t.path(h, "key"), t.path(h, "crt")) }
		conf, err := t.file("server.conf", common+own(server)+
			"server 10.9.0.0 255.255.255.0\nport 5555\nproto udp4\npeer-fingerprint "+fingerprint[alice]+"\n")
		if err != nil {
			return err
		}
		if err := t.startServer("openvpn", "--config", conf); err != nil {
			return err
		}
		if err := t.server.logged(ctx, "Initialization Sequence Completed"); err != nil {
			return err
		}
		conf, err = t.file("client.conf", common+own(alice)+
			"client\nnobind\nproto udp4\nremote "+t.lab.server+" 5555\npeer-fingerprint "+fingerprint[server]+"\n")
		if err != nil {
			return err
		}
		if err := t.startClient(ctx, nil, "openvpn", "--config", conf); err != nil {
			return err
		}
		return t.forward("ovpn0")
	},
}

func (t *tunnel) path(h host, kind string) string {
	return filepath.Join(t.dir, fmt.Sprintf("%s.%s", h, kind))
}

var tinc = contender{
	name:  "tinc",
	about: "1.0, UDP, AES-256-CBC with HMAC-SHA256",
	needs: []string{"tincd", "openssl"},
	up: func(ctx context.Context, t *tunnel) error {
		t.addr = "10.9.0.1"
		up := map[host]string{
			server: "ip address add 10.9.0.1/24 dev tinc0",
			alice:  "ip address add 10.9.0.2/24 dev tinc0",
		}
		subnets := map[host]string{
			server: "Address = " + t.lab.server + " 5555\nSubnet = 0.0.0.0/0\n",
			alice:  "Subnet = 10.9.0.2/32\n",
		}
		private := regexp.MustCompile(`(?s)-----BEGIN RSA PRIVATE.*`)
		for _, h := range []host{server, alice} {
			key, err := h.run("openssl", "genrsa", "-traditional", "2048")
			if err != nil {
				return err
			}
			if key = private.FindString(key); key == "" {
				return fmt.Errorf("openssl made no key")
			}
			file := filepath.Join(t.dir, string(h))
			if err := os.MkdirAll(filepath.Join(file, "hosts"), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(file, "rsa_key.priv"), []byte(key), 0o600); err != nil {
				return err
			}
			public, err := h.run("openssl", "rsa", "-in", filepath.Join(file, "rsa_key.priv"), "-RSAPublicKey_out")
			if err != nil {
				return err
			}
			public = public[strings.Index(public, "-----BEGIN"):]
			subnets[h] += "Cipher = aes-256-cbc\nDigest = sha256\nMACLength = 16\nCompression = 0\n" + public
		}
		for _, h := range []host{server, alice} {
			conf := "Name = " + string(h) + "\nInterface = tinc0\nAddressFamily = ipv4\nUDPRcvBuf = 4194304\nUDPSndBuf = 4194304\nPort = 5555\n"
			if h == alice {
				conf += "ConnectTo = server\n"
			}
			for name, content := range map[string]string{
				"tinc.conf":    conf,
				"tinc-up":      "#!/bin/sh\n" + up[h] + "\nip link set tinc0 mtu 1416 up\n",
				"hosts/alice":  subnets[alice],
				"hosts/server": subnets[server],
			} {
				if err := os.WriteFile(filepath.Join(t.dir, string(h), name), []byte(content), 0o700); err != nil {
					return err
				}
			}
		}
		run := func(h host) []string {
			return []string{"tincd", "-D", "-d3", "-c", filepath.Join(t.dir, string(h)), "--pidfile=" + t.path(h, "pid")}
		}
		if err := t.startServer(run(server)...); err != nil {
			return err
		}
		if err := t.server.logged(ctx, "Ready"); err != nil {
			return err
		}
		if err := t.startClient(ctx, nil, run(alice)...); err != nil {
			return err
		}
		// Until tinc knows the path's MTU, it may send packets over TCP.
		for _, p := range []*process{t.server, t.client} {
			waitFor(ctx, 10*time.Second, "the path's MTU", func() bool {
				out, _ := os.ReadFile(p.log)
				return strings.Contains(string(out), "Fixing MTU")
			}, p)
		}
		return t.forward("tinc0")
	},
}
