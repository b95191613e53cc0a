package dashboard

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step7-auth/identity"
)

// Settings are those of the file web.toml. Paths that are not absolute start at the file's folder.
type Settings struct {
	Listen        []netip.AddrPort
	Hosts         []string // further names under which the page may be asked for
	Certificate   string   // path of the certificates, in PEM
	Key           string   // path of the private key, in PEM
	Login         string   // path of the file with the password's hash and the secret for codes
	Server        string   // the server as clients reach it: what the form for a new client begins with; may be ""
	StatusSocket  string
	ControlSocket string
}

// settingsFile is what stands in the file.
type settingsFile struct {
	Listen        []string `toml:"listen"`
	Hosts         []string `toml:"hosts"`
	Certificate   string   `toml:"certificate"`
	Key           string   `toml:"key"`
	Login         string   `toml:"login"`
	Server        string   `toml:"server"`
	StatusSocket  string   `toml:"status_socket"`
	ControlSocket string   `toml:"control_socket"`
}

// The limits of settings.
const (
	maxFile   = 64 << 10 // bytes
	maxListen = 8
	maxHosts  = 32
)

// ReadSettings reads the settings in a file.
func ReadSettings(name string) (*Settings, error) {
	text, _, err := atomicfile.Read(name, maxFile, atomicfile.Follow)
	if err != nil {
		return nil, app.Hint(fmt.Errorf("settings: %w", err), "'stepvpn-web init' makes them.")
	}
	s, err := parseSettings(text, filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func parseSettings(text []byte, folder string) (*Settings, error) {
	f := settingsFile{
		Listen: []string{"127.0.0.1:8443"}, Certificate: "web.crt", Key: "web.key", Login: "web.login",
		StatusSocket: "/run/stepvpn/server.sock", ControlSocket: "/run/stepvpn/server-control.sock",
	}
	if err := decode(text, &f); err != nil {
		return nil, err
	}
	s := &Settings{Certificate: f.Certificate, Key: f.Key, Login: f.Login, Server: f.Server, StatusSocket: f.StatusSocket, ControlSocket: f.ControlSocket}
	if n := len(f.Listen); n < 1 || n > maxListen {
		return nil, fmt.Errorf("listen has %d addresses: 1 to %d are allowed", n, maxListen)
	}
	for _, text := range f.Listen {
		a, err := netip.ParseAddrPort(text)
		if err != nil || a.Port() == 0 {
			return nil, fmt.Errorf("listen has %.60q, which is not an address and a port, such as 127.0.0.1:8443", text)
		}
		s.Listen = append(s.Listen, a)
	}
	if len(f.Hosts) > maxHosts {
		return nil, fmt.Errorf("hosts has %d names: up to %d are allowed", len(f.Hosts), maxHosts)
	}
	for _, name := range f.Hosts {
		if !isName(name) {
			return nil, fmt.Errorf("hosts has %.60q, which is not the name of a host, such as vpn.example.org", name)
		}
		s.Hosts = append(s.Hosts, strings.ToLower(name))
	}
	for _, p := range []struct {
		setting string
		path    *string
	}{{"certificate", &s.Certificate}, {"key", &s.Key}, {"login", &s.Login}, {"status_socket", &s.StatusSocket}, {"control_socket", &s.ControlSocket}} {
		if *p.path == "" || strings.ContainsRune(*p.path, 0) {
			return nil, fmt.Errorf("%s is not the path of a file", p.setting)
		}
		if !filepath.IsAbs(*p.path) {
			*p.path = filepath.Join(folder, *p.path)
		}
	}
	return s, nil
}

// decode reads TOML, and refuses what v does not have.
func decode(text []byte, v any) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(v)
	if unknown, is := errors.AsType[*toml.StrictMissingError](err); is && len(unknown.Errors) > 0 {
		row, _ := unknown.Errors[0].Position()
		return fmt.Errorf("line %d: there is no setting %.60q", row, strings.Join(unknown.Errors[0].Key(), "."))
	}
	if wrong, is := errors.AsType[*toml.DecodeError](err); is {
		row, _ := wrong.Position()
		return fmt.Errorf("line %d: %s", row, app.Printable(strings.TrimPrefix(wrong.Error(), "toml: ")))
	}
	return err
}

// isName reports whether a text can be the name of a host.
func isName(s string) bool {
	if len(s) < 1 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
		})
		if label == "" || len(label) > 63 || bad {
			return false
		}
	}
	return true
}

// names returns under which names the page may be asked for: those in the settings, the addresses, and
// localhost if one of them leads there.
func (s *Settings) names() []string {
	names := slices.Clone(s.Hosts)
	for _, a := range s.Listen {
		names = append(names, a.Addr().String())
		if a.Addr().IsLoopback() || a.Addr().IsUnspecified() {
			names = append(names, "localhost", "127.0.0.1", "::1")
		}
		if a.Addr().IsUnspecified() {
			names = append(names, hostAddresses()...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// hostAddresses returns the addresses of this host.
func hostAddresses() (list []string) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, is := a.(*net.IPNet); is {
			list = append(list, n.IP.String())
		}
	}
	return list
}

// A Login is what the page knows of the password and the one-time codes.
type Login struct {
	password *identity.PasswordHash
	secret   []byte
}

type loginFile struct {
	Password string `toml:"password"`
	Secret   string `toml:"totp_secret"`
}

// ReadLogin reads the file that 'stepvpn-web init' has made.
func ReadLogin(name string) (*Login, error) {
	text, _, err := atomicfile.Read(name, maxFile, atomicfile.Follow)
	if err != nil {
		return nil, app.Hint(fmt.Errorf("login: %w", err), "'stepvpn-web passwd' makes a new one.")
	}
	l, err := parseLogin(text)
	if err != nil {
		return nil, app.Hint(fmt.Errorf("%s: %w", name, err), "'stepvpn-web passwd' makes a new one.")
	}
	return l, nil
}

func parseLogin(text []byte) (*Login, error) {
	var f loginFile
	if err := decode(text, &f); err != nil {
		return nil, err
	}
	hash, err := identity.ParsePasswordHash(f.Password)
	if err != nil {
		return nil, err
	}
	secret, err := parseSecret(f.Secret)
	return &Login{hash, secret}, err
}

// text returns what ReadLogin reads.
func (l *Login) text() []byte {
	return fmt.Appendf(nil, "# Made by 'stepvpn-web', which also changes it ('stepvpn-web passwd').\npassword = %q\ntotp_secret = %q\n",
		l.password.String(), secretText.EncodeToString(l.secret))
}

// certificate reads the certificates and the key.
func (s *Settings) certificate() (tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
	if err != nil {
		return c, app.Hint(fmt.Errorf("certificate: %w", err), "The service sees only web.crt and web.key beside web.toml: a certificate of your own takes their place there, also as a link. Without certificate and key, web.toml means these.")
	}
	return c, nil
}
