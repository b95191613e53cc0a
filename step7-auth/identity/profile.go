package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
)

// A Profile is all that a client program needs to know. Each line of its text is a word
// and a value; lines may be in any order, with comments as in a registry:
//
//	server         vpn.example.org:5555
//	server-key     hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
//	private-key    dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=
//	preshared-key  FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=  # optional
//	user           alice                                         # optional
type Profile struct {
	Server       string              // "HOST:PORT"
	ServerKey    noise.PublicKey     // the server proves that it has the private half
	PrivateKey   noise.PrivateKey    // the client's own
	PresharedKey *[noise.KeyLen]byte // nil: none
	User         string              // the user whose password the server asks for; "" if it asks for none
}

// maxProfile is the size of the largest client file, in bytes.
const maxProfile = 16 << 10

// profileWords lists the words that begin the lines of a client file. A * marks the optional ones.
const profileWords = "server, server-key, private-key, preshared-key*, user*"

// ParseProfile reads the text of a client file. file is its name, for errors.
func ParseProfile(file, text string) (*Profile, error) {
	if len(text) > maxProfile {
		return nil, fmt.Errorf("client file %s has more than %d bytes", file, maxProfile)
	}
	p := new(Profile)
	seen := make(map[string]bool)
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		words := content(line)
		if len(words) == 0 {
			continue
		}
		if err := p.set(words, seen); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		seen[words[0].text] = true
	}
	for _, word := range []string{"server", "server-key", "private-key"} {
		if !seen[word] {
			return nil, fmt.Errorf("client file %s has no line '%s ...'", file, word)
		}
	}
	return p, nil
}

// set reads one line.
func (p *Profile) set(words []word, seen map[string]bool) (err error) {
	name := words[0].text
	if !slices.Contains([]string{"server", "server-key", "private-key", "preshared-key", "user"}, name) {
		return fmt.Errorf("%s is not a setting of a client file: those are %s (* is optional)", quote(name), profileWords)
	}
	if seen[name] {
		return fmt.Errorf("%s is given twice", name)
	}
	if len(words) != 2 {
		return fmt.Errorf("%s has %d values, not 1", name, len(words)-1)
	}
	value := words[1].text
	switch name {
	case "server":
		p.Server = value
		return CheckServer(value)
	case "server-key":
		p.ServerKey, err = ParseKey(value)
		return err
	case "user":
		p.User = value
		return CheckName(value)
	}
	key, err := noise.ParseKey[[noise.KeyLen]byte](value)
	if err != nil { // which quotes the value: keep that out of the message
		return fmt.Errorf("%s is not a key, which has 44 characters of base64", name)
	}
	if name == "preshared-key" {
		p.PresharedKey = &key
	} else {
		p.PrivateKey = key
	}
	return nil
}

// CheckServer returns an error unless s is HOST:PORT.
func CheckServer(s string) error {
	const longestName = 253 // RFC 1035, section 2.3.4, as text
	host, port, err := net.SplitHostPort(s)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || errPort != nil || n == 0 || host == "" || len(host) > longestName || strings.ContainsAny(host, " \t\r\n#") {
		return fmt.Errorf("%s is not HOST:PORT, such as vpn.example.org:5555 or [2001:db8::1]:5555", quote(s))
	}
	return nil
}

// Text returns the text of a client file, without comments. It is as secret as
// the private key in it. A PrivateKey of zeros is left for its owner to fill in.
func (p *Profile) Text() string {
	var b strings.Builder
	line := func(word, value string) { fmt.Fprintf(&b, "%-14s %s\n", word, value) }
	line("server", p.Server)
	line("server-key", noise.FormatKey(p.ServerKey))
	if p.PrivateKey == (noise.PrivateKey{}) {
		line("# private-key", "THE PRIVATE KEY, AND REMOVE THE #")
	} else {
		line("private-key", noise.FormatKey(p.PrivateKey))
	}
	if p.PresharedKey != nil {
		line("preshared-key", noise.FormatKey(*p.PresharedKey))
	}
	if p.User != "" {
		line("user", p.User)
	}
	return b.String()
}

// LoadProfile reads a client file. It refuses a file that users other than its owner may
// read or change.
func LoadProfile(path string) (*Profile, error) {
	text, info, err := read(path, maxProfile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, app.Hint(fmt.Errorf("there is no client file %s", path), "The server's owner makes it: clients add -out %s ... NAME", path)
	}
	if err != nil {
		return nil, err
	}
	kind := atomicfile.Kind{Name: "client file", Secret: true, Cure: "Otherwise have the server's owner revoke it and make a new one."}
	if err := kind.Check(path, info); err != nil {
		return nil, err
	}
	return ParseProfile(path, text)
}

// CreateProfile writes text, that of a client file, to a new file of mode 0600. It never
// overwrites a file, and leaves none if it fails.
func CreateProfile(path, text string) error {
	err := create(path, text)
	if errors.Is(err, fs.ErrExist) {
		return CheckNewProfile(path)
	}
	return err
}

// CheckNewProfile returns an error if there is a file of this name.
func CheckNewProfile(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return app.Hint(fmt.Errorf("%s exists already, and is left as it is", path), "Choose another name with -out.")
	}
	return nil
}
