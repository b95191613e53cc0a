package pool

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"stepvpn/step4-crypto/noise"
)

// A state file is text. The first line says what it is, and whether the server
// that wrote it has ended in order. Then comes one line for each address that a
// client has or had, sorted by address:
//
//	stepvpn leases 1 closed
//	10.8.0.2 oNUGW2Zv3wGyLN0wKCTLMmBiTgc9kDvVA5ufWcwYJSQ= 2026-11-25T20:58:25Z
//	10.8.0.3 - 2026-11-25T20:12:01Z
//
// The address, the public key of the client (or - if the client was forgotten),
// and when the address was in use last, in UTC, rounded up. In a file that is not "closed",
// addresses may have been in use later than it says.
//
// There is one spelling of each state, and no other is accepted.
const (
	headRunning = "stepvpn leases 1 running"
	headClosed  = "stepvpn leases 1 closed"
	noOwner     = "-"
)

// maxStateSize bounds what is read, in bytes: maxLeases lines of each family, and
// one line has at most 106 bytes.
const maxStateSize = 16 << 20

// A state is the content of a state file.
type state struct {
	closed  bool
	records []record
}

// A record is one line of it.
type record struct {
	addr     netip.Addr
	owner    noise.PublicKey // or nobody
	released time.Time
}

func (s state) String() string {
	slices.SortFunc(s.records, func(a, b record) int { return a.addr.Compare(b.addr) })
	var text strings.Builder
	text.Grow(len(headRunning) + 1 + 106*len(s.records))
	if s.closed {
		text.WriteString(headClosed)
	} else {
		text.WriteString(headRunning)
	}
	text.WriteByte('\n')
	for _, r := range s.records {
		owner := noOwner
		if r.owner != nobody {
			owner = noise.FormatKey(r.owner)
		}
		fmt.Fprintf(&text, "%v %s %s\n", r.addr, owner, r.released.UTC().Add(time.Second-1).Format(time.RFC3339))
	}
	return text.String()
}

// parseState reads a state. An empty text is none: that without leases has a line, too.
func parseState(text string) (s state, err error) {
	if len(text) > maxStateSize {
		return s, fmt.Errorf("it is larger than %d bytes", maxStateSize)
	}
	if text == "" {
		return s, errors.New("it is empty")
	}
	head, rest, _ := strings.Cut(text, "\n")
	if head != headRunning && head != headClosed {
		return s, fmt.Errorf("line 1 is not %q or %q", headRunning, headClosed)
	}
	if !strings.HasSuffix(text, "\n") {
		return s, errors.New("the end is missing")
	}
	s.closed = head == headClosed
	seen := newSeen()
	number := 1
	for line := range strings.Lines(rest) {
		number++
		r, err := parseRecord(strings.TrimSuffix(line, "\n"))
		if err == nil {
			err = seen.add(r)
		}
		if err != nil {
			return state{}, fmt.Errorf("line %d: %w", number, err)
		}
		s.records = append(s.records, r)
	}
	return s, nil
}

func parseRecord(line string) (r record, err error) {
	fields := strings.Split(line, " ")
	if len(fields) != 3 {
		return r, fmt.Errorf("it has %d fields, not an address, a key and a time", len(fields))
	}
	r.addr, err = netip.ParseAddr(fields[0])
	if err != nil || r.addr.String() != fields[0] || r.addr.Zone() != "" || r.addr.Is4In6() {
		return r, fmt.Errorf("%.60q is not an address", fields[0])
	}
	if fields[1] != noOwner {
		r.owner, err = noise.ParseKey[noise.PublicKey](fields[1])
		if err != nil || r.owner == nobody {
			return r, fmt.Errorf("%.60q is not a key", fields[1])
		}
	}
	r.released, err = time.Parse(time.RFC3339, fields[2])
	if err != nil || r.released.UTC().Format(time.RFC3339) != fields[2] {
		return r, fmt.Errorf("%.60q is not a time in UTC", fields[2])
	}
	return r, nil
}

// seen is what the lines so far make impossible for the next ones.
type seen struct {
	last   netip.Addr
	owners [2]map[noise.PublicKey]bool // of IPv4 and IPv6
	count  [2]int
}

func newSeen() *seen {
	return &seen{owners: [2]map[noise.PublicKey]bool{{}, {}}}
}

func (s *seen) add(r record) error {
	version := 0
	if r.addr.Is6() {
		version = 1
	}
	if s.last.IsValid() && s.last.Compare(r.addr) >= 0 {
		return fmt.Errorf("%v is not behind the address before", r.addr)
	}
	s.last = r.addr
	if s.owners[version][r.owner] {
		return fmt.Errorf("%s has two addresses of one family", noise.FormatKey(r.owner))
	}
	if r.owner != nobody {
		s.owners[version][r.owner] = true
	}
	if s.count[version]++; s.count[version] > maxLeases {
		return fmt.Errorf("more than %d addresses of one family are too many", maxLeases)
	}
	return nil
}
