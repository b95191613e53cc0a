package packet

import "encoding/binary"

// A UDP holds the fields of a UDP header (RFC 768).
//
//	+-------------------------------+-------------------------------+
//	|          Source port          |       Destination port        |  0
//	+-------------------------------+-------------------------------+
//	|            Length             |           Checksum            |  4
//	+-------------------------------+-------------------------------+
type UDP struct {
	SrcPort, DstPort uint16
	Len              int // bytes of the whole datagram: header and data
}

// readUDP reads the header that b begins with. whole says that b is the whole
// payload of the packet.
func readUDP(b []byte, whole bool) (*UDP, error) {
	if len(b) < UDPHeaderLen {
		return nil, errShortUDP
	}
	u := &UDP{
		SrcPort: binary.BigEndian.Uint16(b[0:]),
		DstPort: binary.BigEndian.Uint16(b[2:]),
		Len:     int(binary.BigEndian.Uint16(b[4:])),
	}
	if u.Len < UDPHeaderLen || whole && u.Len > len(b) {
		return u, errUDPLength
	}
	return u, nil
}
