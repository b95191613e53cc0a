package identity

import "strings"

// Typed is what hints tell people to type. A program whose commands are called
// otherwise sets it before it does anything else. FILE stands for the file.
var Typed = struct {
	Clients  string // what the commands that edit a registry begin with
	Registry string // makes a registry
	Key      string // makes a key
}{"clients", "clients init -registry FILE", "clients init -key FILE"}

func typed(command, file string) string { return strings.ReplaceAll(command, "FILE", file) }
