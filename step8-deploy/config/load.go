package config

import (
	"errors"
	"fmt"
	"io/fs"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// maxFile bounds the size of a file, in bytes.
const maxFile = 64 << 10

// LoadServer reads the settings of a server. What is wrong with the file's
// content is an error of type Problems.
func LoadServer(file string) (*Server, error) {
	d, _, err := load(file, KindServer)
	if err != nil {
		return nil, err
	}
	return server(d)
}

// LoadClient reads the settings of a client. What is wrong with the file's
// content is an error of type Problems.
func LoadClient(file string) (*Client, error) {
	d, mode, err := load(file, KindClient)
	if err != nil {
		return nil, err
	}
	return client(d, mode)
}

// Kind tells which kind of file it is: KindServer or KindClient.
func Kind(file string) (string, error) {
	d, _, err := load(file, "")
	if err != nil {
		return "", err
	}
	return d.values["kind"].(string), nil
}

// load reads a file of a kind, or of either if kind is "", and returns also the
// file's mode.
func load(file, kind string) (*document, fs.FileMode, error) {
	text, mode, err := read(file)
	if err != nil {
		return nil, 0, err
	}
	d := parse(file, text)
	if len(d.problems) == 0 || d.values != nil {
		d.checkKind(kind)
	}
	if _, ok := d.values["kind"]; !ok {
		return nil, 0, d.failed() // all else would be a guess
	}
	return d, mode, nil
}

// checkKind checks the key kind, and forgets all values if it is wrong.
func (d *document) checkKind(want string) {
	const allowed = `kind = "server" or kind = "client"`
	value, given := d.values["kind"]
	kind, isText := value.(string)
	switch {
	case !given:
		d.add(0, "the key kind is missing", allowed)
	case !isText || kind != KindServer && kind != KindClient:
		d.addTo("kind", -1, "kind is neither of the two", allowed)
	case want != "" && kind != want:
		d.addTo("kind", -1, fmt.Sprintf("this is the file of a %s, and a %s was to be started", kind, want), "")
	default:
		return
	}
	d.values = nil
}

// read returns the content of a file and its mode.
func read(file string) ([]byte, fs.FileMode, error) {
	text, info, err := atomicfile.Read(file, maxFile, atomicfile.Follow)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, app.Hint(fmt.Errorf("there is no file %s", file), "'stepvpn init server' or 'stepvpn init client' writes one.")
	case errors.Is(err, fs.ErrPermission):
		return nil, 0, app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	case errors.Is(err, atomicfile.ErrTooLarge):
		return nil, 0, fmt.Errorf("%s is longer than %d bytes, which no settings need", file, maxFile)
	case err != nil:
		return nil, 0, err
	}
	text, err = unmarked(file, text)
	return text, info.Mode(), err
}

// server makes the settings of a document.
func server(d *document) (*Server, error) {
	s := new(Server)
	fill(d, s, serverSchema(), KindServer, keysOf(clientSchema()))
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
	fill(d, c, clientSchema(), KindClient, keysOf(serverSchema()))
	c.check(d, mode)
	if err := d.failed(); err != nil {
		return nil, err
	}
	resolve(d.file, &c.Key, &c.PSKFile, &c.Login, &c.State, &c.StatusSocket)
	return c, nil
}
