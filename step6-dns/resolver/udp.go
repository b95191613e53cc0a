package resolver

import (
	"errors"
	"fmt"
	"net"
)

// serveUDP answers what arrives at conn until that is closed. It never waits
// for anything but the next query: those that the cache does not answer get
// a goroutine.
func (s *Server) serveUDP(conn *net.UDPConn) error {
	patience := patience{ctx: s.ctx}
	buf := make([]byte, maxQuery+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if !patience.lost(err) {
				continue
			}
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("resolver: %v, udp: %w", conn.LocalAddr(), err)
		}
		patience.lost(nil)
		s.handle(buf[:n], asker{
			addr: from.Addr().Unmap(),
			send: func(reply []byte) {
				if reply != nil && from.Port() != 0 {
					conn.WriteToUDPAddrPort(reply, from) // who does not get it asks again
				}
			},
		})
	}
}
