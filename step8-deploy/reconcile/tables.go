package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"stepvpn/step6-dns/nft"
)

// A Table is a table of nft as it should be.
type Table struct {
	Name nft.Table // of the family inet
	Text string    // the ruleset, as a person would type it
}

// Tables are the tables that this program has made, and keeps. The zero value has none. Its
// methods are not safe for concurrent use. They need the program nft, and run it as rarely as
// possible, as it takes longer than anything else here.
type Tables struct {
	// Terse ignores the elements of the tables' sets, for tables whose rules add elements.
	Terse bool

	made []made

	// The generation of the kernel's tables at which all of ours were as they should be; 0 if
	// that is not known.
	generation uint32
}

type made struct {
	Table
	done   bool   // nft has made it
	listed string // the table as nft lists it; "" if that is not known
}

// Set makes those tables that are new or have changed, all in one transaction. The others
// stay.
func (t *Tables) Set(want ...Table) error {
	list := slices.DeleteFunc(slices.Clone(want), func(w Table) bool {
		return slices.ContainsFunc(t.made, func(m made) bool { return m.done && m.Table == w })
	})
	return t.make(list)
}

// Only removes all tables that Set has made except for these, in one transaction. It is no
// error if another program has removed one.
func (t *Tables) Only(want ...Table) error {
	var gone []nft.Table
	for _, m := range t.made {
		if !slices.ContainsFunc(want, func(w Table) bool { return w.Name == m.Name }) {
			gone = append(gone, m.Name)
		}
	}
	if err := Remove(gone...); err != nil {
		return err
	}
	t.made = slices.DeleteFunc(t.made, func(m made) bool { return slices.Contains(gone, m.Name) })
	return nil
}

// Remove removes those of these tables that exist, in one transaction.
func Remove(names ...nft.Table) error {
	var text strings.Builder
	for _, n := range names {
		if Exists(n) {
			text.WriteString(sweep(n))
		}
	}
	if text.Len() == 0 {
		return nil
	}
	_, err := nft.Run(text.String(), "-f", "-")
	return err
}

// sweep returns commands that remove a table, whether it is there or not.
func sweep(n nft.Table) string { return fmt.Sprintf("add table %s\ndelete table %[1]s\n", n) }

// make makes the tables in the list, and replaces those that exist. How nft lists them is
// left to the first Mend, so that the caller does not have to wait for that.
func (t *Tables) make(list []Table) error {
	if len(list) == 0 {
		return nil
	}
	var text strings.Builder
	for _, w := range list {
		text.WriteString(sweep(w.Name) + w.Text)
	}
	before := generation()
	_, err := nft.Run(text.String(), "-f", "-")
	for _, w := range list { // even after an error: Mend tries again
		t.made = slices.DeleteFunc(t.made, func(m made) bool { return m.Name == w.Name })
		t.made = append(t.made, made{Table: w, done: err == nil})
	}
	others := len(t.made) > len(list)
	switch now := generation(); {
	case err == nil && now == before+1 && (!others || t.generation == before):
		t.generation = now
	default: // another program has changed something, which may be ours
		t.generation = 0
	}
	return err
}

// Mend makes those tables again that have been changed or removed, in one transaction, and
// returns their names.
func (t *Tables) Mend() (mended []string, err error) {
	const tries = 5 // as other programs may change something at the same time
	for range tries {
		now := generation()
		untouched := now != 0 && now == t.generation
		if untouched && !slices.ContainsFunc(t.made, func(m made) bool { return m.listed == "" }) {
			return mended, nil
		}
		listed, err := t.list()
		if generation() != now {
			continue
		}
		if err != nil {
			return mended, err
		}
		var again []Table
		for i := range t.made {
			m := &t.made[i]
			switch is, there := listed[m.Name]; {
			case there && (untouched || is == m.listed):
				m.listed = is
			default: // it is not known whether it was changed since it was made
				if name := "nft table " + string(m.Name); (!there || m.listed != "") && !slices.Contains(mended, name) {
					mended = append(mended, name)
				}
				again = append(again, m.Table)
			}
		}
		t.generation = now
		if len(again) == 0 {
			return mended, nil
		}
		if err := t.make(again); err != nil {
			return nil, err
		}
	}
	return mended, nil
}

// list returns those of our tables that exist, as nft lists them. (nft can't list just some
// tables in one run.)
func (t *Tables) list() (map[nft.Table]string, error) {
	list := make(map[nft.Table]string)
	if !slices.ContainsFunc(t.made, func(m made) bool { return Exists(m.Name) }) {
		return list, nil
	}
	flags := []string{"-s"}
	if t.Terse {
		flags = append(flags, "-t")
	}
	out, err := nft.Run("", append(flags, "list", "ruleset", "inet")...)
	if err != nil {
		return nil, err
	}
	var name nft.Table
	for line := range strings.Lines(out) {
		if rest, is := strings.CutPrefix(line, "table "); is {
			words := strings.Fields(rest)
			name = nft.Table(strings.Join(words[:min(2, len(words))], " "))
		}
		list[name] += line
	}
	return list, nil
}
