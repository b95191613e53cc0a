package fast

import (
	"encoding/binary"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file limits the super-packets that the host gives to the TUN device, so that all
// segments of one fit into one send. (Sending with UDP GSO is in udpsend_linux.go.)

// limitGSO sets the size of a device's largest super-packet, like
//
//	ip link set dev NAME gso_max_size SIZE
func limitGSO(name string, size uint32) error {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, setLink(dev.Index, unix.IFLA_GSO_MAX_SIZE, size), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	return acknowledged(answer[:n])
}

// maxGSO is the size in bytes of the largest super-packet that the host is to make. As a
// tunnel adds to each segment, the segments of a larger one would not fit into one call of
// sendmsg, and the rest would need a second, nearly empty call: that costs 5 %. The value is
// right for an MTU of 1280 bytes or more.
const maxGSO = 60 << 10

// setLink returns a message that sets a 32-bit attribute of an interface (see
// rtnetlink(7)).
func setLink(index int, attribute uint16, value uint32) []byte {
	const length = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg + unix.SizeofRtAttr + 4
	e := binary.NativeEndian
	m := e.AppendUint32(nil, length)
	m = e.AppendUint16(m, unix.RTM_SETLINK)
	m = e.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = append(m, make([]byte, 8)...)      // sequence number, sender
	m = append(m, unix.AF_UNSPEC, 0, 0, 0) // struct ifinfomsg from here on
	m = e.AppendUint32(m, uint32(index))
	m = append(m, make([]byte, 8)...) // no flags to change
	m = e.AppendUint16(m, unix.SizeofRtAttr+4)
	m = e.AppendUint16(m, attribute)
	return e.AppendUint32(m, value)
}

// acknowledged returns the error in an answer.
func acknowledged(answer []byte) error {
	messages, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
			if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
				return os.NewSyscallError("RTM_SETLINK", unix.Errno(errno))
			}
		}
	}
	return nil
}
