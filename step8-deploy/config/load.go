package config

import (
	"fmt"
	"io/fs"
	"slices"
)

// LoadServer reads the settings of a server. What is wrong with the file's
// content is an error of type Problems.
func LoadServer(file string) (*Server, error) {
	d, info, err := load(file, KindServer)
	if err != nil {
		return nil, err
	}
	s, err := server(d)
	if err != nil {
		return nil, err
	}
	return s, settingsFile.Check(file, info)
}

// LoadClient reads the settings of a client. What is wrong with the file's
// content is an error of type Problems.
func LoadClient(file string) (*Client, error) {
	d, info, err := load(file, KindClient)
	if err != nil {
		return nil, err
	}
	c, err := client(d, info.Mode())
	if err != nil {
		return nil, err
	}
	return c, settingsFile.Check(file, info)
}

// Kind tells which kind of file it is: KindServer or KindClient.
func Kind(file string) (string, error) {
	d, _, err := load(file, "")
	if err != nil {
		return "", err
	}
	return d.values["kind"].(string), nil
}

// load reads a file of a kind, or of either if kind is "", and returns also what
// the file was.
func load(file, kind string) (*document, fs.FileInfo, error) {
	text, info, err := read(file)
	if err != nil {
		return nil, nil, err
	}
	d := parse(file, text)
	if len(d.problems) == 0 || d.values != nil {
		d.checkKind(kind)
	}
	if _, ok := d.values["kind"]; !ok {
		return nil, nil, d.failed() // all else would be a guess
	}
	return d, info, nil
}

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

// server makes the settings of a document.
func server(d *document) (*Server, error) {
	s := new(Server)
	fill(d, s, serverSchema(), KindServer)
	s.check(d)
	if err := d.failed(); err != nil {
		return nil, err
	}
	resolve(d.file, &s.Key, &s.PSK, &s.Clients, &s.State, &s.StatusSocket)
	return s, nil
}

// client makes the settings of a document, which is a file of that mode.
func client(d *document, mode fs.FileMode) (*Client, error) {
	c := new(Client)
	fill(d, c, clientSchema(), KindClient)
	c.check(d, mode)
	if err := d.failed(); err != nil {
		return nil, err
	}
	resolve(d.file, &c.Key, &c.PSKFile, &c.Login, &c.State, &c.StatusSocket)
	return c, nil
}

// fill puts the values of a document into c, and notes what is wrong with them.
func fill[C any](d *document, c *C, schema []setting[C], kind string) {
	keys := keysOf(schema)
	for name := range d.values {
		if name != "kind" && !slices.Contains(keys, name) {
			d.addTo(name, -1, unknown(name, kind), "")
		}
	}
	for _, s := range schema {
		value, given := d.values[s.key]
		switch {
		case given:
			if err := s.set(c, value); err != nil {
				d.addTo(s.key, elementOf(err), s.key+" "+err.Error(), s.allowed)
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

// keysOf lists the keys of a schema.
func keysOf[C any](schema []setting[C]) []string {
	var keys []string
	for _, s := range schema {
		keys = append(keys, s.key)
	}
	return keys
}
