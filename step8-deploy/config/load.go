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

// settingsFile is what the files are, secrets in them aside (see Client.check).
var settingsFile = atomicfile.Kind{Name: "the file of settings", Cure: "Who writes it decides what this host does."}

// read returns the content of a file, and what it was.
func read(file string) ([]byte, fs.FileInfo, error) {
	text, info, err := atomicfile.Read(file, maxFile, atomicfile.Follow)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, app.Hint(fmt.Errorf("there is no file %s", file), "'stepvpn init server' or 'stepvpn init client' writes one.")
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	case errors.Is(err, atomicfile.ErrTooLarge):
		return nil, nil, fmt.Errorf("%s is longer than %d bytes, which no settings need", file, maxFile)
	case err != nil:
		return nil, nil, err
	}
	text, err = unmarked(file, text)
	return text, info, err
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
