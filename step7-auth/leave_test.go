package step7_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/keyfile"
)

const usr1 = syscall.SIGUSR1

// connections are those that the server's kernel knows of a client.
func (w *world) connections(addr string) string {
	family := "ipv4"
	if strings.Contains(addr, ":") {
		family = "ipv6"
	}
	out, _ := w.Server.Try("bash", "-c", "conntrack -L -f "+family+" -s "+addr+" 2>/dev/null")
	return out
}

// talk opens a connection of a host to the web site that stays open.
func (w *world) talk(t *testing.T, h *netlab.Host) {
	t.Helper()
	for _, to := range []string{"TCP4:" + w.Web.V4.String(), "TCP6:[" + w.Web.V6.String() + "]"} {
		h.Start(t, "socat", "-u", to+":80,retry=100,interval=0.1", "STDOUT")
	}
	for _, addr := range strings.Fields(inner(t, h)) {
		netlab.Eventually(t, limit, "the server's kernel knows a connection of "+addr, func() bool {
			return strings.Contains(w.connections(addr), "ESTABLISHED")
		})
	}
}

// However a client's time ends, while it is connected: it is told at once, its
// address is free, the kernel's connections are gone, the others notice nothing,
// and it does not come back.
func TestCutOff(t *testing.T) {
	const unknown = "connecting: the server refuses: the server does not know this key: it was never added, or it was revoked\n"
	for _, tt := range []struct {
		name       string
		end        func(*testing.T, *world, *netlab.Process)
		why, after string
	}{
		{"revoke", func(t *testing.T, w *world, _ *netlab.Process) { w.clients(t, "revoke", "bob") },
			"the access of this client was revoked", unknown},
		{"in the editor, in place, and SIGHUP", func(t *testing.T, w *world, s *netlab.Process) {
			text, err := os.ReadFile(w.path("clients"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(w.path("clients"), []byte(strings.ReplaceAll(string(text), "\nbob ", "\n# bob ")), 0o600))
			s.Signal(syscall.SIGHUP)
		}, "the access of this client was revoked", unknown},
		{"expired", func(t *testing.T, w *world, _ *netlab.Process) {
			text, err := os.ReadFile(w.path("clients"))
			require.NoError(t, err)
			_, line, _ := strings.Cut(string(text), "\nbob ")
			key, _, _ := strings.Cut(line, "\n")
			w.edit(t, key, key+" expires=2020-01-01")
		}, "the access of this client has expired", "connecting: the server refuses: the access of this client has expired\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.add(t, "alice"), w.add(t, "bob")
			s := w.server(t)
			pa, pb := client(t, w.Alice, a), client(t, w.Bob, b)
			bobs, alices := strings.Fields(inner(t, w.Bob)), strings.Fields(inner(t, w.Alice))
			w.talk(t, w.Alice)
			w.talk(t, w.Bob)

			tt.end(t, w, s)
			require.Equal(t, 1, pb.Wait(t))
			require.Contains(t, pb.Log(), "client: receiving from the other side: the server has ended the session: "+tt.why+"\n")
			for _, addr := range bobs {
				netlab.Eventually(t, limit, "the kernel has forgotten "+addr, func() bool { return w.connections(addr) == "" })
			}
			for _, addr := range alices {
				require.Contains(t, w.connections(addr), "ESTABLISHED")
			}
			require.Equal(t, tt.after, refused(t, w.Bob, b))
			w.surfs(t, w.Alice)
			require.NotContains(t, s.Log(), "could not clean up after a client")
			interrupt(t, pa, s)
		})
	}
}

// A registry that is broken while it is edited changes nothing, and SIGHUP has it
// read again in any case.
func TestReload(t *testing.T) {
	w := newWorld(t)
	file := w.add(t, "alice")
	s := w.server(t)
	c := client(t, w.Alice, file)
	s.Signal(syscall.SIGHUP)
	s.WaitLog(t, "registry read again")
	good, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(w.path("clients"), []byte("alice nonsense\n"), 0o600))
	s.WaitLog(t, "the registry is broken: the last good one stays in force")
	w.surfs(t, w.Alice)
	require.NoError(t, os.WriteFile(w.path("clients"), good, 0o600))
	b := w.add(t, "bob") // somebody new needs no restart
	netlab.Eventually(t, limit, "bob is in the registry", func() bool {
		return strings.Contains(s.Log(), "clients=2")
	})
	pb := client(t, w.Bob, b)
	w.surfs(t, w.Alice, w.Bob)
	interrupt(t, c, pb, s)
}

