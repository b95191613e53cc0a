package config

import (
	"fmt"
	"strings"
)

// A Problem is one thing that is wrong with a file of settings.
type Problem struct {
	File    string
	Line    int    // from 1; 0 for a mistake of the file as a whole, such as a missing key
	Text    string // of the line; "" if it holds a secret, and for line 0
	What    string // what is wrong; it begins with the key, if it is about one
	Allowed string // what would be right; "" if there is nothing to say
}

// String returns the problem as a line, with the text of the file and what is
// allowed below it:
//
//	server.toml:7: mtu is text, not a whole number
//	    mtu = "big"
//	    Allowed: 0 (what the path has room for), or 576 to 65535 bytes.
func (p Problem) String() string {
	var s strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&s, "%s:%d: %s", p.File, p.Line, p.What)
	} else {
		fmt.Fprintf(&s, "%s: %s", p.File, p.What)
	}
	if p.Text != "" {
		fmt.Fprintf(&s, "\n    %s", p.Text)
	}
	if p.Allowed != "" {
		fmt.Fprintf(&s, "\n    Allowed: %s.", p.Allowed)
	}
	return s.String()
}

// Problems is the error of a file with at least one problem, in the order of the
// file's lines.
type Problems []Problem

// maxShown is how many problems Error shows.
const maxShown = 20

// Error shows the problems, one below the other.
func (ps Problems) Error() string {
	var parts []string
	for i, p := range ps {
		if i == maxShown {
			parts = append(parts, fmt.Sprintf("and %d more", len(ps)-maxShown))
			break
		}
		parts = append(parts, p.String())
	}
	return strings.Join(parts, "\n")
}
