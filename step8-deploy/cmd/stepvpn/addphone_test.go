package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/keeper"
)

// A shop is a folder with a server's files, where an operator adds clients.
type shop struct {
	dir string
	tty *os.File // standard error, instead of a buffer; nil: none
}

// newShop makes the files, with lines added to the settings in the place of those that have the same key.
func newShop(t *testing.T, settings ...string) *shop {
	s := &shop{dir: t.TempDir()}
	out, code := stepvpn(t, s.dir, "init", "server", "-dir", ".")
	require.Zero(t, code, out)
	text, err := os.ReadFile(s.path("server.toml"))
	require.NoError(t, err)
	for _, line := range append(settings, `state = "state"`, `status_socket = ""`) {
		key, _, _ := strings.Cut(line, " ")
		text = regexp.MustCompile(`(?m)^(# )?`+key+` = .*$`).ReplaceAllLiteral(text, []byte(line))
	}
	require.NoError(t, os.WriteFile(s.path("server.toml"), text, 0o600))
	return s
}

func (s *shop) path(name string) string { return filepath.Join(s.dir, name) }

// add runs 'clients add', and returns what it printed on standard output and standard error.
func (s *shop) add(args ...string) (out, said string, code int) {
	cmd := exec.Command(os.Args[0], append([]string{"clients", "add", "-settings", "server.toml"}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "STEPVPN_TEST_PROGRAM=1", "CREDENTIALS_DIRECTORY=", "GORACE=atexit_sleep_ms=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if s.tty != nil {
		cmd.Stderr = s.tty
	}
	cmd.Run()
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// files returns the names and contents of all files.
func (s *shop) files(t *testing.T) map[string]string {
	all := make(map[string]string)
	require.NoError(t, filepath.WalkDir(s.dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			text, _ := os.ReadFile(name)
			all[strings.TrimPrefix(name, s.dir+"/")] = string(text)
		}
		return err
	}))
	return all
}

func (s *shop) client(t *testing.T, name string) *identity.Client {
	r, err := identity.Load(s.path("clients"))
	require.NoError(t, err)
	c, is := r.ByName(name)
	require.True(t, is)
	return c
}

