package step8_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/status"
)

// notes waits until alice's client is up, and returns its notes about the host.
func (w *world) notes(t *testing.T) string {
	t.Helper()
	w.says(t, status.Up, "")
	return strings.Join(w.report(t, w.Alice, "alice.sock").Notes, "\n")
}

// leaves reports whether alice's packets to an address get into the cafe.
func (w *world) leaves(t *testing.T, to string) bool {
	t.Helper()
	capture := w.Cafe.Capture(t, "br0", "(icmp or icmp6) and dst host "+to+" and ether src "+w.mac(t))
	w.Alice.Try("ping", "-c1", "-W1", to)
	w.Alice.Try("ping", "-c1", "-W1", "-I", "eth0", to)
	for _, line := range capture.Stop() {
		if strings.Contains(line, "> "+to) {
			return true
		}
	}
	return false
}

// If IPv6 is switched off, IPv4 works, and status says so. Nothing leaves by IPv6 from the
// devices that still have it. IPv6 may be switched off and on at any time, and no connection
// is lost.
func TestNoIPv6(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		leaky      bool // eth0 goes on with IPv6
	}{{"everywhere", "all", false}, {"on new devices", "default", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice")
			w.server(t)
			web6 := w.Web.V6.String()
			require.True(t, w.leaves(t, web6), "the detector")
			w.Alice.Write(t, "ipv6/conf/"+c.conf+"/disable_ipv6", "1")
			require.Equal(t, c.leaky, w.leaves(t, web6))
			before := state(t, w.Alice)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			require.Contains(t, w.Alice.Run(t, "curl", "-4sS", "http://web.example/whoami"), w.Server.V4.String())
			require.Contains(t, w.notes(t), "IPv6 is switched off")
			require.False(t, w.leaves(t, web6))
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice))
		})
	}
	t.Run("meanwhile", func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "alice")
		w.server(t)
		client := w.client(t)
		both := func() bool {
			return w.whoami(w.Web.V6) == w.Server.V6.String() && w.whoami(w.Web.V4) == w.Server.V4.String()
		}
		netlab.Eventually(t, limit, "both families pass", both)
		index := func() string {
			n, _, _ := strings.Cut(w.Alice.Run(t, "ip", "-o", "link", "show", "vpn0"), ":")
			return n
		}
		first := index()
		w.Alice.Write(t, "ipv6/conf/vpn0/disable_ipv6", "1")
		netlab.Eventually(t, limit, "it is noticed", func() bool {
			return strings.Contains(w.Alice.Run(t, netlab.Program("stepvpn"), "status", "-socket", w.path("alice.sock")), "note: IPv6 is switched off")
		})
		w.seenAs(t, w.Server.V4.String())
		require.False(t, w.leaves(t, w.Web.V6.String()))
		w.Alice.Write(t, "ipv6/conf/vpn0/disable_ipv6", "0")
		netlab.Eventually(t, limit, "both families pass again", both)
		require.Equal(t, first, index(), "it is the same device")
		require.LessOrEqual(t, strings.Count(client.Log(), "could not be put back"), 1, "the addresses go a moment before the switch shows:\n%s", client.Log())
	})
}

// If the tunnel's own network hides a part of a network around this host, that part is named
// once, and nothing else.
func TestHiddenNetwork(t *testing.T) {
	for _, c := range []struct{ name, address, router, says, no string }{
		{"the same", "10.8.0.77/24", "10.8.0.254/24", "10.8.0.0/24 of the network 10.8.0.0/24 on eth0 is hidden", ""},
		{"wider", "10.3.4.5/8", "10.1.0.1/8", "10.8.0.0/24 of the network 10.0.0.0/8 on eth0 is hidden", ""},
		{"a part", "10.8.0.130/25", "10.8.0.129/25", "10.8.0.128/25 of the network 10.8.0.128/25 on eth0 is hidden", ""},
		{"another", "10.9.0.77/24", "10.9.0.254/24", "", "hidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice")
			w.server(t)
			router, _, _ := strings.Cut(c.router, "/")
			w.Cafe.Run(t, "bash", "-ec", "ip addr add "+c.router+" dev br0; iptables -t nat -A POSTROUTING -s 10.0.0.0/8 -o up0 -j MASQUERADE")
			w.Alice.Run(t, "bash", "-ec", "ip -4 addr flush dev eth0; ip addr add "+c.address+" dev eth0; ip route add default via "+router)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			notes := w.notes(t)
			if c.no != "" {
				require.NotContains(t, notes, c.no)
				return
			}
			require.Contains(t, notes, c.says)
			require.Equal(t, 1, strings.Count(client.Log(), c.says), client.Log())
		})
	}
}

