package config

import (
	"fmt"
	"slices"
	"strings"

	"stepvpn/shared/app"
)

// A setting is one key of a file. C is Server or Client.
type setting[C any] struct {
	key      string
	required bool
	allowed  string // what the value may be, for people
	def      any    // what it is if the file does not say, as the TOML library makes it; nil leaves the zero value
	set      setter[C]
}

// A setter puts a value into a C. An error says what is wrong with the value,
// such as "is text, not true or false", and may be an elementError.
type setter[C any] func(c *C, value any) error

// An elementError is about one element of a list.
type elementError struct {
	element int
	err     error
}

func (e elementError) Error() string { return e.err.Error() }
func (e elementError) Unwrap() error { return e.err }

// secretKeys are the keys whose value is a secret, in either kind of file.
var secretKeys = []string{"private_key", "psk"}

// fill puts the values of a document into c, and notes what is wrong with them.
// others are the keys of the other kind of file.
func fill[C any](d *document, c *C, schema []setting[C], kind string, others []string) {
	for name := range d.values {
		if name != "kind" && !slices.ContainsFunc(schema, func(s setting[C]) bool { return s.key == name }) {
			d.addTo(name, -1, unknown(name, kind, keysOf(schema), others), "")
		}
	}
	for _, s := range schema {
		value, given := d.values[s.key]
		switch {
		case given:
			if err := s.set(c, value); err != nil {
				element := -1
				if e, ok := err.(elementError); ok {
					element = e.element
				}
				d.addTo(s.key, element, s.key+" "+err.Error(), s.allowed)
			}
		case s.required:
			d.add(0, fmt.Sprintf("the key %s is missing", s.key), s.allowed)
		case s.def != nil:
			if err := s.set(c, s.def); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", s.key, err))
			}
		}
	}
}

// unknown says what is wrong with a key that is not in the schema.
func unknown(name, kind string, keys, others []string) string {
	what := fmt.Sprintf("unknown key %q", name)
	switch {
	case slices.Contains(others, name):
		return what + fmt.Sprintf(": it does not belong into the file of a %s", kind)
	case nearest(name, keys) != "":
		return what + fmt.Sprintf("; did you mean %s?", nearest(name, keys))
	}
	return what + fmt.Sprintf("; a %s has: %s", kind, strings.Join(keys, ", "))
}

// keysOf lists the keys of a schema.
func keysOf[C any](schema []setting[C]) []string {
	var keys []string
	for _, s := range schema {
		keys = append(keys, s.key)
	}
	return keys
}

// nearest returns the key that name is most likely meant to be, or "": one that
// differs in a third of its characters at most.
func nearest(name string, keys []string) string {
	if len(name) > 64 {
		return ""
	}
	name = strings.ReplaceAll(strings.ToLower(name), "-", "_")
	best, least := "", 0
	for _, k := range keys {
		d := app.Distance(name, k)
		if d <= max(1, len(k)/3) && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}
