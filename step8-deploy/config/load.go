package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// This file makes settings out of a file: it is read (file.go), parsed (document.go), filled
// in by the schema, and checked (check.go). setting and setter say what a schema is made of.

// LoadServer reads the settings of a server. Mistakes in the file are an error of type
// Problems.
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

// LoadClient reads the settings of a client. Mistakes in the file are an error of type
// Problems. The file may also be one of the WireGuard protocol's own programs: then it stands
// for settings that name it by wireguard, and say nothing else (wireguard.go).
func LoadClient(file string) (*Client, error) {
	d, info, err := load(file, KindClient)
	if err != nil {
		return nil, err
	}
	c, err := client(d, info.Mode())
	if err != nil {
		return nil, err
	}
	if err := settingsFile.Check(file, info); err != nil {
		return nil, err
	}
	return c, c.readWireGuard(d)
}

// Kind returns the kind of a file: KindServer or KindClient.
func Kind(file string) (string, error) {
	d, _, err := load(file, "")
	if err != nil {
		return "", err
	}
	return d.values["kind"].(string), nil
}

// load reads a file of a kind, or of either kind if kind is "". It also returns the file's mode
// and owner.
func load(file, kind string) (*document, fs.FileInfo, error) {
	text, info, err := read(file)
	if err != nil {
		return nil, nil, err
	}
	d := parse(file, text)
	if isWireGuard(file, text) {
		d = &document{file: file, values: map[string]any{"kind": KindClient, "wireguard": filepath.Base(file)}}
	}
	if len(d.problems) == 0 || d.values != nil {
		d.checkKind(kind)
	}
	if _, ok := d.values["kind"]; !ok {
		return nil, nil, d.failed() // without the kind, any other message would be a guess
	}
	return d, info, nil
}

// A setting is one key of a file. C is Server or Client.
type setting[C any] struct {
	key      string
	required bool   // unless wireguard takes its place
	instead  string // why it can't stand beside the setting wireguard; "": it can
	allowed  string // the values that are allowed, for people
	def      any    // the value if the file does not have the key, as the TOML library would return it; nil: the zero value
	set      setter[C]
}

// A setter puts a value into a C. An error says what is wrong with the value,
// such as "is text, not true or false", and may be an elementError.
type setter[C any] func(c *C, value any) error

// server returns the settings of a server's document, or what is wrong with them.
func server(d *document) (*Server, error) {
	s := new(Server)
	fill(d, s, serverSchema(), KindServer)
	s.check(d)
	if err := d.failed(); err != nil {
		return nil, err
	}
	resolve(d.file, &s.Key, &s.PSK, &s.Clients, &s.State, &s.StatusSocket, &s.ControlSocket)
	if _, given := d.values["control_socket"]; !given {
		s.ControlSocket = besideStatus(s.StatusSocket)
	}
	return s, nil
}

// client returns the settings of a client's document, or what is wrong with them. mode is the
// file's.
func client(d *document, mode fs.FileMode) (*Client, error) {
	c := new(Client)
	fill(d, c, clientSchema(), KindClient)
	c.check(d, mode)
	if err := d.failed(); err != nil {
		return nil, err
	}
	resolve(d.file, &c.Key, &c.PSKFile, &c.Login, &c.WireGuardFile, &c.State, &c.StatusSocket)
	return c, nil
}

// fill sets the fields of c to the values of a document, and notes mistakes in them.
func fill[C any](d *document, c *C, schema []setting[C], kind string) {
	keys := keysOf(schema)
	for name := range d.values {
		if name != "kind" && !slices.Contains(keys, name) {
			d.addTo(name, -1, unknown(name, kind), "")
		}
	}
	for _, s := range schema {
		value, given := d.values[s.key]
		wireguard := s.instead != "" && d.has("wireguard")
		switch {
		case given && wireguard:
			d.addTo(s.key, -1, fmt.Sprintf("%s is set, but so is wireguard: %s", s.key, s.instead), "one of the two")
		case given:
			if err := s.set(c, value); err != nil {
				d.addTo(s.key, elementOf(err), s.key+" "+err.Error(), s.allowed)
			}
		case s.required && !wireguard:
			d.add(0, fmt.Sprintf("the key %s is missing", s.key), s.allowed)
		case s.def != nil && !wireguard:
			if err := s.set(c, s.def); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", s.key, err))
			}
		}
	}
}

// keysOf returns the keys of a schema.
func keysOf[C any](schema []setting[C]) []string {
	var keys []string
	for _, s := range schema {
		keys = append(keys, s.key)
	}
	return keys
}