// If resolv.conf can't be changed, the client connects nevertheless, and says what does not
// work and what to do: connections to addresses work, no other resolver is asked, and names
// work as soon as the file can be changed.
func TestNamesCantBeTakenOver(t *testing.T) {
	for _, c := range []struct{ name, make, end, reason string }{
		{"read-only", "mount --bind /etc /etc; mount -o remount,bind,ro /etc", "umount /etc", "read-only"},
		{"full /etc", "cp -a /etc /run/etc; mount -t tmpfs -o size=32k,mode=755 small /etc; cp -a /run/etc/resolv.conf /run/etc/hosts /run/etc/nsswitch.conf /run/etc/passwd /etc/; cat /dev/zero >/etc/fill || true",
			"rm /etc/fill", "no space left"},
		{"full state", "mkdir -p STATE; mount -t tmpfs -o size=16k,mode=700 small STATE; cat /dev/zero >STATE/fill || true", "rm STATE/fill", "no space left"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			names := w.Cafe.ServeDNS(t)
			w.add(t, "alice")
			w.server(t)
			sh := func(script string) {
				w.Alice.Run(t, "bash", "-ec", strings.ReplaceAll(script, "STATE", w.path("alice")))
			}
			before := w.Alice.Run(t, "cat", "/etc/resolv.conf")
			sh(c.make)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			r := w.says(t, "degraded", c.reason)
			require.Contains(t, r.Reason, "resolvers")
			require.NotEmpty(t, r.Cure)
			w.Alice.Try("getent", "ahosts", "secret.example")
			w.Alice.Try("dig", "+tries=1", "+time=1", "@"+w.Cafe.V4.String(), "secret.example")
			require.Empty(t, names.Questions(), "no other resolver is asked")
			require.True(t, w.resolves(netip.MustParseAddr("10.8.0.1")), "the tunnel's resolver answers")

			sh(c.end)
			w.says(t, status.Up, "")
			require.Contains(t, w.Alice.Run(t, "curl", "-4sS", "http://web.example/whoami"), w.Server.V4.String()[:8])
			require.Equal(t, 1, strings.Count(client.Log(), "names are not found"), "the log has it once:\n%s", client.Log())
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, w.Alice.Run(t, "cat", "/etc/resolv.conf"))
			w.Alice.Try("getent", "ahosts", "secret.example")
			require.NotEmpty(t, names.Questions(), "the detector")
		})
	}
}

// A client that was killed has left the tunnel's resolv.conf, and now it can't be put back.
// The next client starts nevertheless.
func TestNamesCantBePutBack(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	before := w.Alice.Run(t, "cat", "/etc/resolv.conf")
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	client.Kill()
	client.Wait(t)
	w.Alice.Run(t, "bash", "-ec", "mount --bind /etc /etc; mount -o remount,bind,ro /etc")
	client = w.client(t)
	w.seenAs(t, w.Server.V4.String())
	w.says(t, "degraded", "read-only")
	w.Alice.Run(t, "umount", "/etc")
	w.says(t, status.Up, "")
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	require.Equal(t, before, w.Alice.Run(t, "cat", "/etc/resolv.conf"))
}

