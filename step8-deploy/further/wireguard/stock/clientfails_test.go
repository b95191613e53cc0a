package stock_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/lab/zone"
	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
)

// These tests have things go wrong.

// Whichever program is killed, nothing leaves alice except through the tunnel, and everything
// comes back by itself. 'recover' puts back what nothing else will.
func TestClientKilled(t *testing.T) {
	w := newWorld(t)
	before := state(t, w.Alice)
	capture := w.strays(t)
	w.use()
	require.Greater(t, len(capture.Stop()), 3, "the search for strays finds them")
	w.serve(t)
	file := w.write(t, "DNS = "+serverV4, w.everything())
	client := w.client(t, file)
	w.seenAs(t, w.Server.V4)

	capture = w.strays(t)
	w.end(t)
	w.use()
	require.Empty(t, w.whoami(w.Web.V4))
	w.serve(t)
	w.seenAs(t, w.Server.V4)

	client.Kill()
	client.Wait(t)
	w.use()
	require.Empty(t, w.whoami(w.Web.V4))
	client = w.client(t, file)
	w.seenAs(t, w.Server.V4)
	client.Kill()
	client.Wait(t)
	w.use()
	require.Empty(t, capture.Stop())
	w.Alice.Run(t, netlab.Program("stepvpn"), "recover")
	require.Equal(t, before, state(t, w.Alice))
	require.Equal(t, w.Alice.V4.String(), w.whoami(w.Web.V4))
}

// A pause of the kill switch ends when there is a session. A worker that is killed is started again,
// and meanwhile nothing leaves past the tunnel.
func TestClientPausedAndWithoutWorker(t *testing.T) {
	w := newWorld(t)
	client := w.start(t, w.write(t, "DNS = "+serverV4, w.everything()))
	client.WaitLog(t, "client is connecting")
	require.Empty(t, w.whoami(w.Web.V4))
	w.Alice.Run(t, netlab.Program("stepvpn"), "pause", "5m")
	w.seenAs(t, w.Alice.V4)
	w.serve(t)
	w.seenAs(t, w.Server.V4)
	client.WaitLog(t, "the kill switch is not paused any more")

	capture := w.strays(t)
	worker := w.Alice.Run(t, "pgrep", "-f", "-P", fmt.Sprint(client.Pid()), "stepvpn worker")
	w.Alice.Run(t, "kill", "-9", strings.TrimSpace(worker))
	w.use()
	w.seenAs(t, w.Server.V4)
	require.NotEqual(t, worker, w.Alice.Run(t, "pgrep", "-f", "-P", fmt.Sprint(client.Pid()), "stepvpn worker"))
	require.Empty(t, capture.Stop())
}

// toml writes settings of ours that name a WireGuard file.
func (w *world) toml(t *testing.T, file, more string) string {
	t.Helper()
	name := filepath.Join(w.dir, "client.toml")
	require.NoError(t, os.WriteFile(name, fmt.Appendf(nil, "kind = \"client\"\nwireguard = %q\n%s\n", filepath.Base(file), more), 0o600))
	return name
}

// Settings of ours may name the file. Without a kill switch, everything leaves in the clear while
// there is no session.
func TestClientWithoutKillSwitch(t *testing.T) {
	w := newWorld(t)
	before := state(t, w.Alice)
	w.serve(t)
	client := w.client(t, w.toml(t, w.write(t, "", w.everything()), "kill_switch = false\ndns = false"))
	w.seenAs(t, w.Server.V4)
	w.end(t)
	w.seenAs(t, w.Alice.V4)
	w.serve(t)
	w.seenAs(t, w.Server.V4)
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	require.Equal(t, before, state(t, w.Alice))
}

