package packet

import (
	"encoding/binary"
	"strings"
)

// A TCP holds the fields of a TCP header (RFC 9293, section 3.1) that a line of
// output has room for.
//
//	+-------------------------------+-------------------------------+
//	|          Source port          |       Destination port        |  0
//	+-------------------------------+-------------------------------+
//	|                        Sequence number                        |  4
//	+---------------------------------------------------------------+
//	|                    Acknowledgment number                      |  8
//	+-------+-------+---------------+-------------------------------+
//	|Data   |Reser- |     Flags     |            Window             |  12
//	|offset |ved    |               |                               |
//	+-------+-------+---------------+-------------------------------+
//	|           Checksum            |        Urgent pointer         |  16
//	+-------------------------------+-------------------------------+
//	|        Options, up to the length that the offset gives        |  20
//	+---------------------------------------------------------------+
type TCP struct {
	SrcPort, DstPort uint16
	Flags            TCPFlags
}

// readTCP reads the header that b begins with. whole says that b is the whole
// payload of the packet. A first fragment that ends within the fixed header is
// refused, too: only an attack on filters sends one (RFC 1858, section 3).
func readTCP(b []byte, whole bool) (*TCP, error) {
	if len(b) < TCPHeaderLen {
		return nil, errShortTCP
	}
	t := &TCP{
		SrcPort: binary.BigEndian.Uint16(b[0:]),
		DstPort: binary.BigEndian.Uint16(b[2:]),
		Flags:   TCPFlags(b[13]),
	}
	n := int(b[12]>>4) * 4 // in units of 4 bytes
	if n < TCPHeaderLen || whole && n > len(b) {
		return t, errTCPHeaderLength
	}
	return t, nil
}

// TCPFlags are the control bits of a TCP header, bit 0 first.
type TCPFlags uint8

var tcpFlagNames = [8]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}

// String lists the flags that are set, such as "SYN+ACK".
func (f TCPFlags) String() string {
	var set []string
	for bit, name := range tcpFlagNames {
		if f&(1<<bit) != 0 {
			set = append(set, name)
		}
	}
	if set == nil {
		return "no flags"
	}
	return strings.Join(set, "+")
}
