package stock_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
)

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// wireguardGo is where shared/lab/setup.sh puts it.
var wireguardGo, _ = filepath.Abs("../../../../.cache/wireguard-go/wireguard")

// A stock is a wireguard-go on a host of the lab.
type stock struct {
	*netlab.Host
	dev string
	p   *netlab.Process
}

// stockAt starts a wireguard-go with addresses, and gives it settings in the form of
// 'wg setconf'.
func stockAt(t *testing.T, h *netlab.Host, dev, settings string, addrs ...string) *stock {
	t.Helper()
	s := &stock{Host: h, dev: dev}
	_, err := os.Stat(wireguardGo)
	require.NoError(t, err, "type: make setup")
	s.p = h.Start(t, "env", "LOG_LEVEL=verbose", wireguardGo, "-f", dev)
	s.p.WaitLog(t, "UAPI listener started")
	s.set(t, settings)
	for _, a := range addrs {
		h.Run(t, "ip", "address", "add", a, "dev", dev)
	}
	h.Run(t, "ip", "link", "set", dev, "mtu", "1420", "up")
	return s
}

// set replaces its settings.
func (s *stock) set(t *testing.T, settings string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "wg.conf")
	require.NoError(t, os.WriteFile(file, []byte(settings), 0o600))
	s.Run(t, "wg", "setconf", s.dev, file)
}

// show returns a field of 'wg show DEV dump' about the only peer: 4 is the time of the last
// handshake, 5 and 6 are the bytes received and sent.
func (s *stock) show(t *testing.T, field int) string {
	t.Helper()
	lines := strings.Split(s.Run(t, "wg", "show", s.dev, "dump"), "\n")
	fields := strings.Split(lines[1], "\t")
	return fields[field]
}

// interfaceOf and peerOf return sections of its settings.
func interfaceOf(key noise.PrivateKey, more string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\n%s\n", noise.FormatKey(key), more)
}

func peerOf(key noise.PublicKey, psk *[noise.KeyLen]byte, more string) string {
	if psk != nil {
		more += "\nPresharedKey = " + noise.FormatKey(*psk)
	}
	return fmt.Sprintf("[Peer]\nPublicKey = %s\n%s\n", noise.FormatKey(key), more)
}
