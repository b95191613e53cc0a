package resolvconf

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// text returns the text of our resolv.conf. The options are those of the file that was
// found, as far as they do not depend on the resolvers there.
func (c *Config) text(found []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s). The original comes back\n", Signature, c.Device)
	fmt.Fprintf(&b, "# when it ends; if it was killed, when it starts again, or with: %s -recover\n", program())
	b.WriteString(c.lines())
	if options := keptOptions(found); len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.Bytes()
}

// Signature is how each file begins that this package has written.
const Signature = "# Written by the VPN client while it is connected"

// lines is what matters of it.
func (c *Config) lines() string {
	var b strings.Builder
	if len(c.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.Search, " "))
	}
	for _, a := range c.DNS {
		fmt.Fprintf(&b, "nameserver %v\n", a)
	}
	return b.String()
}

// program is what to type, for messages and the file's header.
func program() string {
	name := os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:]
	if !word.MatchString(name) {
		return "client"
	}
	return name
}

// keepable are the options that suit any resolver, with the largest value of
// those that take one. Not among them:
//
//   - trust-ad: the resolver that was trusted to verify is not ours
//   - use-vc: what was wrong with UDP there was the way to it
//   - ndots: it is about the search list, which is not kept either
//   - no-reload: programs would never see the original again
var keepable = map[string]int{
	"timeout": 30, "attempts": 5,
	"rotate": 0, "edns0": 0, "single-request": 0, "single-request-reopen": 0, "no-tld-query": 0, "no-aaaa": 0,
}

// keptOptions picks them out of a file, each once.
func keptOptions(file []byte) []string {
	var kept []string
	for line := range strings.Lines(string(file)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "options" {
			continue
		}
		for _, option := range fields[1:] {
			name, value, valued := strings.Cut(option, ":")
			largest, ok := keepable[name]
			if n, err := strconv.Atoi(value); valued && (err != nil || n < 0 || n > largest || largest == 0) {
				ok = false
			}
			if ok && valued == (largest > 0) && !slices.Contains(kept, option) {
				kept = append(kept, option)
			}
		}
	}
	return kept
}
