package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
)

// A state remembers which settings of the host were changed, so that a later
// run can put them back if this one is killed. It is written to a file before
// each change (see statefile.go).
//
// The gateways of a host share one state: the first one finds the original
// values, and the last one to leave restores them. openState locks it.
type state struct {
	Owners  []owner  `json:"owners"`
	Changes []change `json:"changes"` // oldest first

	file statefile
}

// An owner is a running gateway, known by its device: that exists for as long
// as the program runs. The index tells it from a later one of the same name.
type owner struct {
	Device string `json:"device"`
	Index  int    `json:"index"`
}

// A change is a setting that was found with one value and set to another. Along
// has the settings that the kernel changes with it, as they were found.
type change struct {
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

// join makes the device's gateway an owner. What dead ones have changed is taken
// over as it is where needed says so, for connections go on meanwhile. The rest is
// put back first, if nobody else is there.
func (s *state) join(device string, needed func(key string) bool) error {
	itf, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	me := owner{device, itf.Index}
	s.Owners = slices.DeleteFunc(s.Owners, func(o owner) bool { return !o.alive() })
	if len(s.Owners) == 0 {
		if err := s.putBack(needed); err != nil {
			return err
		}
	}
	if !slices.Contains(s.Owners, me) {
		s.Owners = append(s.Owners, me)
	}
	return s.save()
}

// leave ends that. If nobody else is there, the settings are put back.
func (s *state) leave(device string) error {
	s.Owners = slices.DeleteFunc(s.Owners, func(o owner) bool { return o.Device == device || !o.alive() })
	var err error
	if len(s.Owners) == 0 {
		err = s.putBack(func(string) bool { return false })
	}
	return errors.Join(err, s.save())
}

// changed reports whether a gateway has changed the setting.
func (s *state) changed(key string) bool {
	return slices.ContainsFunc(s.Changes, func(c change) bool { return c.Key == key })
}

// set changes a setting, unless it has the value already.
func (s *state) set(key, value string) error {
	found, err := readSetting(key)
	switch {
	case err != nil || found == value:
		return err
	case found == "":
		return fmt.Errorf("this kernel has no setting %s", dotted(key))
	}
	c := change{Key: key, Found: found, Set: value, Along: map[string]string{}}
	for _, other := range changedAlong(key) {
		if was, err := readSetting(other); err != nil {
			return err
		} else if was != "" { // else the interface has just gone
			c.Along[other] = was
		}
	}
	if !s.changed(key) { // else somebody has changed it back; what was found first is what counts
		s.Changes = append(s.Changes, c)
	}
	if err := s.save(); err != nil {
		return err
	}
	slog.Info(typed(key, value) + " (was " + found + ")")
	return writeSetting(key, value)
}

// putBack restores the settings that nobody needs any more, the last change first,
// and forgets them. What cannot be restored stays for the next time.
func (s *state) putBack(needed func(key string) bool) error {
	var left []change
	var errs []error
	for _, c := range slices.Backward(s.Changes) {
		if needed(c.Key) {
			left = append(left, c)
		} else if err := c.putBack(); err != nil {
			left = append(left, c)
			errs = append(errs, err)
		}
	}
	slices.Reverse(left)
	s.Changes = left
	return errors.Join(errs...)
}

// putBack restores one setting, if its value is still the one that was set, and
// then those along with it.
func (c change) putBack() error {
	now, err := readSetting(c.Key)
	switch {
	case err != nil:
		return err
	case now == "": // the interface is gone
		return nil
	case now != c.Set && now != c.Found:
		slog.Warn(fmt.Sprintf("%s is %s, not the %s that was set: left alone", dotted(c.Key), now, c.Set))
		return nil
	}
	if err := restore(c.Key, c.Found); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(c.Along)) {
		if err := restore(key, c.Along[key]); err != nil {
			return err
		}
	}
	return nil
}

// restore writes the value, unless it is there already or the setting is gone.
func restore(key, value string) error {
	now, err := readSetting(key)
	if err != nil || now == "" || now == value {
		return err
	}
	slog.Info(typed(key, value))
	return writeSetting(key, value)
}