// A server that is named is looked up outside of the tunnel, and again when it does not answer.
// A download goes on when alice gets another address.
func TestClientOfServerThatMoves(t *testing.T) {
	w := newWorld(t)
	names := w.Cafe.ServeDNS(t)
	lead := func(to netip.Addr) {
		names.Answer(func(q zone.Query) *dns.Msg {
			m := new(dns.Msg).SetReply(q.Msg)
			if q.Msg.Question[0].Qtype == dns.TypeA {
				rr, err := dns.NewRR(fmt.Sprintf("vpn.example. 1 IN A %v", to))
				require.NoError(t, err)
				m.Answer = []dns.RR{rr}
			}
			return m
		})
	}
	lead(w.Server.V4)
	w.serve(t)
	client := w.client(t, w.write(t, "", peerOf(w.keys.Public(), w.psk, fmt.Sprintf("AllowedIPs = 0.0.0.0/0\nEndpoint = vpn.example:%d", port))))
	w.seenAs(t, w.Server.V4)

	const size = 6_000_000
	got := filepath.Join(w.dir, "file")
	w.Alice.Start(t, "curl", "-sS", "--limit-rate", "1500k", "-o", got, fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, size))
	has := func(n int64) func() bool {
		return func() bool { info, err := os.Stat(got); return err == nil && info.Size() >= n }
	}
	netlab.Eventually(t, limit, "the download has begun", has(1))
	w.Alice.Run(t, "bash", "-c", fmt.Sprintf("ip -4 address flush dev eth0; ip -4 address add 198.51.100.77/24 dev eth0; ip -4 route add default via %v", w.Cafe.V4))
	require.False(t, has(size)(), "it has not ended before")
	netlab.Eventually(t, limit, "the download is complete", has(size))
	require.Equal(t, site.Hash(size), strings.Fields(w.Alice.Run(t, "sha256sum", got))[0])
	require.Contains(t, w.Server.Run(t, "wg", "show", "wg0", "endpoints"), "198.51.100.77:", "the server has followed")

	capture := w.Cafe.Capture(t, "br0", fmt.Sprintf("src host 198.51.100.77 and not udp dst port %d and not udp dst port 53 and not arp and not tcp dst port 53", port))
	w.end(t)
	lead(w.Internet.V4)
	w.stock = stockAt(t, w.Internet, "wg1", w.settings(), serverV4+"/24")
	w.Internet.Run(t, "bash", "-c", `nft -f - <<<'table ip nat { chain post { type nat hook postrouting priority srcnat; oifname web0 masquerade; }; }'`)
	w.Internet.Run(t, "ip", "route", "add", aliceV4+"/32", "dev", "wg1")
	netlab.Eventually(t, 2*limit, "alice has found the server again", func() bool { return w.whoami(w.Web.V4) == "203.0.113.65" })
	w.whoami(w.Web.V6) // which is refused, as the tunnel carries no IPv6
	require.Empty(t, capture.Stop())
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
}

// A session begins, and begins again when the server was restarted, on a path that loses 30 of
// 100 packets in each direction; and a download is complete.
func TestClientOnLossyPath(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	w.Internet.Run(t, "bash", "-c", fmt.Sprintf(`nft -f - <<<'table inet loss { chain f { type filter hook forward priority 0;
		udp dport %[1]d numgen random mod 10 < 3 counter drop; udp sport %[1]d numgen random mod 10 < 3 counter drop; }; }'`, port))
	client := w.client(t, w.write(t, "", w.everything()))
	fetch := func(size int64) {
		t.Helper()
		got := filepath.Join(w.dir, "file")
		netlab.Eventually(t, 2*limit, "the file is complete", func() bool {
			w.Alice.Try("curl", "-sS", "--max-time", "20", "-o", got, fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, size))
			info, err := os.Stat(got)
			return err == nil && info.Size() == size
		})
		require.Equal(t, site.Hash(size), strings.Fields(w.Alice.Run(t, "sha256sum", got))[0])
	}
	fetch(10_000)
	w.end(t)
	w.serve(t)
	fetch(10_001)
	require.NotContains(t, w.Internet.Run(t, "nft", "list", "table", "inet", "loss"), "packets 0 ", "packets were lost in both directions")
	require.False(t, client.Ended())
}

