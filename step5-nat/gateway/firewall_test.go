package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step5-nat/hostnet"
)

// A packet that the host forwards, or that comes in by an interface and is for the host (out
// is "" then).
type packet struct {
	in, out, source string
	syn             bool // the first of a TCP connection in its direction
	answer          bool // conntrack has seen one in the other direction
}

// walk takes a packet through the chains, as the kernel does it, and says what happens to
// it. It knows just the words of iptables that are used here.
func walk(t *testing.T, chains []chain, p packet) (fate string) {
	t.Helper()
	did := make(map[string]bool)
	for _, c := range chains {
		if p.out == "" && c.from != "PREROUTING" || c.table == "nat" && p.answer { // nat is asked once for a connection
			continue
		}
		if target, ok := match(t, c, strings.Join(c.jump("ours"), " "), p); !ok || target != "ours" {
			continue
		}
	rules:
		for _, rule := range c.rules {
			switch target, ok := match(t, c, rule, p); {
			case !ok:
			case target == "DROP":
				return "dropped"
			case target == "TCPMSS": // goes on
				require.Contains(t, rule, "--clamp-mss-to-pmtu")
				require.Contains(t, rule, "--tcp-flags SYN,RST SYN", "iptables refuses TCPMSS for other packets")
				did["clamped"] = true
			case target == "ACCEPT":
				did["accepted"] = true
				break rules
			case target == "MASQUERADE":
				did["masqueraded"] = true
				break rules
			case target == "RETURN":
				break rules
			default:
				t.Fatalf("this test doesn't know what iptables does at %q", rule)
			}
		}
	}
	for _, what := range []string{"accepted", "masqueraded", "clamped"} {
		if did[what] {
			fate += " " + what
		}
	}
	return strings.TrimSpace(fate)
}

// match tells whether a rule matches the packet, and what is done then.
func match(t *testing.T, c chain, rule string, p packet) (target string, ok bool) {
	t.Helper()
	ok = true
	words := strings.Fields(rule)
	word := func() (word string) {
		require.NotEmpty(t, words, "the rule %q is incomplete", rule)
		word, words = words[0], words[1:]
		return word
	}
	for len(words) > 0 {
		switch option := word(); option {
		case "-s":
			ok = netip.MustParsePrefix(word()).Contains(netip.MustParseAddr(p.source)) && ok
		case "-i":
			require.NotEqual(t, "POSTROUTING", c.from, "iptables refuses -i in POSTROUTING: %q", rule)
			ok = word() == p.in && ok
		case "-o":
			require.NotEqual(t, "PREROUTING", c.from, "iptables refuses -o in PREROUTING: %q", rule)
			ok = word() == p.out && ok
		case "-p":
			require.Equal(t, "tcp", word())
			ok = p.syn && ok // the only TCP here
		case "--tcp-flags":
			require.Equal(t, "SYN,RST SYN", word()+" "+word())
		case "-m":
			require.Equal(t, "conntrack", word())
		case "--ctstate":
			state := "NEW"
			if p.answer {
				state = "ESTABLISHED"
			}
			ok = slices.Contains(strings.Split(word(), ","), state) && ok
		case "-j":
			target = word()
		case "--clamp-mss-to-pmtu":
		default:
			t.Fatalf("this test doesn't know %q of iptables, in %q", option, rule)
		}
	}
	return target, ok
}

// serving returns the chains of a firewall for clients of 10.8.0.0/24 that leave by the
// interfaces given.
func serving(egress ...string) []chain {
	return (&firewall{family: hostnet.V4, device: "vpn0", subnets: hostnet.V4.Subnets(prefixes(both)), egress: egress}).chains()
}

// A fate is what should happen to a packet.
type fate struct {
	packet
	want string
}

func fates(t *testing.T, chains []chain, list []fate) {
	t.Helper()
	for _, f := range list {
		require.Equal(t, f.want, walk(t, chains, f.packet), "%+v", f.packet)
	}
}

