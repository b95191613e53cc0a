package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"stepvpn/shared/app"
)

// unknown says what is wrong with a key that no file of a kind has.
func unknown(name, kind string) string {
	keys, others := keysOf(serverSchema()), keysOf(clientSchema())
	if kind == KindClient {
		keys, others = others, keys
	}
	what := fmt.Sprintf("unknown key %q", name)
	switch {
	case slices.Contains(others, name):
		return what + fmt.Sprintf(": it does not belong in the file of a %s", kind)
	case nearest(name, keys) != "":
		return what + fmt.Sprintf("; did you mean %s?", nearest(name, keys))
	}
	return what + fmt.Sprintf("; a %s has: %s", kind, strings.Join(keys, ", "))
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

var definedTwice = regexp.MustCompile(`^key (\S+) is already defined$`)

// plain says in plain words what the TOML library says, and what is allowed.
func (d *document) plain(line int, what string) (plain, allowed string) {
	twice := definedTwice.FindStringSubmatch(what)
	if twice == nil {
		return what, "a line of the form: key = value"
	}
	for i, text := range d.lines[:max(0, min(line-1, len(d.lines)))] {
		if name, _, _ := strings.Cut(text, "="); strings.Trim(name, " \t\"'") == twice[1] {
			return fmt.Sprintf("%s is set twice, here and in line %d", twice[1], i+1), "each key once"
		}
	}
	return twice[1] + " is set twice", "each key once"
}
