package push

import (
	"errors"
	"fmt"
)

// An Item is one of the encoded settings. Its value has up to 255 bytes.
type Item struct {
	Type  byte
	Value []byte
}

// Append adds the item to encoded settings, and returns them.
func (i Item) Append(b []byte) []byte {
	b = append(b, i.Type, byte(len(i.Value)))
	return append(b, i.Value...)
}

// Items takes encoded settings apart, and refuses any that are not whole. The values
// are parts of b.
func Items(b []byte) (items []Item, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != version {
		return nil, fmt.Errorf("settings of version %d, and this program knows version %d: update it", b[0], version)
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
