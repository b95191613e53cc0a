package netlab

import (
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/zone"
)

// A VPN client takes over /etc/resolv.conf by a rename. Nobody else notices.
func TestResolvConfIsTheHostsOwn(t *testing.T) {
	const path = "/etc/resolv.conf"
	machine, err := os.ReadFile(path)
	require.NoError(t, err)
	lab := New(t)
	others := []*Host{lab.Bob, lab.Cafe, lab.Internet, lab.Server, lab.Web}
	before := make(map[*Host]string)
	for _, h := range others {
		before[h] = h.Run(t, "cat", path)
	}
	require.Equal(t, before[lab.Bob], lab.Alice.Run(t, "cat", path))
	require.Contains(t, before[lab.Bob], "nameserver "+lab.Cafe.V4.String()+"\nnameserver "+lab.Cafe.V6.String()+"\n")
	require.Equal(t, "nameserver "+lab.Web.V4.String()+"\nnameserver "+lab.Web.V6.String()+"\n", before[lab.Server])

	const text = "nameserver 10.8.0.1\n"
	lab.Alice.Do(func() {
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o644))
		require.NoError(t, os.Rename(path+".new", path))
	})
	require.Equal(t, text, lab.Alice.Run(t, "cat", path))
	for _, h := range others {
		require.Equal(t, before[h], h.Run(t, "cat", path), h.Name)
	}
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(machine), string(now))
}

// So it is with the folders where programs keep their state.
func TestFoldersOfOneHost(t *testing.T) {
	lab := New(t)
	for _, dir := range []string{"/run/stepvpn", "/var/lib/stepvpn", "/etc/stepvpn"} {
		lab.Alice.Run(t, "mkdir", "-m", "700", dir)
		lab.Alice.Do(func() { require.DirExists(t, dir) })
		lab.Bob.Do(func() { require.NoDirExists(t, dir) })
		require.NoDirExists(t, dir, "on the machine itself")
	}
	// The hosts share these, and programs need some of the machine's own files.
	for _, h := range lab.hosts() {
		require.Equal(t, "lab\nmachine\nnetns\n", h.Run(t, "ls", "--ignore=stepvpn", "--ignore=mount", "/run"))
		require.Contains(t, h.Run(t, "ls", "/run/netns"), lab.Web.Name)
		require.Contains(t, h.Run(t, "getent", "passwd", "root"), "root:")
		require.Contains(t, h.Run(t, "getent", "services", "domain"), "53/")
		require.Contains(t, h.Run(t, "cat", "/etc/mtab"), " /etc tmpfs ")
		require.Contains(t, h.Run(t, "ls", "/etc/alternatives/"), "awk")
	}
}

func TestNames(t *testing.T) {
	lab := New(t)
	cafe, web := lab.Cafe.ServeDNS(t), lab.Web.ServeDNS(t)
	site := lab.Web.ServeSite(t)
	for _, h := range []*Host{lab.Alice, lab.Bob, lab.Server, lab.Web} {
		require.Equal(t, lab.Web.V4.String()+"\n", h.Run(t, "dig", "+short", "web.example"))
		require.Equal(t, lab.Web.V6.String()+"\n", h.Run(t, "dig", "+short", "web.example", "AAAA"))
		require.Contains(t, h.Run(t, "getent", "ahosts", "web.example"), lab.Web.V6.String())
		address := h.Run(t, "curl", "-sS", "--max-time", "30", "-4", "http://web.example/whoami")
		require.Equal(t, h.V4.String()+"\n", address)
		require.True(t, site.Visited(h.V4.String()))
		require.Contains(t, h.Run(t, "getent", "hosts", "localhost"), "::1")
	}
	server := lab.Server.Run(t, "dig", "+short", "server.example", "server.example", "AAAA", "vpn.example", "vpn.example", "AAAA")
	require.Equal(t, strings.Repeat(lab.Server.V4.String()+"\n"+lab.Server.V6.String()+"\n", 2), server)

	// Alice and bob ask the cafe's, the others the known resolver.
	asked := func(d *DNS, from string) bool {
		for _, q := range d.Questions() {
			if strings.HasPrefix(q, from+" ") {
				return true
			}
		}
		return false
	}
	for _, h := range []*Host{lab.Alice, lab.Bob} {
		require.True(t, asked(cafe, h.V4.String()))
		require.False(t, asked(web, h.V4.String()))
	}
	for _, h := range []*Host{lab.Server, lab.Web} {
		require.True(t, asked(web, h.V4.String()))
		require.False(t, asked(cafe, h.V4.String()))
	}

	// A name without a dot is looked up in the search domain.
	_, err := lab.Alice.Try("getent", "hosts", "web")
	require.Error(t, err)
	lab.Alice.Run(t, "sed", "-i", "1i search example", "/etc/resolv.conf")
	require.Contains(t, lab.Alice.Run(t, "getent", "hosts", "web"), lab.Web.V6.String())
	require.Contains(t, lab.Alice.Run(t, "dig", "+search", "web"), "web.example.")
}

