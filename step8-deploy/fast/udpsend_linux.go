package fast

import (
	"log/slog"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
)

// A udpSender is the sending side of a UDP. It is used by one goroutine.
type udpSender struct {
	udp *UDP
	raw syscall.RawConn
	v6  bool // an IPv6 socket; it sends IPv4 as well, unless it is bound to an IPv6 address

	message unix.Msghdr
	to      netip.AddrPort
	name    sockaddr   // of to
	from    netip.Addr // the source address; the zero Addr lets the kernel choose
	control controlBuffer
	vector  [link.MaxBurst]unix.Iovec

	alone  int  // how many more bursts to send packet by packet, after the kernel has refused one
	warned bool // the refusal was logged

	errno   unix.Errno // of the last sendmsg
	sendmsg func(fd uintptr) bool
}

// maxSend is the largest number of bytes for one call: an IPv4 packet has room for this many
// after its headers.
const maxSend = 65535 - ipv4Len - udpLen

func (s *udpSender) init(u *UDP, raw syscall.RawConn) {
	s.udp, s.raw, s.to = u, raw, u.server
	s.message.Iov = &s.vector[0]
	s.sendmsg = s.call
}

// WriteBurst sends the packets, those of the same length in one call. So all packets must stay
// valid until it returns, unlike those of a TUN's burst.
func (u *UDP) WriteBurst(b *link.Burst) error {
	s := &u.sender
	if !u.server.IsValid() && !s.address(b.Addr) {
		for range b.Len() {
			u.o.Drops.Add(link.NoPeer)
		}
		return nil
	}
	if u.sources != nil {
		s.from = u.sources.of(b.Addr)
	}
	if b.Hints.DontFragment {
		return s.dontFragment(b)
	}
	alone := u.o.NoGSO || s.alone > 0
	s.alone = max(s.alone-1, 0)
	for i := 0; i < b.Len(); {
		j := i + 1
		if !alone {
			j = together(b, i)
		}
		if err := s.send(b, i, j); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// together returns j such that the packets from i to j-1 can go in one call: they have the
// same length, except that the last may be shorter.
func together(b *link.Burst, i int) (j int) {
	size := len(b.At(i))
	total := size
	for j = i + 1; j < b.Len(); j++ {
		n := len(b.At(j))
		total += n
		if n > size || n == 0 || total > maxSend {
			return j
		}
		if n < size {
			return j + 1
		}
	}
	return j
}

// send sends the packets from i to j-1.
func (s *udpSender) send(b *link.Burst, i, j int) error {
	err := s.tryTwice(b, i, j)
	if j-i > 1 && (err == unix.EIO || err == unix.EINVAL || err == unix.EMSGSIZE) {
		return s.without(b, i, j, err)
	}
	return s.dropped(err, j-i)
}

// tryTwice tries again after an error that an ICMP message may have caused. On a connected
// socket, such an error is about an earlier packet: it is counted, and these packets are sent.
func (s *udpSender) tryTwice(b *link.Burst, i, j int) error {
	before := s.try(b, i, j)
	if before == nil || !s.udp.server.IsValid() || before == unix.EIO || before == unix.EINVAL {
		return before
	}
	if err := s.try(b, i, j); err != nil {
		return err
	}
	transport.Passing(before, s.udp.o.Drops) // only to count it: the second try has shown that the error passes
	return nil
}

// aloneFor is how many bursts are sent packet by packet after the kernel has refused one.
// Then sending them together is tried again. If the kernel has refused for good, that costs
// one call for this many bursts. But before Linux 6.14, the kernel also returns EINVAL while
// it believes that the path's MTU is small, and over IPv6 a forged message can make it
// believe that.
const aloneFor = 1000

// without sends packets one by one that were refused together. If that works, packets are sent
// one by one for a while, unless these were only too long for the path at the time.
func (s *udpSender) without(b *link.Burst, i, j int, refused error) error {
	sent, err := s.singles(b, i, j)
	if sent > 0 && refused != unix.EMSGSIZE {
		s.alone = aloneFor
		if !s.warned {
			s.warned = true
			slog.Warn("the kernel does not send several packets in one call: sending them one by one", "error", refused)
		}
	}
	return err
}

func (s *udpSender) singles(b *link.Burst, i, j int) (sent int, err error) {
	for ; i < j; i++ {
		err := s.tryTwice(b, i, i+1)
		if err == nil {
			sent++
		} else if err := s.dropped(err, 1); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// dropped counts n packets that were not sent, or returns the error that ends the socket.
func (s *udpSender) dropped(err error, n int) error {
	if err == nil {
		return nil
	}
	if s.udp.server.IsValid() && addressGone(err) {
		s.reconnect()
		err = unix.EADDRNOTAVAIL
	}
	for range n {
		if !transport.Passing(err, s.udp.o.Drops) {
			return err
		}
	}
	return nil
}

// try sends the packets from i to j-1 in one call.
func (s *udpSender) try(b *link.Burst, i, j int) error {
	parts := 0
	for k := i; k < j; k++ {
		p := b.At(k)
		base := unsafe.SliceData(p)
		if last := parts - 1; last >= 0 && end(&s.vector[last]) == uintptr(unsafe.Pointer(base)) {
			s.vector[last].SetLen(int(s.vector[last].Len) + len(p))
			continue
		}
		s.vector[parts].Base = base
		s.vector[parts].SetLen(len(p))
		parts++
	}
	s.message.SetIovlen(parts)
	s.control.used = 0
	if j-i > 1 {
		s.control.segment(len(b.At(i)))
	}
	if s.from.IsValid() {
		s.control.from(s.from, s.v6)
	}
	if b.Hints.Class != 0 {
		s.control.class(b.Hints.Class, s.to.Addr().Is6())
	}
	s.control.put(&s.message)
	if err := s.raw.Write(s.sendmsg); err != nil {
		return err
	}
	if s.errno != 0 {
		return s.errno
	}
	return nil
}

// end returns the address after the bytes of v. Packets that were allocated one after another
// are adjacent, and then one vector is enough.
func end(v *unix.Iovec) uintptr { return uintptr(unsafe.Pointer(v.Base)) + uintptr(v.Len) }

func (s *udpSender) call(fd uintptr) bool {
	_, s.errno = call(unix.SYS_SENDMSG, fd, unsafe.Pointer(&s.message), 0)
	return s.errno != unix.EAGAIN
}

// address sets the destination of the messages. It reports false if the socket can't send to
// this address.
func (s *udpSender) address(to netip.AddrPort) bool {
	if to == s.to {
		return to.IsValid()
	}
	if !to.IsValid() || !s.v6 && !to.Addr().Is4() {
		return false
	}
	s.to = to
	s.message.Name = (*byte)(unsafe.Pointer(&s.name))
	s.message.Namelen = s.name.set(to, s.v6)
	return true
}
