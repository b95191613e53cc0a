package wireguard

import (
	"bytes"
	"fmt"
	"testing"
)

// What others write: wireguard-go's tai64n package says the same of these times.
func TestTimestampText(t *testing.T) {
	for _, c := range []struct {
		nanos uint64
		want  string
	}{
		{0, "400000000000000a 00000000"},
		{1_000_000_000, "400000000000000b 00000000"},
		{1_999_999_999, "400000000000000b 3b000000"},
		{1_700_000_000_123_456_789, "400000006553f10a 07000000"},
	} {
		text := appendTAI64N([]byte("before"), c.nanos)
		text, found := bytes.CutPrefix(text, []byte("before"))
		if !found {
			t.Errorf("%x: it is not appended to what is there", text)
		}
		got := fmt.Sprintf("%x", text)
		if len(text) == tai64nLen {
			got = fmt.Sprintf("%x %x", text[:8], text[8:])
		}
		if got != c.want {
			t.Errorf("%d ns after 1970 is %s, and not %s", c.nanos, got, c.want)
		}
	}
}

// The next time is what a server compares, so it has to be later as a text, too.
func TestNextTimestamp(t *testing.T) {
	const now = 1_700_000_000_123_456_789
	for _, c := range []struct {
		name        string
		before, now uint64
	}{
		{"the first one", 0, now},
		{"a second later", now - second, now},
		{"within the same 17 ms", nextTAI64N(0, now), now + 1},
		{"at the end of a second", nextTAI64N(0, now/second*second+second-1), now/second*second + second - 1},
		{"a clock that was set back", nextTAI64N(0, now), now - 3600*second},
	} {
		next := nextTAI64N(c.before, c.now)
		text := appendTAI64N(nil, next)
		last := appendTAI64N(nil, c.before)
		switch order := bytes.Compare(text, last); {
		case order < 0:
			t.Errorf("%s: the next timestamp, %x, is earlier than the one before, %x", c.name, text, last)
		case order == 0:
			t.Errorf("%s: the next timestamp, %x, is the same as the one before", c.name, text)
		}
		if read, ok := parseTAI64N(text); ok && read != next {
			t.Errorf("%s: the next time is %d, and its timestamp says %d", c.name, next, read)
		}
		if most := max(c.now, c.before) + 2*tai64nUnit; next > most {
			t.Errorf("%s: it is %d ms ahead", c.name, (next-most)/1_000_000)
		}
	}
}
