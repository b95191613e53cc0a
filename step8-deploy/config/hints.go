package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"stepvpn/shared/app"
)

// This file words mistakes for people: unknown keys, with the key that may have been meant,
// and the TOML library's messages in plain words.

// unknown says what is wrong with a key that no file of this kind has, and which key may have
// been meant.
func unknown(name, kind string) string {
	keys, others := keysOf(serverSchema()), keysOf(clientSchema())
	if kind == KindClient {
		keys, others = others, keys
	}
	what := fmt.Sprintf("unknown key %q", name)
	if slices.Contains(others, name) {
		return what + fmt.Sprintf(": it does not belong in the file of a %s", kind)
	}
	if near := app.Closest(strings.ReplaceAll(name, "-", "_"), keys); near != "" {
		return what + fmt.Sprintf("; did you mean %s?", near)
	}
	return what + fmt.Sprintf("; a %s has: %s", kind, strings.Join(keys, ", "))
}

var definedTwice = regexp.MustCompile(`^key (\S+) is already defined$`)

// plain rewrites a message of the TOML library in plain words, and says what is allowed.
func (d *document) plain(line int, what string) (plain, allowed string) {
	twice := definedTwice.FindStringSubmatch(what)
	if twice == nil {
		return what, "a line of the form: key = value"
	}
	for i, text := range d.lines[:max(0, min(line-1, len(d.lines)))] {
		if name, _, _ := strings.Cut(text, "="); strings.Trim(name, " \t\"'") == twice[1] {
			return fmt.Sprintf("%s is set twice, here and on line %d", twice[1], i+1), "each key once"
		}
	}
	return twice[1] + " is set twice", "each key once"
}