// The file of a phone has all that it needs, and the registry says the same. The judges are those who
// read such files.
func TestPhone(t *testing.T) {
	s := newShop(t, "wireguard = true", `dns_search = ["corp.example"]`)
	out, said, code := s.add("phone", "-wireguard", "-server", "vpn.example.org", "-qr", "phone.png")
	require.Zero(t, code, said)
	require.Equal(t, "phone.png: the QR code of that file, and as secret as the file. Remove it when the phone has read it.\n", said)

	f, err := conf.Parse("wg0.conf", []byte(out))
	require.NoError(t, err, out)
	c := s.client(t, "phone")
	server, err := config.LoadServer(s.path("server.toml"))
	require.NoError(t, err)
	serverKey, err := keeper.WireGuardKey(server)
	require.NoError(t, err)
	psk, err := keeper.NewOwnPSK(server, c.Key)
	require.NoError(t, err)
	require.Equal(t, c.Key, f.PrivateKey.Public())
	require.True(t, c.OwnPSK)
	require.Equal(t, &conf.File{
		PrivateKey: f.PrivateKey,
		Addresses:  []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32"), netip.MustParsePrefix("fd00:8::2/128")},
		DNS:        []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")},
		Search:     []string{"corp.example"},
		MTU:        1420,
		Peers: []conf.Peer{{
			PublicKey: serverKey.Public(), PresharedKey: psk, Endpoint: "vpn.example.org:5555", Keepalive: 25e9,
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		}},
	}, f)
	require.Equal(t, []netip.Addr{f.Addresses[0].Addr(), f.Addresses[1].Addr()}, c.Addrs)

	info, err := os.Stat(s.path("phone.png"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	scanned, err := exec.Command("zbarimg", "--quiet", "--raw", s.path("phone.png")).Output()
	require.NoError(t, err)
	require.Equal(t, string(f.Text()), strings.TrimSuffix(string(scanned), "\n"))

	// The next ones get other addresses, and one may be chosen. Nothing is drawn where there is no terminal.
	out, said, code = s.add("tablet", "-wireguard", "-server", "192.0.2.7:51820", "-out", "tablet.conf")
	require.Zero(t, code, said)
	require.Empty(t, said)
	require.Equal(t, "tablet.conf: the client file of tablet. Copy it to the client over a safe channel, such as scp.\n", out)
	f, err = conf.Load(s.path("tablet.conf"))
	require.NoError(t, err)
	require.Equal(t, "10.8.0.3/32", f.Addresses[0].String())
	require.Equal(t, "192.0.2.7:51820", f.Peers[0].Endpoint)
	require.NotEqual(t, psk, f.Peers[0].PresharedKey)
	out, _, code = s.add("router", "-wireguard", "-server", "[2001:db8::1]", "-addr", "10.8.0.99", "-expires", "24h")
	require.Zero(t, code)
	f, err = conf.Parse("wg0.conf", []byte(out))
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.8.0.99/32")}, f.Addresses)
	require.Equal(t, "[2001:db8::1]:5555", f.Peers[0].Endpoint)

	// Whoever has made its own key gets a file that lacks it.
	own := noise.GenerateKey()
	out, said, code = s.add("laptop", "-wireguard", "-server", "a.example", "-public-key", noise.FormatKey(own.Public()))
	require.Zero(t, code, said)
	require.Equal(t, own.Public(), s.client(t, "laptop").Key)
	require.Contains(t, out, "\n[Interface]\n# PrivateKey = \nAddress = 10.8.0.4/32")
	f, err = conf.Parse("wg0.conf", []byte(strings.Replace(out, "# PrivateKey = ", "PrivateKey = "+noise.FormatKey(own), 1)))
	require.NoError(t, err)
	require.Equal(t, own, f.PrivateKey)
}

// What the server's settings say stands in the file.
func TestPhoneSettings(t *testing.T) {
	s := newShop(t, "wireguard = true", `subnets = ["10.8.0.1/24"]`, `routes = ["10.0.0.0/8", "192.0.2.0/24", "10.8.0.0/24"]`, "mtu = 1380", "dns = false")
	out, said, code := s.add("phone", "-wireguard", "-server", "a.example:1")
	require.Zero(t, code, said)
	f, err := conf.Parse("wg0.conf", []byte(out))
	require.NoError(t, err)
	require.Equal(t, 1380, f.MTU)
	require.Empty(t, f.DNS)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.8.0.0/24")}, f.Peers[0].AllowedIPs)

	require.Contains(t, out, "\nAllowedIPs = 10.0.0.0/8, 192.0.2.0/24, 10.8.0.0/24\n")

	// Addresses that others have, or had not long ago, are left to them.
	require.NoError(t, os.MkdirAll(s.path("state/worker/pool"), 0o700))
	require.NoError(t, os.WriteFile(s.path("state/worker/pool/leases"),
		[]byte("stepvpn leases 1 running\n10.8.0.3 "+aKey+" 2026-11-25T20:58:25Z\n"), 0o600))
	out, said, code = s.add("tablet", "-wireguard", "-server", "a.example:1")
	require.Zero(t, code, said)
	require.Contains(t, out, "\nAddress = 10.8.0.4/32\n")
}

// Phones that are added at the same time get different addresses.
func TestPhonesAtTheSameTime(t *testing.T) {
	s := newShop(t, "wireguard = true")
	_, said, code := s.add("first", "-wireguard", "-server", "a.example") // which makes the server's keys
	require.Zero(t, code, said)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, said, code := s.add(fmt.Sprint("phone", i), "-wireguard", "-server", "a.example")
			assert.Zero(t, code, said)
		})
	}
	all.Wait()
	r, err := identity.Load(s.path("clients"))
	require.NoError(t, err)
	require.Equal(t, 9, r.Len())
	for c := range r.All() {
		require.Len(t, c.Addrs, 2)
	}
}

// On a terminal, the QR code is shown, if it fits.
func TestPhoneOnATerminal(t *testing.T) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	master := os.NewFile(uintptr(fd), "ptmx")
	defer master.Close()
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer slave.Close()
	shown := make(chan string)
	go func() { // reads until a line ends the terminal's text
		var all strings.Builder
		b := make([]byte, 4096)
		for !strings.Contains(all.String(), "END") {
			n, err := master.Read(b)
			if err != nil {
				break
			}
			all.Write(b[:n])
		}
		shown <- strings.ReplaceAll(all.String(), "\r\n", "\n")
		close(shown)
	}()

	s := newShop(t, "wireguard = true")
	s.tty = slave
	columns := func(n uint16) {
		require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: n}))
	}
	columns(72)
	_, _, code := s.add("a", "-wireguard", "-server", "vpn.example.org")
	require.Zero(t, code)
	columns(73)
	_, _, code = s.add("b", "-wireguard", "-server", "vpn.example.org", "-out", "b.conf")
	require.Zero(t, code)
	own := noise.FormatKey(noise.GenerateKey().Public())
	_, _, code = s.add("c", "-wireguard", "-server", "vpn.example.org", "-public-key", own)
	require.Zero(t, code)
	_, _, code = s.add("d", "-server", "vpn.example.org")
	require.Zero(t, code)
	_, err = slave.WriteString("END\n")
	require.NoError(t, err)
	text := <-shown
	text, is := strings.CutPrefix(text, "The QR code needs 73 columns, and this terminal has 72: -qr FILE draws it into a file.\n")
	require.True(t, is, text)
	require.Equal(t, 1, strings.Count(text, "█▀▀▀▀▀█    \x1b[0m\n"), "one code is drawn, with one upper right corner")
	require.True(t, strings.HasSuffix(text, " \x1b[0m\nEND\n"), "nothing follows it")

	// -qr - draws without a terminal, too, and the output is the file alone.
	s.tty = nil
	out, said, code := s.add("e", "-wireguard", "-server", "vpn.example.org", "-qr", "-")
	require.Zero(t, code, said)
	require.Contains(t, said, "█▀▀▀▀▀█    \x1b[0m\n")
	_, err = conf.Parse("wg0.conf", []byte(out))
	require.NoError(t, err)
}