// A client's packet leaves under the host's address, and the answer comes in.
func TestClientsAreMasqueraded(t *testing.T) {
	for _, out := range []string{"eth0", "wlan0"} {
		fates(t, serving("eth0", "wlan0"), []fate{
			{packet{in: "vpn0", out: out, source: "10.8.0.2"}, "accepted masqueraded"},
			{packet{in: "vpn0", out: out, source: "10.8.0.2", answer: true}, "accepted"},
			{packet{in: out, out: "vpn0", source: "203.0.113.80", answer: true}, "accepted"},
			{packet{in: "vpn0", out: out, source: "10.8.0.2", syn: true}, "accepted masqueraded clamped"},
			{packet{in: out, out: "vpn0", source: "203.0.113.80", syn: true, answer: true}, "accepted clamped"},
		})
	}
}

// Nobody outside begins a connection to a client, and clients reach nothing but hosts
// beyond the egress interface: not each other, and not the host's other networks.
func TestNobodyGetsIn(t *testing.T) {
	fates(t, serving("eth0"), []fate{
		{packet{in: "eth0", out: "vpn0", source: "203.0.113.80"}, "dropped"},
		{packet{in: "eth0", out: "vpn0", source: "203.0.113.80", syn: true}, "dropped"},
		{packet{in: "eth1", out: "vpn0", source: "172.18.0.2"}, "dropped"},
		{packet{in: "vpn0", out: "vpn0", source: "10.8.0.2"}, "dropped"},
		{packet{in: "vpn0", out: "eth1", source: "10.8.0.2"}, "dropped"},
		{packet{in: "vpn0", out: "eth1", source: "10.8.0.2", syn: true}, "dropped"},
	})
}

// A client sends under an address of the tunnel, wherever the packet is for.
func TestOnlyTheTunnelsAddresses(t *testing.T) {
	for _, out := range []string{"", "eth0", "eth1", "vpn0"} {
		for _, source := range []string{"203.0.113.80", "10.9.0.2", "127.0.0.1"} {
			require.Equal(t, "dropped", walk(t, serving("eth0"), packet{in: "vpn0", out: out, source: source}), "from %s to %q", source, out)
			require.Equal(t, "dropped", walk(t, serving("eth0"), packet{in: "vpn0", out: out, source: source, answer: true}))
		}
	}
	require.Empty(t, walk(t, serving("eth0"), packet{in: "vpn0", source: "10.8.0.2"}), "for the host itself")
}

// What has nothing to do with the tunnel is left to the host's own rules.
func TestTheHostsOwnTrafficIsLeftAlone(t *testing.T) {
	for _, chains := range [][]chain{serving("eth0"), serving()} {
		for _, p := range []packet{
			{in: "eth0", source: "203.0.113.80"},
			{in: "eth0", source: "10.8.0.2"},
			{in: "eth1", out: "eth0", source: "172.18.0.2"},
			{in: "eth1", out: "eth0", source: "172.18.0.2", syn: true},
			{in: "eth0", out: "eth1", source: "203.0.113.80"},
			{in: "eth0", out: "eth1", source: "203.0.113.80", syn: true, answer: true},
		} {
			require.Empty(t, walk(t, chains, p), "%+v", p)
		}
	}
}

// A family that has no way out, or that the tunnel doesn't carry, is dropped.
func TestWhatIsNotServedIsDropped(t *testing.T) {
	for _, chains := range [][]chain{serving(), (&firewall{family: hostnet.V4, device: "vpn0", egress: []string{"eth0"}}).chains()} {
		fates(t, chains, []fate{
			{packet{in: "vpn0", out: "eth0", source: "10.8.0.2"}, "dropped"},
			{packet{in: "eth0", out: "vpn0", source: "203.0.113.80"}, "dropped"},
			{packet{in: "eth0", out: "vpn0", source: "203.0.113.80", answer: true}, "dropped"},
		})
	}
}
