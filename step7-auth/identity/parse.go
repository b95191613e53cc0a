package identity

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"stepvpn/step4-crypto/noise"
)

// Parse reads the text of a registry. file is its name, for errors, which say
// FILE:LINE, what is wrong, and what is allowed.
func Parse(file, text string) (*Registry, error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", file, MaxFile)
	}
	r := newRegistry()
	r.digest = sha256.Sum256([]byte(text))
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		c, err := parseLine(line)
		if err == nil && c != nil {
			c.Line = n
			err = r.add(c)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	return r, nil
}

// Limits on a registry. A file that exceeds them is refused.
const (
	MaxFile    = 16 << 20 // bytes
	maxLine    = 1024     // bytes of a line that is no comment
	maxClients = 1 << 16
	maxName    = 63 // bytes
	maxAddrs   = 8  // of one client
)

// add adds a client, unless another one has the same name, key or address.
func (r *Registry) add(c *Client) error {
	if len(r.clients) == maxClients {
		return fmt.Errorf("more than %d clients", maxClients)
	}
	if other, ok := r.byName[c.Name]; ok {
		return fmt.Errorf("the name %s is already in line %d", c.Name, other.Line)
	}
	if other, ok := r.byKey[c.Key]; ok {
		return fmt.Errorf("%s has the public key of %s in line %d: each client needs a key of its own", c.Name, other.Name, other.Line)
	}
	for _, a := range c.Addrs {
		if other, ok := r.byAddr[a]; ok {
			return fmt.Errorf("%s has the address %v of %s in line %d", c.Name, a, other.Name, other.Line)
		}
	}
	r.clients = append(r.clients, c)
	r.byName[c.Name], r.byKey[c.Key] = c, c
	for _, a := range c.Addrs {
		r.byAddr[a] = c
	}
	return nil
}

// parseLine reads a line. It returns nil for a line without a client.
func parseLine(line string) (*Client, error) {
	words := content(line)
	if len(words) == 0 {
		return nil, nil
	}
	if len(line) > maxLine {
		return nil, fmt.Errorf("the line has more than %d bytes", maxLine)
	}
	c := &Client{Name: words[0].text}
	if err := CheckName(c.Name); err != nil {
		return nil, err
	}
	if len(words) == 1 {
		return nil, fmt.Errorf("%s has no public key: a line is NAME PUBLIC-KEY [OPTION...]", c.Name)
	}
	var err error
	if c.Key, err = ParseKey(words[1].text); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w.text, "=")
		if seen[name] {
			return nil, fmt.Errorf("the option %s is given twice", name)
		}
		if err := c.setOption(name, value); err != nil {
			return nil, err
		}
		seen[name] = true
	}
	return c, nil
}

// A word is a run of characters other than white space, and where it begins in
// its line.
type word struct {
	text string
	at   int
}

func (w word) end() int { return w.at + len(w.text) }

// content returns the words of a line up to a comment.
func content(line string) []word {
	var words []word
	for at := 0; ; {
		rest := strings.TrimLeft(line[at:], blank)
		at = len(line) - len(rest)
		if rest == "" || rest[0] == '#' {
			return words
		}
		if i := strings.IndexAny(rest, blank); i >= 0 {
			rest = rest[:i]
		}
		words = append(words, word{rest, at})
		at += len(rest)
	}
}

// blank are the characters that separate words. They include the carriage return, as some
// editors end lines with one, and the byte order mark (U+FEFF), as some begin a file with it.
const blank = " \t\r\ufeff"

// CheckName returns an error unless a client may have this name: 1 to 63 ASCII letters,
// digits and . _ @ -, not starting with . or -.
func CheckName(name string) error {
	good := len(name) > 0 && len(name) <= maxName && name[0] != '-' && name[0] != '.'
	for _, b := range []byte(name) {
		good = good && (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("._@-", b) >= 0)
	}
	if !good {
		return fmt.Errorf("%s is not a valid name: use up to %d letters (a-z, A-Z), digits and . _ @ -, not starting with . or -", quote(name), maxName)
	}
	return nil
}

// ParseKey reads a public key in base64.
func ParseKey(s string) (noise.PublicKey, error) {
	key, err := noise.ParseKey[noise.PublicKey](s)
	if err != nil {
		return key, fmt.Errorf("%s is not a public key, which has 44 characters of base64", quote(s))
	}
	return key, nil
}

// quote returns a text from a file in quotes, cut off after 50 bytes.
func quote(s string) string {
	const enough = 50
	if len(s) > enough {
		return fmt.Sprintf("%q...", s[:enough])
	}
	return fmt.Sprintf("%q", s)
}