// While a flood of initiations, whose senders know the server's public key, keeps the server busy,
// it answers ours with a cookie; and our next one, which has it, gets a session.
func TestClientOfServerUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	cookies := w.Cafe.Capture(t, "br0", fmt.Sprintf("udp src port %d and dst host %v and udp[8] = 3", port, w.Alice.V4))
	sent := w.Cafe.Capture(t, "br0", fmt.Sprintf("udp dst port %d and src host %v and udp[8] = 1", port, w.Alice.V4))

	stop := make(chan struct{})
	var flood sync.WaitGroup
	defer flood.Wait()
	defer close(stop)
	var conn *net.UDPConn
	var err error
	w.Bob.Do(func() {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.Server.V4, port)))
	})
	require.NoError(t, err)
	defer conn.Close()
	// They are made beforehand: they must come faster than the server can look at them.
	messages := initiations(w.keys.Public(), 1500) // more than the server's queue holds
	send := func() {
		for _, m := range messages {
			conn.Write(m) // an error means that the sending queue is full
		}
	}
	netlab.Eventually(t, limit, "the server sends cookies", func() bool {
		send()
		conn.SetReadDeadline(time.Now().Add(time.Second))
		reply := make([]byte, 2048)
		n, err := conn.Read(reply)
		return err == nil && n == 64 && reply[0] == 3
	})
	flood.Go(func() {
		for tick := time.Tick(100 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick:
				send()
			}
		}
	})
	client := w.client(t, w.write(t, "", w.everything()))
	w.seenAs(t, w.Server.V4)
	require.NotEmpty(t, cookies.Stop(), "the server was busy when alice asked")
	require.Greater(t, len(sent.Stop()), 1, "alice has asked once more")
	require.NotContains(t, client.Log(), "no answer")
}

// A wrong pre-shared key, and a server that does not answer, are told apart. A mistake in the file
// does not end a client that runs, and another file takes effect without a restart.
func TestClientReload(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	wrong := peerOf(w.keys.Public(), &[noise.KeyLen]byte{1}, fmt.Sprintf("AllowedIPs = 0.0.0.0/0\nEndpoint = %v:%d", w.Server.V4, port))
	file := w.write(t, "", wrong)
	client := w.start(t, file)
	netlab.Eventually(t, limit, "the status says what is wrong", func() bool {
		return strings.Contains(w.report(t).Reason, "the pre-shared key is not the one that the server has for this client")
	})

	require.NoError(t, os.WriteFile(file, []byte("[Interface]\nPostUp = halt\n"), 0o600))
	client.Signal(syscall.SIGHUP)
	client.WaitLog(t, "the settings stay as they are")
	require.Contains(t, client.Log(), "alice.conf:2: PostUp is a command, and this program runs none")

	capture := w.strays(t)
	w.write(t, "DNS = "+serverV4, w.everything())
	client.Signal(syscall.SIGHUP)
	w.seenAs(t, w.Server.V4)
	w.seenAs(t, w.Server.V6)
	require.Contains(t, w.Alice.Run(t, "cat", "/etc/resolv.conf"), "nameserver "+serverV4)
	w.use()

	stranger := peerOf(noise.GenerateKey().Public(), w.psk, fmt.Sprintf("AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = %v:%d", w.Server.V4, port))
	w.write(t, "", stranger)
	client.Signal(syscall.SIGHUP)
	netlab.Eventually(t, limit, "the status says what is wrong", func() bool {
		return strings.Contains(w.report(t).Reason, "no answer: the server does not run, does not know this client")
	})
	require.Empty(t, w.whoami(w.Web.V4))
	w.use()
	require.Empty(t, capture.Stop())
}

// What is wrong with a file is said in a line for each mistake, without a key.
func TestClientRefusesFile(t *testing.T) {
	w := newWorld(t)
	file := w.write(t, "Table = 7", w.everything())
	client := w.start(t, file)
	require.Equal(t, 1, client.Wait(t))
	require.Contains(t, client.Log(), "alice.conf:4: Table is not honoured")
	require.NoError(t, os.Chmod(file, 0o644))
	client = w.start(t, file)
	require.Equal(t, 1, client.Wait(t))
	require.Contains(t, client.Log(), "may be read or changed by users other than its owner")
	require.False(t, bytes.Contains([]byte(client.Log()), []byte(noise.FormatKey(w.alice))))
}
