package step8_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A stranger in the cafe's network sends packets to alice's address in the tunnel, by way of
// her network card (CVE-2019-14899). She does not answer, none of her programs receives one,
// and it does not help the stranger if a NAT of hers translates the address. An answer would
// tell the stranger her address in the tunnel, and with whom she has connections.
func TestInjected(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprintf("kill_switch=%v", on), func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice", "kill_switch", on)
			w.server(t)
			for _, dev := range []string{"all", "default", "eth0"} {
				w.Alice.Write(t, "ipv4/conf/"+dev+"/rp_filter", "0")
			}
			tunnel := map[string]netip.Addr{"4": netip.MustParseAddr("10.8.0.2"), "6": netip.MustParseAddr("fd00:8::2")}
			site := map[string]netip.Addr{"4": w.Web.V4, "6": w.Web.V6}
			w.Bob.Run(t, "bash", "-ec", fmt.Sprintf(`
				ip route add 10.8.0.2 via %v; ip -6 route add fd00:8::2 via %v
				ip addr add %v/32 dev lo; ip addr add %v/128 dev lo nodad`, w.Alice.V4, w.Alice.V6, w.Web.V4, w.Web.V6))

			// One program of alice's accepts packets from everybody. Another one talks to the
			// site, and a NAT of hers replaces its own address by the tunnel's.
			var heard, tied map[string]int
			w.Alice.Do(func() {
				heard, tied = make(map[string]int), make(map[string]int)
				listen := func(at netip.Addr, port uint16) int {
					fd, err := open(at, unix.SOCK_DGRAM, 0, "")
					require.NoError(t, err)
					t.Cleanup(func() { unix.Close(fd) })
					require.NoError(t, unix.Bind(fd, sockaddr(at, port)))
					return fd
				}
				heard["4"], heard["6"] = listen(netip.IPv4Unspecified(), 7000), listen(netip.IPv6Unspecified(), 7000)
				tied["4"], tied["6"] = listen(w.Alice.V4, 7001), listen(w.Alice.V6, 7001)
			})
			w.Alice.Start(t, "socat", "-d", "-d", "TCP6-LISTEN:7002,fork,reuseaddr,ipv6only=0", "SYSTEM:true").WaitLog(t, "listening on")
			// inject sends the stranger's packets, and returns what they have caused.
			inject := func() (came []string) {
				answers := w.Cafe.Capture(t, "br0", fmt.Sprintf("ether src %s and (host 10.8.0.2 or host fd00:8::2)", w.mac(t)))
				for v, to := range tunnel {
					w.Bob.Try("ping", "-c2", "-i0.2", "-W1", "-I", map[string]string{"4": w.Bob.V4.String(), "6": w.Bob.V6.String()}[v], to.String())
					w.Bob.Try("bash", "-c", fmt.Sprintf("timeout 0.5 bash -c 'exec 3<>/dev/tcp/%v/7002'", to))
					w.Bob.Do(func() {
						for _, from := range []netip.Addr{site[v], map[string]netip.Addr{"4": w.Bob.V4, "6": w.Bob.V6}[v]} {
							for _, port := range []uint16{7000, 7001} {
								fd, err := open(to, unix.SOCK_DGRAM, 0, "")
								require.NoError(t, err)
								require.NoError(t, unix.Bind(fd, sockaddr(from, 7001)))
								require.NoError(t, unix.Sendto(fd, []byte("injected"), 0, sockaddr(to, port)))
								unix.Close(fd)
							}
						}
					})
				}
				for _, line := range answers.Stop() {
					came = append(came, "answer: "+line)
				}
				for _, v := range []string{"4", "6"} {
					for name, fd := range map[string]int{"the program that listens": heard[v], "the program behind NAT": tied[v]} {
						for {
							b := make([]byte, 100)
							n, _, err := unix.Recvfrom(fd, b, 0)
							if err != nil {
								break
							}
							came = append(came, fmt.Sprintf("IPv%s, %s got: %s", v, name, b[:n]))
						}
					}
				}
				return came
			}

			// The detector: an address of any device is an address of the host.
			w.Alice.Run(t, "bash", "-ec", "ip tuntap add dev spare mode tun; ip link set spare up; ip addr add 10.8.0.2/32 dev spare; ip addr add fd00:8::2/128 dev spare nodad")
			came := strings.Join(inject(), "\n")
			for _, s := range []string{"ICMP echo reply", "ICMP6, echo reply", "10.8.0.2.7002 >", "fd00:8::2.7002 >", "IPv4, the program that listens got: injected", "IPv6, the program that listens got: injected"} {
				require.Contains(t, came, s, "the detector sees it")
			}
			w.Alice.Run(t, "ip", "link", "del", "spare")

			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			w.Alice.Run(t, "bash", "-ec", "for p in iptables ip6tables; do $p -t nat -A POSTROUTING -o vpn0 -p udp --sport 7001 -j MASQUERADE; done")
			mapped := w.Server.Capture(t, "vpn0", "udp dst port 7001")
			for v, fd := range tied {
				require.NoError(t, unix.Sendto(fd, []byte("hello"), 0, sockaddr(site[v], 7001)))
			}
			w.Alice.Run(t, "ping", "-c1", "-W5", w.Web.V4.String())
			require.Contains(t, strings.Join(mapped.Stop(), "\n"), "10.8.0.2.7001 >", "the NAT works")
			require.Empty(t, inject())

			// Without a server, she neither answers nor receives them, either.
			require.NotContains(t, client.Log(), "does not answer")
			w.seenAs(t, w.Server.V4.String())
		})
	}
}
