package keep

import "stepvpn/step6-dns/nft"

// A Table is a table of nft that should be as Make makes it. Its methods are called by
// one goroutine at a time, and take the program nft.
type Table struct {
	Name nft.Table
	Make func() error // in the place of one that is there

	made   bool
	listed string // as nft shows it; "" if that is not known
}

// Set makes the table. What it looks like is for the first Mend to see, as nobody has to
// wait for that.
func (t *Table) Set() error {
	t.made, t.listed = true, ""
	return t.Make()
}

// Remove removes the table, whether it is there or not.
func (t *Table) Remove() error {
	t.made, t.listed = false, ""
	if !Exists(t.Name) {
		return nil
	}
	return t.Name.Remove()
}

// Mend makes the table anew if it is not any more as it was made, and tells whether
// that was so.
func (t *Table) Mend() (mended bool, err error) {
	if !t.made {
		return false, nil
	}
	if t.listed != "" {
		if now, err := t.Name.List(); err == nil && now == t.listed {
			return false, nil
		}
	}
	mended = t.listed != "" || !Exists(t.Name)
	return mended, t.makeAndLook()
}

// makeAndLook makes the table, and remembers what it looks like. If others have changed
// something right then, that may not be what it should look like, and it is made again.
func (t *Table) makeAndLook() (err error) {
	t.listed = ""
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
	return err // without one, it is looked at once more at the next Mend
}
