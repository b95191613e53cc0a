package bench

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"stepvpn/shared/netlab"
)

// wireguard starts a tunnel of wireguard-go.
func wireguard(b *testing.B, lab *netlab.Lab) *contender {
	var keys [2]*ecdh.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
	c := &contender{name: "wireguard-go", addr: "10.7.0.1"}
	for i, h := range []*netlab.Host{lab.Server, lab.Alice} {
		dev := fmt.Sprintf("wg%d", i)
		p := h.Start(b, "env", "LOG_LEVEL=error", "wireguard-go", "-f", dev)
		config := fmt.Sprintf("set=1\nprivate_key=%x\npublic_key=%x\n", keys[i].Bytes(), keys[1-i].PublicKey().Bytes())
		if i == 0 {
			config += "allowed_ip=10.7.0.2/32\n"
			config = strings.Replace(config, "public_key", "listen_port=5557\npublic_key", 1)
		} else {
			config += fmt.Sprintf("allowed_ip=10.7.0.1/32\nendpoint=%v:5557\n", lab.Server.V4)
		}
		tell(b, "/var/run/wireguard/"+dev+".sock", config)
		h.Run(b, "ip", "address", "add", fmt.Sprintf("10.7.0.%d/24", i+1), "dev", dev)
		h.Run(b, "ip", "link", "set", dev, "mtu", "1420", "up")
		c.processes = append(c.processes, p)
	}
	return ready(b, lab, c)
}

// tell configures a wireguard-go (see the WireGuard "cross-platform userspace
// interface").
func tell(b *testing.B, socket, config string) {
	netlab.Eventually(b, limit, socket, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(config + "\n")); err != nil {
		b.Fatal(err)
	}
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	if err != nil || strings.TrimSpace(string(answer[:n])) != "errno=0" {
		b.Fatalf("wireguard-go: %q, %v", answer[:n], err)
	}
}
