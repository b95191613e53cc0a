package identity

import (
	"fmt"
	"strings"

	"stepvpn/shared/app"
)

// Find returns the client of this name, as ByName does. If there is none, the error's
// hint suggests the most similar name.
func (r *Registry) Find(name string) (*Client, error) {
	if c, ok := r.ByName(name); ok {
		return c, nil
	}
	if len(name) > maxName {
		return nil, CheckName(name)
	}
	err := fmt.Errorf("there is no client %q", name)
	if nearest := r.nearest(name); nearest != "" {
		return nil, app.Hint(err, "Did you mean %s?", nearest)
	}
	return nil, app.Hint(err, "'clients list' shows all clients.")
}

// nearest returns the name of a client that is most similar to this one, or "".
func (r *Registry) nearest(name string) (nearest string) {
	typos := 3 // names that differ this much are not similar
	for _, c := range r.clients {
		if n := app.Distance(strings.ToLower(name), strings.ToLower(c.Name)); n < typos {
			nearest, typos = c.Name, n
		}
	}
	return nearest
}