// The host's resolver is a program on the host, which can't reach anybody while there is no
// tunnel. The client asks that resolver's nameservers for the server's name, and for no other.
func TestLocalResolver(t *testing.T) {
	for name, settings := range map[string]string{
		"command line": "--server=CAFE",
		"file":         "--conf-file=DIR/dnsmasq.conf",
		"list":         "--resolv-file=DIR/upstreams",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			names := w.Cafe.ServeDNS(t)
			w.add(t, "alice", "server", "vpn.example:5555")
			w.server(t)
			cafe := w.Cafe.V4.String()
			require.NoError(t, os.WriteFile(w.path("dnsmasq.conf"), []byte("# whom it asks\nserver="+cafe+"\n"), 0o644))
			require.NoError(t, os.WriteFile(w.path("upstreams"), []byte("nameserver "+cafe+"\n"), 0o644))
			args := []string{"--keep-in-foreground", "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file=", strings.NewReplacer("CAFE", cafe, "DIR", w.dir).Replace(settings)}
			if name != "list" {
				args = append(args, "--no-resolv")
			}
			if name != "file" {
				args = append(args, "--conf-file=/dev/null")
			}
			w.Alice.Start(t, "dnsmasq", args...)
			w.Alice.Run(t, "sh", "-c", "echo 'nameserver 127.0.0.1' >/etc/resolv.conf")
			finds := func(name string) bool { _, err := w.Alice.Try("getent", "ahosts", name); return err == nil }
			netlab.Eventually(t, limit, "dnsmasq answers", func() bool { return finds("vpn.example") })
			finds("secret.example")
			require.Contains(t, strings.Join(names.Questions(), "\n"), "secret.example", "the detector")
			before := state(t, w.Alice)
			asked := len(names.Questions())

			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			w.says(t, status.Up, "")
			require.Contains(t, w.Alice.Run(t, "curl", "-4sS", "http://web.example/whoami"), w.Server.V4.String()[:8])
			w.Alice.Try("dig", "+tries=1", "+time=1", "@127.0.0.1", "secret2.example")
			for _, q := range names.Questions()[asked:] {
				require.Contains(t, q, " vpn.example. ")
			}
			require.Greater(t, len(names.Questions()), asked)
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice))
		})
	}
	t.Run("none", func(t *testing.T) { // its nameservers are unknown
		w := newWorld(t)
		w.add(t, "alice", "server", "vpn.example:5555")
		w.Alice.Run(t, "sh", "-c", "echo 'nameserver 127.0.0.1' >/etc/resolv.conf")
		w.start(t)
		require.Contains(t, w.says(t, "waiting", "no nameserver is known").Cure, "put the server's address instead of its name")
	})
}

// Whatever has happened to the state of a client that was killed, the next client connects,
// says what it has found, and in the end puts this host back as it was.
func TestDamagedState(t *testing.T) {
	damages := map[string]string{
		"empty":   ": >FILE",
		"garbage": "head -c 3000 /dev/urandom >FILE",
		"half":    "head -c $(($(stat -c %s FILE) / 2)) FILE >FILE.x; mv FILE.x FILE",
		"folder":  "rm FILE; mkdir FILE; : >FILE/x",
		"symlink": "rm FILE; ln -s /nonexistent FILE",
		"gone":    "rm FILE",
		"open":    "chmod 666 FILE",
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice")
			w.server(t)
			before := state(t, w.Alice)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			client.Kill()
			client.Wait(t)
			files, err := filepath.Glob(w.path("alice/*"))
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(files), 4, "the switch, a journal, and two locks")
			for _, file := range files {
				w.Alice.Run(t, "bash", "-ec", strings.ReplaceAll(damage, "FILE", file))
			}
			client = w.client(t)
			w.seenAs(t, w.Server.V4.String())
			w.says(t, status.Up, "")
			require.Contains(t, client.Log(), "set aside")
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice))
		})
	}
	t.Run("a file", func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "alice")
		w.server(t)
		before := state(t, w.Alice)
		require.NoError(t, os.WriteFile(w.path("alice"), []byte("x"), 0o600))
		client := w.client(t)
		w.seenAs(t, w.Server.V4.String())
		w.says(t, status.Up, "")
		require.Contains(t, client.Log(), "set aside")
		client.Interrupt()
		require.Zero(t, client.Wait(t), client.Log())
		require.Equal(t, before, state(t, w.Alice))
	})
	t.Run("no room at first", func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "alice")
		w.server(t)
		w.Alice.Run(t, "bash", "-ec", "mkdir -p "+w.path("alice")+"; mount -t tmpfs -o size=4k,nr_inodes=1,mode=700 none "+w.path("alice"))
		w.client(t)
		w.seenAs(t, w.Server.V4.String())
		w.says(t, "degraded", "no space left")
	})
}

