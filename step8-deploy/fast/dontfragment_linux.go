package fast

import (
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// This file sends the probes of package pathmtu, and the answers to them: if a router or this
// host fragmented them, they would prove nothing.

// dontFragment sends packets that neither routers nor this host may fragment. It also
// ignores the kernel's idea of the path's MTU (IP_PMTUDISC_PROBE), which forged messages can
// have set. A packet that is too long even for the network card is lost, as if it had been
// lost on the way.
func (s *udpSender) dontFragment(b *link.Burst) error {
	s.raw.Control(func(fd uintptr) { s.fragment(int(fd), false) })
	defer s.raw.Control(func(fd uintptr) {
		s.fragment(int(fd), true)
		// An ICMP error that has come already is about these packets. Fetch it, so that
		// sending the next packet does not fail because of it.
		unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	})
	for i := range b.Len() {
		if err := s.tryTwice(b, i, i+1); err != unix.EMSGSIZE {
			if err := s.dropped(err, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// fragment allows or forbids fragmenting the next packets. It can't fail on a socket that
// setUp has set up.
func (s *udpSender) fragment(fd int, allow bool) {
	four, six, dont := unix.IP_PMTUDISC_PROBE, unix.IPV6_PMTUDISC_PROBE, 1
	if allow {
		four, six, dont = unix.IP_PMTUDISC_OMIT, unix.IPV6_PMTUDISC_WANT, 0
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, four)
	if s.v6 {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, six)
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, dont)
	}
}
