package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
)

// A state remembers which settings of the host were changed, and for whom, so
// that a later run can put them back if this one is killed. It is kept in a
// file (see statefile.go), written before each change.
//
// All gateways on a host share one state: the first finds the original values,
// and the last to leave restores them. openState locks it for one program at a
// time.
type state struct {
	Owners  []owner  `json:"owners"`
	Changes []setting `json:"changes"` // oldest first

	file *statefile
}

// An owner is a running gateway, known by its device: a TUN device exists as
// long as its program runs. The index tells it from a later one of that name.
type owner struct {
	Device string `json:"device"`
	Index  int    `json:"index"`
}

// A setting was changed from Found to Set. Along are the settings that the
// kernel changes with it, as they were found.
type setting struct {
	Key   string            `json:"key"`
	Found string            `json:"found"`
	Set   string            `json:"set"`
	Along map[string]string `json:"along,omitempty"`
}

// alive reports whether the owner's device still exists.
func (o owner) alive() bool {
	itf, err := net.InterfaceByIndex(o.Index)
	return err == nil && itf.Name == o.Device
}

// join makes the gateway of the device an owner. If all others are dead, what
// they left is put back first.
func (s *state) join(device string) error {
	itf, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	me := owner{device, itf.Index}
	s.Owners = slices.DeleteFunc(s.Owners, func(o owner) bool { return o == me || !o.alive() })
	...
}