// Policy rules that come before the tunnel's, such as Tailscale's, go on working without a
// kill switch. With it, their packets are refused. Both are named, and the tunnel works.
func TestRulesOfOthers(t *testing.T) {
	for _, kill := range []bool{true, false} {
		t.Run(fmt.Sprintf("kill_switch=%v", kill), func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice", "kill_switch", kill)
			w.server(t)
			w.Alice.Run(t, "ip", "link", "add", "tailscale0", "type", "veth", "peer", "name", "peer0")
			guest := w.netns(t)
			w.Alice.Run(t, "bash", "-ec", `ip link set peer0 netns `+guest+`; ip link set tailscale0 up; ip addr add 100.64.0.1/32 dev tailscale0
				ip route add 100.64.0.0/10 dev tailscale0 table 52
				ip rule add priority 5210 fwmark 0x80000/0xff0000 lookup main
				ip rule add priority 5230 fwmark 0x80000/0xff0000 lookup default
				ip rule add priority 5250 fwmark 0x80000/0xff0000 unreachable
				ip rule add priority 5270 lookup 52
				nsenter -t `+guest+` -n bash -ec 'ip link set peer0 up; ip addr add 100.64.0.2/10 dev peer0'`)
			peer := func() bool { _, err := w.Alice.Try("ping", "-c1", "-W1", "100.64.0.2"); return err == nil }
			underlay := func() bool {
				seen := w.Cafe.Capture(t, "br0", "icmp and dst host "+w.Web.V4.String()+" and src host "+w.Alice.V4.String())
				w.Alice.Try("ping", "-m", "524288", "-c1", "-W1", w.Web.V4.String())
				return len(seen.Stop()) > 0
			}
			theirs := func() bool { return peer() && underlay() }
			netlab.Eventually(t, limit, "their networks are reached without the tunnel", theirs)
			before := state(t, w.Alice)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			if kill {
				require.False(t, peer())
				require.False(t, underlay())
			} else {
				netlab.Eventually(t, limit, "their networks are reached outside of the tunnel", theirs)
			}
			notes := w.notes(t)
			does := map[bool]string{true: "is refused by the kill switch", false: "goes outside of the tunnel"}[kill]
			for _, says := range []string{"rule 5210 (fwmark 0x80000/0xff0000)", "rule 5270", "100.64.0.0/10 by tailscale0", does} {
				require.Contains(t, notes, says)
			}
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice), "theirs are left alone")
			netlab.Eventually(t, limit, "their networks are reached after the tunnel", theirs)
		})
	}
}

// netns makes a network namespace behind alice, and returns the ID of a process in it.
func (w *world) netns(t *testing.T) string {
	t.Helper()
	p := w.Alice.Start(t, "unshare", "--net", "sleep", "1000")
	pid := strconv.Itoa(p.Pid())
	own := strings.TrimSpace(w.Alice.Run(t, "readlink", "/proc/self/ns/net"))
	netlab.Eventually(t, limit, "the namespace is there", func() bool {
		out, err := w.Alice.Try("readlink", "/proc/"+pid+"/ns/net")
		return err == nil && strings.TrimSpace(out) != own
	})
	return pid
}

