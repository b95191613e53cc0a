package dashboard

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A pipes is a listener without a network: who dials has the address that the test gives.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p.conns); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

func (p pipes) dial(address string) net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- from{theirs, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1))}
	return ours
}

// slowWays are ways to hold a connection and not to finish a request.
var slowWays = []struct {
	name, head string
	next       []string // for TLS; nil: no TLS at all
	trickle    bool     // and a byte each second
}{
	{name: "says nothing"},
	{name: "begins a handshake", head: "\x16"},
	{name: "half a header", head: "GET /login HTTP/1.1\r\nHost: local", next: []string{"http/1.1"}},
	{name: "a header that grows", head: "GET /login HTTP/1.1\r\nHost: localhost\r\nX: ", next: []string{"http/1.1"}, trickle: true},
	{name: "a body that doesn't come", head: "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\npassw", next: []string{"http/1.1"}},
	{name: "a body that grows", head: "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10000\r\n\r\n", next: []string{"http/1.1"}, trickle: true},
	{name: "HTTP/2, and no preface", head: "P", next: []string{"h2"}},
}

// hold holds a connection in one of these ways, until the page closes it.
func hold(t *testing.T, c net.Conn, i int) {
	way := slowWays[i%len(slowWays)]
	if way.next != nil {
		secured := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: way.next})
		require.NoError(t, secured.Handshake())
		go io.Copy(io.Discard, secured)
		c = secured
	} else {
		go io.Copy(io.Discard, c)
	}
	if way.head == "" {
		return
	}
	_, err := io.WriteString(c, way.head)
	require.NoError(t, err)
	if way.trickle {
		go func() {
			for err == nil {
				time.Sleep(time.Second)
				_, err = io.WriteString(c, "x")
			}
		}()
	}
}

// served reports whether somebody at an address gets the login.
func served(l pipes, address string) bool {
	c := tls.Client(l.dial(address), &tls.Config{InsecureSkipVerify: true})
	defer c.NetConn().Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if c.Handshake() != nil {
		return false
	}
	fmt.Fprintf(c, "GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
	answer := make([]byte, 12)
	_, err := io.ReadFull(c, answer)
	return err == nil && string(answer) == "HTTP/1.1 200"
}

// Somebody who begins requests and doesn't finish them (slowloris) holds places of its own network only, and not
// for long: the owner gets in at any time.
func TestSlowRequests(t *testing.T) {
	folder := t.TempDir()
	_, err := Setup{Folder: folder}.Init()
	require.NoError(t, err)
	settings, err := ReadSettings(filepath.Join(folder, SettingsName))
	require.NoError(t, err)
	cert, err := settings.certificate()
	require.NoError(t, err)
	login := testLogin(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l, ended := pipes{make(chan net.Conn)}, make(chan error, 1)
		go func() { ended <- New(settings, login).serve(ctx, cert, []net.Listener{l}) }()
		const owner, mallory = "198.51.100.1", "192.0.2.1"
		require.True(t, served(l, mallory))
		synctest.Wait()
		var held []net.Conn
		for i := range 2 * maxOfOne {
			c := l.dial(fmt.Sprintf("192.0.2.%d", 1+i/maxOfOne))
			held = append(held, c)
			hold(t, c, i)
		}
		require.False(t, served(l, mallory), "nothing is held: this test shows nothing")
		require.False(t, served(l, "192.0.2.77"), "nothing is held: this test shows nothing")
		require.True(t, served(l, owner), "the owner is shut out")

		time.Sleep(2*headIn + 6*time.Second) // for the handshake, the request, and a farewell
		synctest.Wait()
		require.True(t, served(l, mallory), "an unfinished request holds a place for ever")
		for i, c := range held {
			c.SetDeadline(time.Now().Add(time.Second))
			_, err := c.Write([]byte{0})
			require.ErrorIs(t, err, io.ErrClosedPipe, slowWays[i%len(slowWays)].name)
			c.Close()
		}
		cancel()
		<-ended
	})
}
