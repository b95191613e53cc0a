// Package qrcode shows a text as a QR code: as a picture, and on a terminal. A phone's camera
// reads from it what would take long to type.
//
// Introduced in step 8.
package qrcode

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// margin is the width of the white around a code, which readers need, in modules: the squares that
// it consists of (ISO/IEC 18004, section 6.3.8).
const margin = 4

// A Code is the QR code of a text.
type Code struct{ code *qr.Code }

// New returns the code of a text of at most 2,953 bytes. It has the lowest level of redundancy (L),
// and so is as small as can be, because screens do not get dirty.
func New(text string) (Code, error) {
	c, err := qr.Encode(text, qr.L)
	if err != nil {
		return Code{}, fmt.Errorf("a text of %d bytes does not fit into a QR code: %w", len(text), err)
	}
	return Code{c}, nil
}

// PNG returns the code as a picture.
func (c Code) PNG() []byte { return c.code.PNG() }

// Columns returns how many columns of a terminal the code needs.
func (c Code) Columns() int { return c.code.Size + 2*margin }

// Terminal returns the code as lines for a terminal. A character has two modules, one above the
// other. Its colours are set, black on white, so that it does not matter which ones the terminal
// has: many readers fail where they are exchanged.
func (c Code) Terminal() string {
	const blackOnWhite, reset = "\x1b[30;47m", "\x1b[0m"
	var b strings.Builder
	for y := -margin; y < c.code.Size+margin; y += 2 {
		b.WriteString(blackOnWhite)
		for x := -margin; x < c.code.Size+margin; x++ {
			switch above, below := c.code.Black(x, y), c.code.Black(x, y+1); { // false outside of the code
			case above && below:
				b.WriteRune('█')
			case above:
				b.WriteRune('▀')
			case below:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString(reset + "\n")
	}
	return b.String()
}
