package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/keyfile"
)

// This file reads the secrets, most of which are in files that the settings name.

// PrivateKey reads the server's private key.
func (s *Server) PrivateKey() ([KeySize]byte, error) { return readKey("key_file", s.Key) }

// NextKeyFile returns the path of the server's next private key. The file exists only while the
// server changes its key.
func (s *Server) NextKeyFile() string { return s.Key + ".next" }

// noNextKey is the content of the file that a service gets if there is no such file (see
// SetCredential= in its unit).
const noNextKey = "missing"

// NextKey reads that key. It returns nil if there is none.
func (s *Server) NextKey() (*[KeySize]byte, error) {
	text, _, err := atomicfile.Read(s.NextKeyFile(), maxLogin, atomicfile.Follow)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(text)) == noNextKey {
		return nil, nil
	}
	next, err := keyfile.Read(s.NextKeyFile())
	if err != nil {
		return nil, err
	}
	if now, err := s.PrivateKey(); err == nil && now == next {
		return nil, app.Hint(fmt.Errorf("%s holds the same key as %s", s.NextKeyFile(), s.Key), "Remove it: a change of the key begins with 'stepvpn rotate-key'.")
	}
	return &next, nil
}

// PresharedKey reads the pre-shared key. It returns zeros if there is none.
func (s *Server) PresharedKey() ([KeySize]byte, error) { return readKey("psk_file", s.PSK) }

// OwnKey returns the client's private key, which is in the settings, in a file of its own, or
// for the WireGuard protocol in its file.
func (c *Client) OwnKey() ([KeySize]byte, error) {
	if c.WireGuard != nil {
		return c.WireGuard.PrivateKey, nil
	}
	if c.PrivateKey.Given() {
		return c.PrivateKey, nil
	}
	return readKey("key_file", c.Key)
}

// PresharedKey returns the pre-shared key, which is in the settings or in a file of its own. It
// returns zeros if there is none.
func (c *Client) PresharedKey() ([KeySize]byte, error) {
	if c.PSK.Given() {
		return c.PSK, nil
	}
	return readKey("psk_file", c.PSKFile)
}

// readKey reads the key in the file that a setting names. It returns zeros if file is "".
func readKey(setting, file string) (key [KeySize]byte, err error) {
	if file == "" {
		return key, nil
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return key, app.Hint(missing(setting, file), "%s", whence[setting])
	}
	return keyfile.Read(file)
}

// whence says, for each setting, where a missing key comes from.
var whence = map[string]string{
	"key_file": "'stepvpn init' writes a key; a service gets its copy by LoadCredential= in its unit.",
	"psk_file": "The server and all clients have the same one: the comment of psk_file in a new server.toml says how to make it.",
}

func missing(setting, file string) error {
	return fmt.Errorf("there is no file %s, which the setting %s names", file, setting)
}

// maxLogin is the size of the largest login file, in bytes.
const maxLogin = 1024

// UserPassword reads the login file: a user name and a password, one per line. Both are empty if
// the settings name no login file.
func (c *Client) UserPassword() (user, password string, err error) {
	if c.Login == "" {
		return "", "", nil
	}
	text, info, err := atomicfile.Read(c.Login, maxLogin, atomicfile.Follow)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", app.Hint(missing("login_file", c.Login),
			"Write two lines into it, the user name and the password, and type: chmod 600 %s. Without login_file, the client sends no password.", c.Login)
	}
	if err != nil && !errors.Is(err, atomicfile.ErrTooLarge) {
		return "", "", err
	}
	kind := atomicfile.Kind{Name: "login file", Secret: true, Cure: "Otherwise change the password."}
	if err := kind.Check(c.Login, info); err != nil {
		return "", "", err
	}
	text, err2 := unmarked(c.Login, text)
	if err2 != nil {
		return "", "", err2
	}
	user, rest, _ := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	password, rest, _ = strings.Cut(rest, "\n")
	if err != nil || user == "" || password == "" || strings.TrimSpace(rest) != "" {
		return "", "", app.Hint(fmt.Errorf("login file %s does not hold a user name and a password", c.Login),
			"It should have two lines: the user name, and the password.")
	}
	return user, password, nil
}

// CheckFiles reads the secrets that the settings name, and returns an error if it can't read
// one.
func (s *Server) CheckFiles() error {
	_, err1 := s.PrivateKey()
	_, err2 := s.PresharedKey()
	_, err3 := s.NextKey()
	return errors.Join(err1, err2, err3)
}

// CheckFiles reads the secrets that the settings name, and returns an error if it can't read
// one.
func (c *Client) CheckFiles() error {
	_, err1 := c.OwnKey()
	_, err2 := c.PresharedKey()
	_, _, err3 := c.UserPassword()
	return errors.Join(err1, err2, err3)
}
