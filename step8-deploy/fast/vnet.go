package fast

import "encoding/binary"

// A vnetHeader comes before each packet that passes between the program and the device. It
// is struct virtio_net_hdr of linux/virtio_net.h, in the machine's byte order:
//
//	+-------+--------+---------------+---------------+
//	| Flags |GSO type| Header length |   GSO size    |  0
//	+-------+--------+---------------+---------------+
//	|Checksum start  |Checksum offset|                  6
//	+----------------+---------------+
type vnetHeader struct {
	flags     uint8
	gsoType   uint8
	headerLen uint16 // a hint; don't rely on the kernel's
	gsoSize   uint16 // payload bytes of each segment
	// With needsChecksum: where the checksummed data begin, and how many bytes from there the
	// checksum's field is. The field holds the sum of the pseudo-header.
	checksumStart  uint16
	checksumOffset uint16
}

const vnetLen = 10

const needsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

// The GSO types that we ask for, and the flag ECN, which says that only the first segment has
// the CWR bit.
const (
	gsoNone = 0 // VIRTIO_NET_HDR_GSO_NONE
	gsoTCP4 = 1 // VIRTIO_NET_HDR_GSO_TCPV4
	gsoTCP6 = 4 // VIRTIO_NET_HDR_GSO_TCPV6
	gsoUDP  = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
	gsoECN  = 0x80
)

// readVnet reads the header at the start of b.
func readVnet(b []byte) vnetHeader {
	return vnetHeader{
		flags:          b[0],
		gsoType:        b[1],
		headerLen:      binary.NativeEndian.Uint16(b[2:]),
		gsoSize:        binary.NativeEndian.Uint16(b[4:]),
		checksumStart:  binary.NativeEndian.Uint16(b[6:]),
		checksumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// put writes the header to the start of b.
func (h vnetHeader) put(b []byte) {
	b[0], b[1] = h.flags, h.gsoType
	binary.NativeEndian.PutUint16(b[2:], h.headerLen)
	binary.NativeEndian.PutUint16(b[4:], h.gsoSize)
	binary.NativeEndian.PutUint16(b[6:], h.checksumStart)
	binary.NativeEndian.PutUint16(b[8:], h.checksumOffset)
}
