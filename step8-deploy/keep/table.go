package keep

import "stepvpn/step6-dns/guard"

// A Table is a table of nft that should be as Make makes it. Its methods are called by
// one goroutine at a time, and take the program nft.
type Table struct {
	Name guard.Table
	Make func() error // in the place of one that is there

	listed string // as nft showed it when it was made; "" if there should be none
}

// Set makes the table, and remembers what it looks like. If others have changed
// something right then, that may not be what it should look like, and it is made again.
func (t *Table) Set() (err error) {
	t.listed = unknown
	const tries = 5
	for range tries {
		before := generation()
		if err = t.Make(); err != nil {
			continue
		}
		listed, err2 := t.Name.List()
		if alone := generation()-before <= 1; err2 == nil && alone {
			t.listed = listed
			return nil
		}
	}
	return err // without one, it is mended when it is looked at next
}

// unknown is no text that nft shows: such a table is to be mended.
const unknown = "?"

// Remove removes the table, whether it is there or not.
func (t *Table) Remove() error {
	t.listed = ""
	return t.Name.Recover()
}

// Mend makes the table anew if it is not any more as it was made, and tells whether
// that was so.
func (t *Table) Mend() (mended bool, err error) {
	if t.listed == "" {
		return false, nil
	}
	if now, err := t.Name.List(); err == nil && now == t.listed {
		return false, nil
	}
	return true, t.Set()
}
