package keep

import (
	"fmt"
	"slices"
	"strings"

	"stepvpn/step6-dns/nft"
)

// A Table is a table of nft as it should be.
type Table struct {
	Name nft.Table // of the family inet
	Text string    // as one would type it
}

// Tables are those that this program has made, and keeps. The zero value has none. Its
// methods are called by one goroutine at a time, and take the program nft, which they run
// as seldom as can be: it takes longer than all else.
type Tables struct {
	// Terse leaves out what is in the tables' sets, where packets add to them.
	Terse bool

	made []made

	// At this generation of the kernel's tables all of ours were as they were made; 0 if
	// that is not known.
	generation uint32
}

type made struct {
	Table
	done   bool   // nft said so
	listed string // as nft shows it; "" if that is not known
}

// Set makes those tables that are new or other ones by now, all in one transaction. The
// others stay.
func (t *Tables) Set(want ...Table) error {
	list := slices.DeleteFunc(slices.Clone(want), func(w Table) bool {
		return slices.ContainsFunc(t.made, func(m made) bool { return m.done && m.Table == w })
	})
	return t.make(list)
}

// Only removes all tables that it has made but for those, in one transaction. One that
// somebody else has removed is no error.
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

// Remove removes those of the tables that are there, in one transaction.
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

// sweep removes a table, there or not.
func sweep(n nft.Table) string { return fmt.Sprintf("add table %s\ndelete table %[1]s\n", n) }

// make makes the tables of the list, in the place of those that are there. What they look
// like is for the first Mend to see, as nobody has to wait for that.
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
	for _, w := range list { // also after an error: Mend tries again
		t.made = slices.DeleteFunc(t.made, func(m made) bool { return m.Name == w.Name })
		t.made = append(t.made, made{Table: w, done: err == nil})
	}
	others := len(t.made) > len(list)
	switch now := generation(); {
	case err == nil && now == before+1 && (!others || t.generation == before):
		t.generation = now
	default: // somebody else has changed something, which may be ours
		t.generation = 0
	}
	return err
}

// Mend makes those tables anew that are not any more as they were made, in one
// transaction, and returns their names.
func (t *Tables) Mend() (mended []string, err error) {
	const tries = 5 // for others may change something right then
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
			default: // nobody knows whether it is as it was made
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

// list returns those of our tables that are there, as nft shows them. (It can't list just
// some in one run.)
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
