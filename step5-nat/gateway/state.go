package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
)

// A state records which settings of the host were changed, so that a later run can
// restore them if this one is killed. It is written to a file before each change (see
// statefile.go).
//
// The gateways of a host share one state: the first one finds the original values, and
// the last one to leave restores them. openState locks the state.
type state struct {
	Owners  []owner  `json:"owners"`
	Changes []change `json:"changes"` // oldest first

	file statefile
}

// An owner is a running gateway. It is identified by its device, which exists for as long
// as the program runs. The index distinguishes the device from a later one of that name.
type owner struct {
	Device string `json:"device"`
	Index  int    `json:"index"`
}

// A change is a setting that was found with one value and set to another. Along holds the
// values of those settings that the kernel changes along with it, as they were found.
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

// join makes the device's gateway an owner. If all owners are dead, it restores the
// settings that they changed, except those that are needed: these stay as they are, so
// that connections are not interrupted.
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

// leave removes the device's gateway from the owners. If none is left, it restores the
// settings.
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

// set changes a setting, unless it already has the value.
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
	if !s.changed(key) { // else another program has changed it back; the value found first counts
		s.Changes = append(s.Changes, c)
	}
	if err := s.save(); err != nil {
		return err
	}
	slog.Info(typed(key, value) + " (was " + found + ")")
	return writeSetting(key, value)
}

// putBack restores the settings that are no longer needed, the last change first, and
// removes them from the state. Those that cannot be restored stay in it for the next time.
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

// putBack restores one setting, if its value is still the one that was set, and then
// those that the kernel changed along with it.
func (c change) putBack() error {
	now, err := readSetting(c.Key)
	switch {
	case err != nil:
		return err
	case now == "": // the interface is gone
		return nil
	case now != c.Set && now != c.Found:
		slog.Warn(fmt.Sprintf("%s is %s, not the %s that was set: it is left alone", dotted(c.Key), now, c.Set))
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

// restore writes the value, unless the setting already has it or no longer exists.
func restore(key, value string) error {
	now, err := readSetting(key)
	if err != nil || now == "" || now == value {
		return err
	}
	slog.Info(typed(key, value))
	return writeSetting(key, value)
}
