package secure

// A Rejected error is the reason why the other side refuses a session with this one, or
// ends it, as the other side has sent it.
type Rejected struct {
	Reason string // a sentence of the other side: one line of printable ASCII
	Final  bool   // asking again is useless until somebody has changed something
}

// MaxReason is the greatest length of a reason, in bytes.
const MaxReason = 200

func (r *Rejected) Error() string { return r.Reason }

// Append appends the encoding of r to dst: 1 if it is final, else 0, and the reason as
// Sentence returns it.
func (r Rejected) Append(dst []byte) []byte {
	end := byte(0)
	if r.Final {
		end = 1
	}
	return append(append(dst, end), Sentence(r.Reason)...)
}

// ParseRejected is the inverse of Append. It returns false for a reason that does not
// pass PlainText.
func ParseRejected(m []byte) (r Rejected, ok bool) {
	if len(m) < 1 || m[0] > 1 || !PlainText(string(m[1:])) {
		return r, false
	}
	return Rejected{Reason: string(m[1:]), Final: m[0] == 1}, true
}

// parseClose returns the reason of a close message, or an empty one if there is none.
func parseClose(content []byte) (r Rejected, ok bool) {
	if len(content) == 0 {
		return r, true
	}
	return ParseRejected(content)
}

// PlainText reports whether s can safely be shown even if a stranger wrote it: it has 1
// to MaxReason bytes of printable ASCII, so no line breaks, and nothing that controls a
// terminal.
func PlainText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= MaxReason
}

// Sentence returns s as text that passes PlainText: other characters are
// replaced, and the end is cut off.
func Sentence(s string) string {
	b := make([]byte, 0, MaxReason)
	for _, r := range s {
		if len(b) == MaxReason {
			break
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		b = append(b, byte(r))
	}
	if len(b) == 0 {
		return "no reason given"
	}
	return string(b)
}