// inTheEnd starts clients until one gets in. The others were refused for this reason.
func inTheEnd(t *testing.T, start func() *netlab.Process, refused string) (p *netlab.Process) {
	t.Helper()
	netlab.Eventually(t, limit, "a client gets in", func() bool {
		p = start()
		netlab.Eventually(t, limit, "an answer", func() bool { return p.Ended() || strings.Contains(p.Log(), "tunnel is up") })
		if p.Ended() {
			require.Contains(t, p.Log(), "the server refuses: "+refused)
		}
		return !p.Ended()
	})
	return p
}

func TestFull(t *testing.T) {
	w := newWorld(t)
	a, b := w.add(t, "alice"), w.add(t, "bob")
	for _, tt := range []struct{ flag, value, said string }{
		{"-max-clients", "1", "the server is full: it has as many clients as it may have\n"},
		{"-addr", "10.8.0.1/30", "the server has no free address, try again later\n"},
	} {
		s := w.server(t, tt.flag, tt.value)
		pa := client(t, w.Alice, a)
		require.Equal(t, "connecting: the server refuses: "+tt.said, refused(t, w.Bob, b))
		w.surfs(t, w.Alice)
		interrupt(t, pa)
		if tt.flag == "-max-clients" { // there is room again
			interrupt(t, inTheEnd(t, func() *netlab.Process {
				return w.Bob.Start(t, netlab.Program("client"), "-profile", b)
			}, tt.said))
		}
		interrupt(t, s)
		require.NoError(t, os.Remove(w.path("leases")))
	}
}

func TestPassword(t *testing.T) {
	w := newWorld(t)
	right, wrong := w.path("right"), w.path("wrong")
	require.NoError(t, os.WriteFile(right, []byte("correct horse\n"), 0o600))
	require.NoError(t, os.WriteFile(wrong, []byte("battery staple\n"), 0o600))
	file := w.path("alice.conf")
	w.Server.Run(t, "bash", "-c", netlab.Program("clients")+" add -registry "+w.path("clients")+" -key "+w.path("server.key")+
		" -server 203.0.113.10:5555 -password -out "+file+" alice <"+right)
	s := w.server(t)
	try := func(password string) *netlab.Process {
		return w.Alice.Start(t, "bash", "-c", "exec "+netlab.Program("client")+" -profile "+file+" <"+password)
	}
	before := state(t, w.Alice)
	p := try(wrong)
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Log(), "client: logging in: the server refuses: wrong user name or password\n")
	require.Equal(t, before, state(t, w.Alice))

	// The server may ask him to wait.
	p = inTheEnd(t, func() *netlab.Process { return try(right) }, "too many wrong passwords: try again in ")
	w.surfs(t, w.Alice)
	interrupt(t, p)

	// A client that has no password to give.
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	bare := w.path("bare.conf")
	require.NoError(t, os.WriteFile(bare, []byte(strings.ReplaceAll(string(text), "\nuser ", "\n# user ")), 0o600))
	require.Contains(t, refused(t, w.Alice, bare), "the server asks for a user name and a password\n")
	require.Equal(t, before, state(t, w.Alice))
	interrupt(t, s)
	require.NotContains(t, s.Log(), "correct horse")
	require.NotContains(t, s.Log(), "battery staple")
}

// A pre-shared key: without the right one there is no session, and no sentence of the
// server either, for the two can't read each other.
func TestPresharedKey(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, keyfile.Create(w.path("psk")))
	require.NoError(t, keyfile.Create(w.path("other")))
	right := w.add(t, "right", "-psk", w.path("psk"))
	wrong := w.add(t, "wrong", "-psk", w.path("other"))
	none := w.add(t, "none")
	s := w.server(t, "-psk", w.path("psk"))
	require.Contains(t, refused(t, w.Bob, wrong), "connecting: the server has answered, but the answer can't be read: the pre-shared key")
	require.Contains(t, refused(t, w.Bob, none), "connecting: no answer from the server after 2 tries: ")
	c := client(t, w.Alice, right)
	w.surfs(t, w.Alice)
	interrupt(t, c, s)

	s = w.server(t)
	require.Contains(t, refused(t, w.Alice, right), "connecting: no answer from the server after 2 tries: ")
	c = client(t, w.Bob, none)
	interrupt(t, c, s)
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	file := w.add(t, "alice", "-addr", "10.99.0.1")
	open := w.path("open.conf")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(open, text, 0o644))
	require.NoError(t, os.WriteFile(w.path("writable"), nil, 0o600))
	require.NoError(t, os.Chmod(w.path("writable"), 0o622))
	require.NoError(t, os.WriteFile(w.path("broken"), []byte("alice\n"), 0o600))
	require.NoError(t, os.WriteFile(w.path("empty"), nil, 0o600))
	require.NoError(t, os.Mkdir(w.path("shared"), 0o777))
	require.NoError(t, os.Chmod(w.path("shared"), 0o777))
	for _, tt := range []struct {
		name    string
		program string
		flags   string
		code    int
		want    string // after "PROGRAM: "; DIR is the folder
	}{
		{"no client file", "client", "-profile DIR/none", 1, "there is no client file DIR/none\n  The server's owner makes it: clients add -out DIR/none ... NAME\n"},
		{"client file for all to read", "client", "-profile DIR/open.conf", 1, "client file DIR/open.conf may be read or changed by users other than its owner (mode 0644)\n  If nobody"},
		{"no server key", "server", "-key DIR/none", 1, "there is no key file DIR/none\n  'clients init -key DIR/none' makes it, on the server.\n"},
		{"no registry", "server", "-registry DIR/none", 1, "there is no registry DIR/none\n  'clients init -registry DIR/none' makes it, with a key for the server; so does adding the first client.\n"},
		{"registry for all to write", "server", "-registry DIR/writable", 1, "registry DIR/writable may be written by users other than its owner (mode 0622)\n  Whoever can write it"},
		{"broken registry", "server", "-registry DIR/broken", 1, "DIR/broken:1: "},
		{"fixed address elsewhere", "server", "", 1, "client alice (line 4 of the registry): the fixed address 10.99.0.1 is in no subnet"},
		{"leases where others write", "server", "-registry DIR/empty -leases DIR/shared/leases", 1, "DIR/shared is not ours alone\n  Others may write there"},
		{"too short an idle time", "server", "-registry DIR/empty -idle 10s", 2, "an idle time of 10s is too short: clients show that they are alive every 25s, so use at least 1m0s\n"},
		{"nobody may come", "server", "-registry DIR/empty -max-clients -1", 2, "-1 clients: a server has room for 1 to 65536\n"},
		{"two networks of a family", "server", "-registry DIR/empty -addr 10.8.0.1/24,10.9.0.1/24", 1, "10.8.0.1/24 and 10.9.0.1/24 are of the same family: "},
		{"no such transport", "server", "-registry DIR/empty -transport quic", 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.Server.Run(t, "bash", "-c", "iptables-save; ip6tables-save")
			before := state(t, w.Server) + state(t, w.Alice)
			in := func(s string) string { return strings.ReplaceAll(s, "DIR", filepath.Clean(w.dir)) }
			h, flags := w.Alice, strings.Fields(in(tt.flags))
			if tt.program == "server" {
				h, flags = w.Server, w.serverFlags(flags...)
			}
			p := h.Start(t, netlab.Program(tt.program), flags...)
			require.Equal(t, tt.code, p.Wait(t), p.Log())
			require.Contains(t, "\n"+p.Log(), "\n"+tt.program+": "+in(tt.want))
			require.Equal(t, before, state(t, w.Server)+state(t, w.Alice))
		})
	}
}

// Two servers can't hand out the same addresses.
func TestTwoServers(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	p := w.Server.Start(t, netlab.Program("server"), w.serverFlags("-listen", ":5556", "-dev", "vpn1")...)
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Log(), "server: the file of leases "+w.path("leases")+" is in use by another server\n")
	interrupt(t, s)
}