// A container's traffic, including its DNS queries, which this host forwards, goes through the
// tunnel, or nowhere while there is none.
func TestContainerBehindTheClient(t *testing.T) {
	w := newWorld(t)
	names := w.Cafe.ServeDNS(t)
	w.add(t, "alice")
	server := w.server(t)
	guest := w.netns(t)
	for _, setting := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		w.Alice.Write(t, setting, "1")
	}
	w.Alice.Run(t, "bash", "-ec", `ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip addr add fd17::1/64 dev docker0 nodad; ip link set docker0 up
		ip link add vethc type veth peer name eth0 netns `+guest+`; ip link set vethc master docker0 up
		iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE; ip6tables -t nat -A POSTROUTING -s fd17::/64 ! -o docker0 -j MASQUERADE
		nsenter -t `+guest+` -n bash -ec 'ip link set lo up; ip addr add 172.17.0.2/16 dev eth0; ip addr add fd17::2/64 dev eth0 nodad; ip link set eth0 up; ip route add default via 172.17.0.1; ip -6 route add default via fd17::1'`)
	inside := func(command ...string) string {
		out, err := w.Alice.Try("nsenter", append([]string{"-t", guest, "-n"}, command...)...)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(out)
	}
	whoami := func(to netip.Addr) string {
		return inside("curl", "-sS", "--max-time", "3", "http://"+netip.AddrPortFrom(to, 80).String()+"/whoami")
	}
	dig := func(at string) string { return inside("dig", "+short", "+tries=2", "+time=2", "@"+at, "web.example") }
	all := func() {
		whoami(w.Web.V4)
		whoami(w.Web.V6)
		inside("ping", "-c1", "-W1", w.Web.V4.String())
		dig(w.Cafe.V4.String())
	}
	netlab.Eventually(t, limit, "without a VPN it is on the internet", func() bool {
		return whoami(w.Web.V4) == w.Alice.V4.String() && whoami(w.Web.V6) == w.Alice.V6.String()
	})
	capture := w.strays(t)
	all()
	require.Greater(t, len(capture.Stop()), 3, "the detector")
	asked := len(names.Questions())
	require.NotZero(t, asked)

	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	capture = w.strays(t)
	require.Equal(t, w.Server.V4.String(), whoami(w.Web.V4))
	require.Equal(t, w.Server.V6.String(), whoami(w.Web.V6))
	require.Equal(t, w.Web.V4.String(), dig("10.8.0.1"))
	all()
	server.Kill()
	server.Wait(t)
	all()
	client.Kill()
	client.Wait(t)
	all()
	require.Empty(t, whoami(w.Web.V4))
	require.Empty(t, capture.Stop())
	require.Len(t, names.Questions(), asked)
}

// A virtual machine that is bridged to this host's network is on that network by itself. The
// status names it. This host's own traffic goes through the tunnel.
func TestBridgedMachine(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	guest := w.netns(t)
	w.Alice.Run(t, "bash", "-ec", fmt.Sprintf(`ip link add br0 type bridge; ip addr flush dev eth0; ip link set eth0 master br0; ip link set br0 up
		ip addr add %v/24 dev br0; ip route add default via %v
		ip link add vnet0 type veth peer name eth0 netns %s; ip link set vnet0 master br0 up
		nsenter -t %[3]s -n bash -ec 'ip addr add 198.51.100.50/24 dev eth0; ip link set eth0 up; ip route add default via %[2]v'`, w.Alice.V4, w.Cafe.V4, guest))
	outside := func() bool {
		out, err := w.Alice.Try("nsenter", "-t", guest, "-n", "curl", "-sS", "--max-time", "3", "http://"+w.Web.V4.String()+"/whoami")
		return err == nil && strings.TrimSpace(out) == "198.51.100.50"
	}
	netlab.Eventually(t, limit, "it is on the internet", outside)
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	require.Contains(t, w.notes(t), "br0 joins eth0, vnet0")
	const calls = "bridge/bridge-nf-call-iptables"
	if _, err := w.Alice.Try("test", "-e", "/proc/sys/net/"+calls); err == nil { // Docker's kernel module is loaded
		w.Alice.Write(t, calls, "1")
		require.False(t, outside())
		netlab.Eventually(t, limit, "the status says it", func() bool { return strings.Contains(w.notes(t), "are refused by the kill switch") })
		w.Alice.Write(t, calls, "0")
	}
	require.True(t, outside())
	netlab.Eventually(t, limit, "the status says it", func() bool { return strings.Contains(w.notes(t), "do not go through the tunnel") })
	w.Alice.Run(t, "ip", "link", "del", "vnet0")
	netlab.Eventually(t, limit, "a bridge that is gone is forgotten", func() bool { return w.notes(t) == "" })
}
