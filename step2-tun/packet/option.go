package packet

import "strconv"

// An Option is the type of an IPv4 option (RFC 791, section 3.1; list at
// https://www.iana.org/assignments/ip-parameters).
type Option uint8

// The two options that are a single byte, and serve as padding.
const (
	optionEnd Option = 0 // nothing follows
	optionNop Option = 1
)

var optionNames = map[Option]string{
	7:   "record-route",
	68:  "timestamp",
	130: "security",
	131: "loose-source-route",
	136: "stream-id",
	137: "strict-source-route",
	148: "router-alert", // RFC 2113
}

// String returns the name, or "option N" for one that is not listed here.
func (o Option) String() string {
	if name, ok := optionNames[o]; ok {
		return name
	}
	return "option " + strconv.Itoa(int(o))
}

// readOptions lists the options in b, which is at most 40 bytes long. All but
// the padding begin with their type and their length, which includes these two
// bytes.
func readOptions(b []byte) ([]Option, error) {
	var list []Option
	for len(b) > 0 {
		o := Option(b[0])
		if o == optionEnd {
			break
		}
		if o == optionNop {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return list, errOption
		}
		list = append(list, o)
		b = b[b[1]:]
	}
	return list, nil
}
