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
	"stepvpn/step8-deploy/reconcile"
)

// A pause opens the switch for a while, so that a person can log in to the network of a
// hotel, say.
//
// It has a table of its own, with a set that has one element for each family. While an
// element is there, packets that leave get a mark that the switch lets pass. The kernel
// removes the elements when their time is up, even if this program has ended. (Its clock for
// that stands still while the machine is suspended; a client that runs ends the pause then.) Meanwhile a
// policy rule leads past the switch's rules. Afterwards the client that runs, or the next
// one, removes that rule; until then, the switch's table refuses everything again.
const pauseTable nft.Table = "inet stepvpn_pause"

// pauseMark is the mark that packets without one get during a pause.
const pauseMark = 22506

// The shortest and the longest pause.
const (
	MinPause = time.Second
	MaxPause = 24 * time.Hour
)

// pauseRuleset returns the table as a person would type it. It sees packets that leave
// before the switch's table does.
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

// Pause opens the switch for d, in whole seconds. It replaces a pause that is not over. It
// returns an error if no switch is closed. A running client notices the pause by itself.
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
	_, err := reconcile.Rules(priorityPause, priorityPause, pauseRules())
	if err != nil {
		return errors.Join(err, EndPause())
	}
	return nil
}

// pauseRules returns the rules that lead past the switch's.
func pauseRules() (list []policy.Rule) {
	for _, f := range hostnet.Families {
		list = append(list, policy.NewRule(f, priorityPause, unix.RT_TABLE_MAIN, "lookup main"))
	}
	return list
}

// EndPause closes the switch again. It is no error if there is no pause.
func EndPause() error {
	_, err := reconcile.Rules(priorityPause, priorityPause, nil)
	return errors.Join(err, reconcile.Remove(pauseTable))
}

// Paused returns how much longer the switch will be open; 0 if it is closed.
func Paused() time.Duration {
	if !reconcile.Exists(pauseTable) {
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
			// nft cuts off fractions of a second, so an element stays a little longer.
			left = max(left, time.Duration(e.Elem.Expires)*time.Second+time.Second)
		}
	}
	return left
}
