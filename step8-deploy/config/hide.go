package config

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// This file keeps secrets out of errors and logs.

// secretKeys are the keys whose value is a secret, in either kind of file.
var secretKeys = []string{"private_key", "psk"}

// keyShaped matches what could be 32 bytes in base64 or hexadecimal, or most of it.
var keyShaped = regexp.MustCompile(`[A-Za-z0-9+/=_-]{40}`)

// hide returns a text with "(hidden)" in the place of everything that looks like a key.
func hide(text string) string { return keyShaped.ReplaceAllString(text, "(hidden)") }

// secret reports whether a line may hold a secret. It looks only at the line's text, as the
// file may not be valid TOML.
func (d *document) secret(line int) bool {
	name, _, _ := strings.Cut(d.lines[line-1], "=")
	name = strings.Trim(name, " \t\"'")
	if name == "server_key" {
		return false // which is public
	}
	return slices.Contains(secretKeys, name) || keyShaped.MatchString(d.lines[line-1])
}

// Given reports whether there is a secret.
func (s Secret) Given() bool { return s != Secret{} }

// Format implements fmt.Formatter.
func (s Secret) Format(f fmt.State, _ rune) { f.Write([]byte("(secret)")) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }
