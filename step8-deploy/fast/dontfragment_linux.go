package fast

import (
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// dontFragment sends packets that nobody may fragment: no router, and not this host. What it
// takes the path's size to be does not count either (IP_PMTUDISC_PROBE), for
// strangers can have told it so. A packet that not even the network card takes is
// lost like one that gets lost on the way.
func (s *udpSender) dontFragment(b *link.Burst) error {
	s.raw.Control(func(fd uintptr) { s.fragment(int(fd), false) })
	defer s.raw.Control(func(fd uintptr) {
		s.fragment(int(fd), true)
		// A router's answer that is here already is about these packets. The next
		// one is not to fail for it.
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

// fragment forbids or allows to fragment what is sent next. It can't fail on a socket
// that setUp has set up.
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
