package conf

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// wireguardGo is where shared/lab/setup.sh puts it.
var wireguardGo, _ = filepath.Abs("../../../../.cache/wireguard-go/wireguard")

// A judge is a host with a device of wireguard-go, which gets files by wg-quick(8) and wg(8).
type judge struct {
	*netlab.Host
	dir string
}

func newJudge(t *testing.T) judge {
	t.Helper()
	j := judge{netlab.New(t).Alice, t.TempDir()}
	_, err := os.Stat(wireguardGo)
	require.NoError(t, err, "type: make setup")
	j.Start(t, "env", "LOG_LEVEL=verbose", wireguardGo, "-f", "wg0").WaitLog(t, "UAPI listener started")
	return j
}

// takes gives a file to the device, and returns what the device then has: a line for itself, and one
// for each peer, as in 'wg show wg0 dump', but without what is not in a file.
func (j judge) takes(t *testing.T, text string) []string {
	t.Helper()
	file := filepath.Join(j.dir, "wg0.conf")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	stripped := filepath.Join(j.dir, "stripped")
	require.NoError(t, os.WriteFile(stripped, []byte(j.Run(t, "wg-quick", "strip", file)), 0o600))
	j.Run(t, "wg", "setconf", "wg0", stripped)
	var lines []string
	for i, line := range strings.Split(strings.TrimSpace(j.Run(t, "wg", "show", "wg0", "dump")), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			f = f[1:] // not the private key: a device sets its free bits as X25519 does
		} else {
			f = append(f[:3:3], sorted(f[3]), f[7])
		}
		lines = append(lines, strings.Join(f, " "))
	}
	slices.Sort(lines[1:])
	return lines
}

func sorted(list string) string {
	all := strings.Split(list, ",")
	slices.Sort(all)
	return strings.Join(all, ",")
}

// means returns what a device should have according to our reading of a file. port is the device's, as
// the file may leave it open.
func means(f *File, port string) []string {
	orNone := func(there bool, text string) string {
		if there {
			return text
		}
		return "(none)"
	}
	lines := []string{fmt.Sprintf("%s %s off", noise.FormatKey(f.PrivateKey.Public()), port)}
	for _, p := range f.Peers {
		psk := ""
		if p.PresharedKey != nil {
			psk = noise.FormatKey(*p.PresharedKey)
		}
		keepalive := "off"
		if p.Keepalive > 0 {
			keepalive = fmt.Sprint(int(p.Keepalive.Seconds()))
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s", noise.FormatKey(p.PublicKey), orNone(psk != "", psk), p.Endpoint,
			sorted(strings.Join(texts(p.AllowedIPs), ",")), keepalive))
	}
	slices.Sort(lines[1:])
	return lines
}

var name = regexp.MustCompile(`(?im)^(endpoint *= *)[a-z.-]+:`)

// To the programs of the WireGuard protocol, a file, our reading of it, and what we print all mean
// the same.
func TestJudges(t *testing.T) {
	j := newJudge(t)
	for _, tt := range provided {
		text := name.ReplaceAllString(fill(tt.text), "${1}192.0.2.7:") // wg(8) would look a name up
		text = strings.TrimPrefix(text, "\ufeff")                      // which only we take
		f, err := Parse("wg0.conf", []byte(text))
		require.NoError(t, err, tt.name)
		for _, text := range []string{text, string(f.Text())} {
			has := j.takes(t, text)
			port := fmt.Sprint(f.ListenPort)
			if f.ListenPort == 0 {
				port = strings.Fields(has[0])[1] // any
			}
			require.Equal(t, means(f, port), has, "%s:\n%s", tt.name, text)
		}
	}

	// The judges would see a difference.
	f, err := Parse("wg0.conf", []byte(fill(provided[0].text)))
	require.NoError(t, err)
	before := j.takes(t, string(f.Text()))
	f.Peers[0].AllowedIPs = f.Peers[0].AllowedIPs[1:]
	require.NotEqual(t, before, j.takes(t, string(f.Text())))
}

// What wg-quick sets up on a host is what we read: addresses, names and MTU.
func TestWGQuickUp(t *testing.T) {
	h := netlab.New(t).Alice
	dir := t.TempDir()
	said := filepath.Join(dir, "said") // what it says to resolvconf(8), for which we stand in
	require.NoError(t, os.WriteFile(filepath.Join(dir, "resolvconf"), []byte("#!/bin/sh\n[ $1 != -a ] || cat >"+said+"\n"), 0o755))
	path := "PATH=" + dir + ":" + filepath.Dir(wireguardGo) + ":" + os.Getenv("PATH")
	for _, tt := range provided {
		f, err := Parse("wg1.conf", []byte(fill(tt.text)))
		require.NoError(t, err)
		for i := range f.Peers { // its routes are not the question, and it would look names up
			f.Peers[i].AllowedIPs, f.Peers[i].Endpoint = prefixes(fmt.Sprintf("192.0.2.%d/32", i)), "192.0.2.99:1"
		}
		file := filepath.Join(dir, "wg1.conf")
		require.NoError(t, os.WriteFile(file, f.Text(), 0o600))
		h.Run(t, "env", path, "wg-quick", "up", file)
		var has []string
		for line := range strings.Lines(h.Run(t, "ip", "-brief", "address", "show", "dev", "wg1")) {
			for _, word := range strings.Fields(line) {
				if a, err := netip.ParsePrefix(word); err == nil && !a.Addr().IsLinkLocalUnicast() {
					has = append(has, a.String())
				}
			}
		}
		require.ElementsMatch(t, texts(f.Addresses), has, tt.name)
		mtu := f.MTU
		if mtu == 0 {
			mtu = MTU
		}
		require.Contains(t, h.Run(t, "ip", "link", "show", "dev", "wg1"), fmt.Sprintf(" mtu %d ", mtu), tt.name)
		names, err := os.ReadFile(said)
		require.NoError(t, err, tt.name)
		want := "nameserver " + strings.Join(texts(f.DNS), "\nnameserver ") + "\n"
		if len(f.Search) > 0 {
			want += "search " + strings.Join(f.Search, " ") + "\n"
		}
		require.Equal(t, want, string(names), tt.name)
		h.Run(t, "env", path, "wg-quick", "down", file)
	}
}
