package killswitch

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step6-dns/nft"
	"stepvpn/step8-deploy/keep"
)

// A pause opens the switch for a while, for the page of a hotel that wants to be
// clicked away first.
//
// It has a table of its own, where a set has one element for each family. While it is
// there, what leaves gets a mark that the switch lets pass. The kernel removes the
// elements when their time is up, whatever has become of this program. A policy rule
// leads past those of the switch meanwhile. Who removes that afterwards is the client
// that runs, or the next one: the table refuses everything again.
const pauseTable nft.Table = "inet stepvpn_pause"

// pauseMark is what leaves during a pause marked with, if it has no mark.
const pauseMark = 22506

// The shortest and the longest pause.
const (
	MinPause = time.Second
	MaxPause = 24 * time.Hour
)

// pauseRuleset is the table as one would type it. It sees what leaves before the
// switch does.
func pauseRuleset(d time.Duration) string {
	seconds := int64(d / time.Second)
	return fmt.Sprintf(`table %s {
	set open {
		type nf_proto
		flags timeout
		elements = { ipv4 timeout %ds, ipv6 timeout %[2]ds }
	}
	chain leaving {
		meta nfproto @open meta mark 0 meta mark set %d
	}
	chain output {
		type filter hook output priority -1
		jump leaving
	}
	chain forward {
		type filter hook forward priority -1
		jump leaving
	}
}
`, pauseTable, seconds, pauseMark)
}

// Pause opens the switch for d, counted in whole seconds. Another pause takes the
// place of one that is not over. It is an error if no switch is closed. A client
// that runs notices by itself.
func Pause(d time.Duration) error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	if is, err := closed(); err != nil {
		return err
	} else if !is {
		return errors.New("no kill switch is closed on this host: there is nothing to pause")
	}
	if err := pauseTable.Set(pauseRuleset(d)); err != nil {
		return err
	}
	_, err := keep.Rules(priorityPause, priorityPause, pauseRules())
	if err != nil {
		return errors.Join(err, EndPause())
	}
	return nil
}

// pauseRules lead past those of the switch.
func pauseRules() (list []policy.Rule) {
	for _, f := range hostnet.Families {
		list = append(list, policy.NewRule(f, priorityPause, unix.RT_TABLE_MAIN, "lookup main"))
	}
	return list
}

// EndPause closes the switch again. No pause is no error.
func EndPause() error {
	_, err := keep.Rules(priorityPause, priorityPause, nil)
	return errors.Join(err, keep.Remove(pauseTable))
}

// Paused returns how long the switch will be open, 0 if it is closed.
func Paused() time.Duration {
	if !keep.Exists(pauseTable) {
		return 0
	}
	out, err := nft.Run("", "--json", "list", "set", "inet", "stepvpn_pause", "open")
	if err != nil {
		return 0
	}
	var answer struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Expires int64 `json:"expires"`
					} `json:"elem"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if json.Unmarshal([]byte(out), &answer) != nil {
		return 0
	}
	var left time.Duration
	for _, part := range answer.Nftables {
		for _, e := range part.Set.Elem {
			// Whole seconds, cut off: an element that is there is there for some more.
			left = max(left, time.Duration(e.Elem.Expires)*time.Second+time.Second)
		}
	}
	return left
}
