package identity

import (
	"fmt"
	"strings"

	"stepvpn/shared/app"
)

// Find returns the client of this name, as ByName does. If there is none, the
// error has the most similar name as its hint.
func (r *Registry) Find(name string) (*Client, error) {
	if c, ok := r.ByName(name); ok {
		return c, nil
	}
	if len(name) > maxName {
		return nil, CheckName(name)
	}
	err := fmt.Errorf("there is no client %q", name)
	if nearest := r.nearest(name); nearest != "" {
		return nil, app.Hint(err, "Do you mean %s?", nearest)
	}
	return nil, app.Hint(err, "'%s list' shows all.", Typed.Clients)
}

// nearest returns the name that is most similar to one that is not there, or "".
func (r *Registry) nearest(name string) (nearest string) {
	typos := 3 // so many make another name
	for _, c := range r.clients {
		if n := distance(strings.ToLower(name), strings.ToLower(c.Name)); n < typos {
			nearest, typos = c.Name, n
		}
	}
	return nearest
}

// distance returns how many characters must be put in, taken out or replaced to
// make one text the other (V. Levenshtein, 1965).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of a table: how far a[:i] is from b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