// Each refusal is one sentence, and leaves everything as it was.
func TestPhoneRefuses(t *testing.T) {
	s := newShop(t, "wireguard = true")
	_, said, code := s.add("phone", "-wireguard", "-server", "vpn.example.org")
	require.Zero(t, code, said)
	require.NoError(t, os.WriteFile(s.path("there.png"), []byte("x"), 0o600))
	before := s.files(t)
	require.Contains(t, before, "wireguard.key")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"phone -wireguard -server a.example", 1, "there is a client phone already (clients:4)"},
		{"phone -wireguard -server a.example -qr new.png", 1, "there is a client phone already (clients:4)"},
		{"a -wireguard -server a.example -qr new.png -out there.png", 1, "there.png exists already, and is left as it is"},
		{"a -wireguard -server a.example -qr there.png", 1, "there.png exists already, and is left as it is\n  Choose another name with -qr."},
		{"a -wireguard -server a.example -qr new.png -out new.png", 1, "new.png exists already"},
		{"a -wireguard -server a.example -qr none/new.png", 1, "none/new.png: no such file or directory\n  Choose a file for -qr"},
		{"a -wireguard -server a.example -qr new.png -addr 10.9.0.2", 1, "the fixed address 10.9.0.2 is in no subnet of the tunnel"},
		{"a -wireguard -server a.example -qr new.png -addr 10.8.0.2", 1, "the address 10.8.0.2 is that of phone already (clients:4)"},
		{"a -wireguard -server a.example -password", 2, "-password can't go with -wireguard: that protocol knows no passwords"},
		{"a -wireguard -server a.example -transport tcp", 2, "-transport can't be tcp with -wireguard: that protocol goes over UDP only"},
		{"a -wireguard -server a.example -psk server.key", 2, "-psk can't go with -wireguard: the client gets a pre-shared key of its own"},
		{"a -wireguard -server a.example -key server.key", 2, "-key can't go with -wireguard: the server has a key of its own for that protocol"},
		{"a -wireguard -server a.example -server-key " + aKey, 2, "-server-key can't go with -wireguard: the server has a key of its own for that protocol"},
		{"a -wireguard -server a.example -qr - -public-key " + aKey, 2, "-qr can't go with -public-key: the file lacks the private key"},
		{"a -wireguard", 2, "-server is missing"},
		{"a -wireguard -server -x.example", 2, `-server is "-x.example:5555": write HOST:PORT, such as`},
		{"a -server a.example -qr new.png", 2, "-qr goes with -wireguard only"},
	} {
		out, said, code := s.add(strings.Fields(tt.args)...)
		require.Equal(t, tt.code, code, "%s: %s", tt.args, said)
		require.Contains(t, said, "stepvpn: ", tt.args)
		require.Contains(t, said, tt.want, tt.args)
		require.Empty(t, out, tt.args)
		require.Equal(t, before, s.files(t), tt.args)
	}

	// Without the setting, or without any settings.
	s = newShop(t)
	before = s.files(t)
	_, said, code = s.add("phone", "-wireguard", "-server", "vpn.example.org")
	require.Equal(t, 1, code)
	require.Equal(t, "stepvpn: the server does not let clients of the WireGuard protocol in\n"+
		"  Write wireguard = true into its settings, and restart it: systemctl restart stepvpn-server\n", said)
	require.Equal(t, before, s.files(t))
	out, code := stepvpn(t, s.dir, "clients", "add", "phone", "-registry", "other", "-wireguard", "-server", "vpn.example.org")
	require.Equal(t, 2, code)
	require.Contains(t, out, "stepvpn: -wireguard needs the server's settings: name them by -settings\n")

	// All addresses are taken.
	s = newShop(t, "wireguard = true", `subnets = ["10.8.0.1/30"]`, "max_clients = 1")
	_, said, code = s.add("phone", "-wireguard", "-server", "vpn.example.org")
	require.Zero(t, code, said)
	_, said, code = s.add("tablet", "-wireguard", "-server", "vpn.example.org")
	require.Equal(t, 1, code)
	require.Contains(t, said, "choosing a fixed address: the server has no free address")
	require.Contains(t, said, "Revoke a client that has gone")
}
