package push

import (
	"errors"
	"fmt"
)

// An Item is one setting in encoded form. Its value has at most 255 bytes. (Step 8 adds
// items of its own, so Item and Items are exported.)
type Item struct {
	Type  byte
	Value []byte
}

// Append appends the encoded item to b, and returns the extended slice.
func (i Item) Append(b []byte) []byte {
	b = append(b, i.Type, byte(len(i.Value)))
	return append(b, i.Value...)
}

// Items splits encoded settings into their items, whose values are slices of b. It
// returns an error if the settings are cut off, or of another version.
func Items(b []byte) (items []Item, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != version {
		return nil, fmt.Errorf("the settings have version %d, but this program knows only version %d: update it", b[0], version)
	}
	for b = b[1:]; len(b) > 0; {
		if len(b) < 2 || len(b)-2 < int(b[1]) {
			return nil, errors.New("settings are cut off")
		}
		i := Item{b[0], b[2 : 2+int(b[1])]}
		items, b = append(items, i), b[2+len(i.Value):]
	}
	return items, nil
}
