package zone

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// A Server answers on one address, over UDP and TCP.
type Server struct {
	udp, tcp dns.Server
	serving  sync.WaitGroup
}

// Start serves on an address such as ":53", which is port 53 of all IPv4 and IPv6
// addresses. It calls answer for each query. answer returns the response, or nil for no
// response; it must be safe for concurrent use. A query has exactly one question;
// miekg/dns rejects all others.
func Start(address string, answer func(Query) *dns.Msg) (*Server, error) {
	conn, listener, err := listen(address)
	if err != nil {
		return nil, err
	}
	handler := func(network string) dns.HandlerFunc {
		return func(w dns.ResponseWriter, m *dns.Msg) {
			host, _, _ := net.SplitHostPort(w.RemoteAddr().String()) // net wrote it
			if r := answer(Query{From: host, Network: network, Msg: m}); r != nil {
				w.WriteMsg(r) // an error means that the client has left
			}
		}
	}
	s := &Server{
		udp: dns.Server{PacketConn: conn, UDPSize: MaxUDP, Handler: handler("udp")},
		tcp: dns.Server{Listener: listener, Handler: handler("tcp")},
	}
	for _, server := range []*dns.Server{&s.udp, &s.tcp} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		s.serving.Go(func() { server.ActivateAndServe() }) // until Shutdown
		<-started
	}
	return s, nil
}

// listen opens both sockets. If the kernel chooses the port (":0"), the one that it chooses
// for UDP may be taken for TCP: then listen tries again with another port.
func listen(address string) (net.PacketConn, net.Listener, error) {
	for tries := 10; ; tries-- {
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, nil, err
		}
		listener, err := net.Listen("tcp", conn.LocalAddr().String())
		if err == nil {
			return conn, listener, nil
		}
		conn.Close()
		if tries == 0 || !strings.HasSuffix(address, ":0") {
			return nil, nil, fmt.Errorf("listening on the same port over TCP: %w", err)
		}
	}
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.udp.PacketConn.LocalAddr() }

// Close ends the server. It waits until all calls of answer have returned.
func (s *Server) Close() error {
	err := errors.Join(s.udp.Shutdown(), s.tcp.Shutdown())
	s.serving.Wait()
	return err
}
