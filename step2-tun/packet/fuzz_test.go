package packet

import (
	"slices"
	"testing"
)

// seed gives the fuzzer all samples, and each of them cut in the middle of
// every header.
func seed(f *testing.F) {
	for _, s := range slices.Concat(good, notIP, broken) {
		if len(s.packet) > 2000 {
			continue // long packets make it slow, and have nothing new in them
		}
		f.Add(s.packet)
		for _, n := range []int{1, 10, 24, 43} {
			f.Add(s.packet[:min(n, len(s.packet))])
		}
	}
}

// On a packet that Check accepts, no method of the views may panic, and the parts make up
// the whole.
func FuzzCheck(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		if Check(p) != nil {
			return
		}
		if p[0]>>4 == 4 {
			h, err := AsIPv4(p)
			if err != nil {
				t.Fatal(err)
			}
			h.TTL()
			h.Protocol()
			h.Fragment()
			h.ChecksumOK()
			if !h.Src().Is4() || !h.Dst().Is4() {
				t.Fatal("no addresses")
			}
			if IPv4HeaderLen+len(h.Options())+len(h.Payload()) != len(p) {
				t.Fatal("the parts are not the whole")
			}
			return
		}
		h, err := AsIPv6(p)
		if err != nil {
			t.Fatal(err)
		}
		h.NextHeader()
		h.HopLimit()
		if !h.Src().Is6() || !h.Dst().Is6() {
			t.Fatal("no addresses")
		}
		if IPv6HeaderLen+len(h.Payload()) != len(p) {
			t.Fatal("the parts are not the whole")
		}
	})
}

// Parse agrees with Check, changes nothing, and Describe prints a line that no
// terminal trips over.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		before := slices.Clone(p)
		k, err := Parse(p)
		if whole := Check(p) == nil; whole != (k.Version != 0) || !whole && err == nil {
			t.Fatalf("Check and Parse disagree: version %d, %v", k.Version, err)
		}
		if k.Len != len(p) || len(k.Options) > 20 || len(k.Extensions) > maxExtensions {
			t.Fatalf("impossible: %+v", k)
		}
		headers := 0
		for _, set := range []bool{k.TCP != nil, k.UDP != nil, k.ICMP != nil} {
			if set {
				headers++
			}
		}
		if headers > 1 || headers == 1 && k.Fragment.Offset > 0 {
			t.Fatalf("more headers than one packet has: %+v", k)
		}
		line := Describe(p)
		if line == "" || len(line) > 1000 {
			t.Fatalf("%d bytes of line", len(line))
		}
		for _, c := range []byte(line) {
			if c < ' ' || c > '~' {
				t.Fatalf("%q", line)
			}
		}
		if !slices.Equal(before, p) {
			t.Fatal("the packet was changed")
		}
	})
}
