package config

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
)

// This file makes the first files for 'stepvpn init' and 'clients add': it fills in templates,
// makes keys, and writes the files. If one can't be written, the new ones are removed again
// (with -force, those already overwritten stay so).

// ServerTemplate has the values that are filled into a server's first file of settings.
type ServerTemplate struct {
	File    string // where it will stand, for the first line
	Listen  string
	Subnets []string
}

// ClientTemplate has the values that are filled into a client's first file of settings. Keys are
// in base64.
type ClientTemplate struct {
	File       string // where it will stand, for the first line
	Servers    []string
	ServerKey  string
	Transport  string // "": the default
	PrivateKey string // "": the file client.key has it
	PSK        string // "": none
	User       string // the user whose password the server asks for; "": it asks for none
	WireGuard  string // the file for the WireGuard protocol, which takes the place of all above; "": none
}

// Render returns the text of the file, or an error if LoadServer would refuse it.
func (t ServerTemplate) Render() ([]byte, error) {
	return render("server.toml", t.File, t, func(d *document) error { _, err := server(d); return err })
}

// Render returns the text of the file, or an error if LoadClient would refuse it.
func (t ClientTemplate) Render() ([]byte, error) {
	return render("client.toml", t.File, t, func(d *document) error { _, err := client(d, 0o600); return err })
}

func render(name, file string, data any, check func(*document) error) ([]byte, error) {
	if strings.ContainsFunc(file, func(r rune) bool { return r < ' ' }) {
		return nil, fmt.Errorf("the name %q has a control character in it", file)
	}
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return nil, err
	}
	text := []byte(b.String())
	d := parse(file, text)
	if err := d.failed(); err != nil {
		return nil, err
	}
	return text, check(d)
}

//go:embed templates
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"quote": tomlText}).ParseFS(files, "templates/*.toml"))

// tomlText returns a text as a basic string of TOML 1.0, in quotes.
func tomlText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// A NewFile is a file to be written, with its mode.
type NewFile struct {
	Name string
	Text []byte
	Mode fs.FileMode
}

// NewKey returns a file with a new private key, and its public key, both in base64.
func NewKey(name string) (f NewFile, public string) {
	private := noise.GenerateKey()
	return NewFile{name, []byte(noise.FormatKey(private) + "\n"), 0o600}, noise.FormatKey(private.Public())
}

// Write writes the files, and makes their folder, with mode 0700, if there is none. If one of
// the files exists already and force is not set, Write returns an error, and writes none of
// them. Each file appears whole or not at all. After an error, Write removes the files that it
// has made.
func Write(force bool, list ...NewFile) (err error) {
	for _, f := range list {
		if _, err := os.Lstat(f.Name); !force && err == nil {
			return exists(f.Name)
		}
	}
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				os.Remove(name)
			}
		}
	}()
	for _, f := range list {
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
			return app.Hint(err, "Choose a folder that you may write to, or run it as root.")
		}
		_, err := os.Lstat(f.Name)
		isNew := errors.Is(err, fs.ErrNotExist)
		if err := atomicfile.Write(f.Name, f.Text, atomicfile.Options{Mode: f.Mode, Exclusive: !force}); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return exists(f.Name)
			}
			return app.Hint(fmt.Errorf("writing %s: %w", f.Name, err), "Choose a folder that you may write to, or run it as root.")
		}
		if isNew {
			made = append(made, f.Name)
		}
	}
	return nil
}

func exists(name string) error {
	return app.Hint(fmt.Errorf("%s exists already, and is left as it is", name),
		"Choose another folder with -dir; -force overwrites settings, and keeps an existing key and registry.")
}
