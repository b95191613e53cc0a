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

// hide returns a text without what looks like a key.
func hide(text string) string { return keyShaped.ReplaceAllString(text, "(hidden)") }

// secret tells whether a line may hold a secret. A file that is no valid TOML
// may mean anything, so it is by the looks of the line.
func (d *document) secret(line int) bool {
	name, _, _ := strings.Cut(d.lines[line-1], "=")
	name = strings.Trim(name, " \t\"'")
	if name == "server_key" {
		return false // a public one
	}
	return slices.Contains(secretKeys, name) || keyShaped.MatchString(d.lines[line-1])
}

// Given tells whether there is a secret.
func (s Secret) Given() bool { return s != Secret{} }

// Format implements fmt.Formatter.
func (s Secret) Format(f fmt.State, _ rune) { f.Write([]byte("(secret)")) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }
