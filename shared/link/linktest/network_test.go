package linktest_test

import (
	"net"
	"net/netip"
	"testing"

	"stepvpn/shared/link"
	"stepvpn/shared/link/linktest"
)

func TestNetwork(t *testing.T) {
	var n linktest.Network
	at := netip.MustParseAddrPort
	server := n.Attach(at("203.0.113.10:1"), netip.AddrPort{})
	alice, bob := n.Attach(at("198.51.100.10:1"), server.Addr()), n.Attach(at("198.51.100.11:1"), server.Addr())
	b := link.NewBurst()
	write := func(l link.Link, to netip.AddrPort, p string) {
		t.Helper()
		b.Reset()
		b.Addr = to
		copy(b.Alloc(len(p)), p)
		if err := l.WriteBurst(b); err != nil {
			t.Fatal(err)
		}
	}
	read := func(l link.Link, from netip.AddrPort, want string) {
		t.Helper()
		if err := l.ReadBurst(b); err != nil || b.Len() != 1 || string(b.At(0)) != want || b.Addr != from {
			t.Fatalf("read %q from %v, %v", b.At(0), b.Addr, err)
		}
	}
	write(alice, netip.AddrPort{}, "a")
	read(server, alice.Addr(), "a")
	write(server, bob.Addr(), "b")
	read(bob, server.Addr(), "b")

	alice.Move(at("192.0.2.1:1"))
	write(alice, netip.AddrPort{}, "moved")
	read(server, at("192.0.2.1:1"), "moved")
	write(server, at("198.51.100.10:1"), "lost")
	n.Inject(at("192.0.2.66:6"), alice.Addr(), []byte("injected"))
	read(alice, at("192.0.2.66:6"), "injected")

	n.Tap(func(_, to netip.AddrPort, p []byte) bool { return to != bob.Addr() })
	write(server, bob.Addr(), "tapped")
	n.Tap(nil)
	write(server, bob.Addr(), "passes")
	read(bob, server.Addr(), "passes")

	bob.Close()
	bob.Close()
	if err := bob.ReadBurst(b); err != net.ErrClosed {
		t.Fatal(err)
	}
	write(server, at("198.51.100.11:1"), "nobody is there")
	write(alice, netip.AddrPort{}, "goes on")
	read(server, alice.Addr(), "goes on")
}
