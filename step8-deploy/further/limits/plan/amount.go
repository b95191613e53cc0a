// Package plan says what a client may use: how a rate, a quota and a plan of both are written in a
// server's settings and in a line of its registry, and when a quota begins anew. It is a part of
// the chapter on limits, beyond step 8.
package plan

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// This file reads and writes rates and amounts, such as 20Mbit/s and 100GB/month.

// A Rate is in bits per second. 0 is no limit.
type Rate int64

// A Volume is in bytes per month. 0 is no quota.
type Volume int64

const (
	minRate   = 64_000          // bit/s: a packet of 1,500 bytes takes 188 ms
	maxRate   = 100_000_000_000 // bit/s
	minVolume = 1_000_000       // bytes
	maxVolume = 1_000_000_000_000_000

	none = "none" // stands for 0
)

// A unit is a name and how many bits per second, or bytes, it stands for.
type unit struct {
	name string
	size int64
}

// The largest come first. With bytes, both kinds of prefixes are in use.
var (
	rateUnits   = []unit{{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1}}
	volumeUnits = []unit{{"TB/month", 1e12}, {"GB/month", 1e9}, {"MB/month", 1e6},
		{"TiB/month", 1 << 40}, {"GiB/month", 1 << 30}, {"MiB/month", 1 << 20}}
)

// ParseRate reads a rate such as 20Mbit/s, or none. It refuses what could mean bits or bytes.
func ParseRate(s string) (Rate, error) {
	n, err := parse(s, rateUnits, minRate, maxRate)
	if err != nil {
		return 0, fmt.Errorf("it is %w: a rate is none, or 64kbit/s to 100Gbit/s, in kbit/s, Mbit/s or Gbit/s (bits, not bytes; k is 1000)", err)
	}
	return Rate(n), nil
}

// ParseVolume reads a quota such as 100GB/month, or none.
func ParseVolume(s string) (Volume, error) {
	n, err := parse(s, volumeUnits, minVolume, maxVolume)
	if err != nil {
		return 0, fmt.Errorf("it is %w: a quota is none, or 1MB/month to 1000TB/month, in MB, GB, TB (M is 1000*1000) or MiB, GiB, TiB (Mi is 1024*1024)", err)
	}
	return Volume(n), nil
}

var number = regexp.MustCompile(`^[0-9]{1,12}(\.[0-9]{1,6})?`)

func parse(s string, units []unit, low, high int64) (int64, error) {
	if s == none {
		return 0, nil
	}
	digits := number.FindString(s)
	for _, u := range units {
		if digits == "" || s[len(digits):] != u.name {
			continue
		}
		exact, _ := new(big.Rat).SetString(digits)
		exact.Mul(exact, new(big.Rat).SetInt64(u.size))
		n := new(big.Int).Quo(exact.Num(), exact.Denom())
		switch {
		case n.Cmp(big.NewInt(low)) < 0:
			return 0, fmt.Errorf("%q, which is too little", s)
		case n.Cmp(big.NewInt(high)) > 0:
			return 0, fmt.Errorf("%q, which is too much", s)
		}
		return n.Int64(), nil
	}
	return 0, fmt.Errorf("%q, which is not clear", cut(s))
}

// cut bounds what an error repeats.
func cut(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}

// String returns the rate as ParseRate reads it.
func (r Rate) String() string { return format(int64(r), rateUnits) }

// String returns the quota as ParseVolume reads it, if it comes from there.
func (v Volume) String() string { return format(int64(v), append(volumeUnits, unit{"B/month", 1})) }

// Amount returns the quota without its period, such as "100 GB".
func (v Volume) Amount() string {
	s := strings.TrimSuffix(v.String(), "/month")
	digits := number.FindString(s)
	return digits + " " + s[len(digits):]
}

// format uses the unit that gives the shortest number without loss: the largest one in which it
// is whole, or has up to three decimals.
func format(n int64, units []unit) string {
	if n == 0 {
		return none
	}
	best := ""
	for _, u := range units {
		whole, rest := n/u.size, n%u.size
		s := fmt.Sprint(whole)
		if rest != 0 {
			if whole == 0 || u.size%1000 != 0 || rest%(u.size/1000) != 0 {
				continue
			}
			s += strings.TrimRight(fmt.Sprintf(".%03d", rest/(u.size/1000)), "0")
		}
		if best == "" || len(s) < len(number.FindString(best)) {
			best = s + u.name
		}
	}
	return best
}