// Each address of a host with several answers as itself, or dig would not take it.
func TestDNSAnswersFromTheAddressThatWasAsked(t *testing.T) {
	lab := New(t)
	d := lab.Internet.ServeDNS(t)
	for _, address := range []string{"192.0.2.1", "203.0.113.1", "203.0.113.65", "2001:db8:5::1", "2001:db8:80::1"} {
		for _, network := range []string{"+notcp", "+tcp"} {
			require.Equal(t, "10 mail.example.\n", lab.Alice.Run(t, "dig", "+short", network, "@"+address, "example", "MX"))
		}
	}
	require.Len(t, d.Questions(), 10)
	require.Equal(t, lab.Alice.V4.String()+" example. MX udp", d.Questions()[0])
	require.Equal(t, lab.Alice.V6.String()+" example. MX tcp", d.Questions()[9])
}

func TestDNSAgainstDig(t *testing.T) {
	lab := New(t)
	d := lab.Cafe.ServeDNS(t)
	dig := func(args ...string) string { return lab.Alice.Run(t, "dig", args...) }

	// If an answer is too long for UDP, dig asks again over TCP.
	big := dig("big.example", "TXT")
	require.Contains(t, big, "ANSWER: 60,")
	require.Contains(t, big, "(TCP)")
	require.Equal(t, []string{lab.Alice.V4.String() + " big.example. TXT udp", lab.Alice.V4.String() + " big.example. TXT tcp"}, d.Questions())
	require.Contains(t, dig("+ignore", "big.example", "TXT"), "flags: qr aa tc rd ra;")
	require.Contains(t, dig("+ignore", "+noedns", "medium.example", "TXT"), "flags: qr aa tc rd ra;")
	require.Contains(t, dig("medium.example", "TXT"), "(UDP)")

	require.Regexp(t, `status: NXDOMAIN(.|\n)*\.\s+60\s+IN\s+SOA`, dig("nothing.example"))
	require.Regexp(t, `status: NOERROR(.|\n)*ANSWER: 0,(.|\n)*SOA`, dig("only4.example", "AAAA"))
	require.Regexp(t, `www.example.\s+300\s+IN\s+CNAME\s+web.example.\nweb.example.\s+300\s+IN\s+A`, dig("www.example"))
	require.Contains(t, dig("+edns=1", "+noednsnegotiation", "web.example"), "status: BADVERS")
	require.Contains(t, dig("+opcode=notify", "web.example"), "status: NOTIMP")
	require.Contains(t, dig("CH", "TXT", "version.bind"), "status: REFUSED")

	// A test can make it answer anything, and nothing.
	d.Answer(func(q zone.Query) *dns.Msg {
		if q.Network == "udp" {
			return nil
		}
		r := zone.Answer(q)
		r.Rcode, r.Answer = dns.RcodeServerFailure, nil
		return r
	})
	out, err := lab.Alice.Try("dig", "+tries=1", "+timeout=1", "web.example")
	require.Error(t, err)
	require.Contains(t, out, "timed out")
	require.Contains(t, dig("+tcp", "web.example"), "status: SERVFAIL")
}

// The program of the demos serves the same.
func TestTheDNSProgram(t *testing.T) {
	lab := New(t)
	p := lab.Cafe.Start(t, Program("dns"))
	p.WaitLog(t, "serving")
	require.Equal(t, lab.Web.V4.String()+"\n", lab.Alice.Run(t, "dig", "+short", "web.example"))
	p.WaitLog(t, `from=198.51.100.10 question="web.example. A" network=udp`)
	require.Equal(t, lab.Web.V6.String()+"\n", lab.Bob.Run(t, "dig", "+short", "+tcp", "web.example", "AAAA"))
	p.WaitLog(t, `from=198.51.100.11 question="web.example. AAAA" network=tcp`)
	p.Interrupt()
	require.Zero(t, p.Wait(t))
}
