package dashboard

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/qrcode"
)

// The names of the files that Init makes.
const (
	SettingsName = "web.toml"
	loginName    = "web.login"
	certName     = "web.crt"
	keyName      = "web.key"
)

// settingsText is the file of settings that Init makes. %s is for the further names and for the server.
const settingsText = `# Settings of stepvpn-web, the page. Restart it when they have changed:
#   systemctl restart stepvpn-web

# Where it listens. Only this host can reach a loopback address; from elsewhere, use
#   ssh -L 8443:127.0.0.1:8443 THE-SERVER      and then  https://127.0.0.1:8443/
# or an address in the tunnel, such as "10.8.0.1:8443".
listen = ["127.0.0.1:8443"]

# Names by which browsers reach it, besides localhost and the addresses above. It answers to no others.
hosts = [%s]

# The server as clients reach it, "HOST" or "HOST:PORT": the form for a new client begins with it.
server = %q

# The certificate and its key are web.crt and web.key beside this file. Others, such as those of a certificate
# authority, can take their place, also as links. The page reads them when it starts: restart it after each renewal.

# The sockets of the VPN server: its settings status_socket and control_socket. The service sees those in /run/stepvpn.
# status_socket = "/run/stepvpn/server.sock"
# control_socket = "/run/stepvpn/server-control.sock"
`

// Setup says how the page is set up.
type Setup struct {
	Folder string
	Hosts  []string // further names
	Server string   // see Settings
}

// A Secret is what Setup has made, and nobody can get a second time.
type Secret struct {
	Password    string
	Key         string // for one-time codes, in base32
	QR          string // the same as a QR code, for a terminal
	Fingerprint string // of the certificate: SHA-256, in hex
}

// Init makes the settings, a certificate, a password and the secret for one-time codes. If any of the files
// exists, it changes nothing.
func (s Setup) Init() (*Secret, error) {
	var quoted []string
	for _, h := range s.Hosts {
		if !isName(h) {
			return nil, app.Usage("-host %.60q: this is not the name of a host", h)
		}
		quoted = append(quoted, fmt.Sprintf("%q", strings.ToLower(h)))
	}
	settings := fmt.Appendf(nil, settingsText, strings.Join(quoted, ", "), s.Server)
	if _, err := parseSettings(settings, s.Folder); err != nil {
		return nil, app.Usage("%w", err)
	}
	if err := atomicfile.MakeFolder(s.Folder); err != nil {
		return nil, err
	}
	for _, name := range []string{SettingsName, loginName, certName, keyName} {
		if _, err := os.Lstat(filepath.Join(s.Folder, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, app.Hint(fmt.Errorf("%s is there already", filepath.Join(s.Folder, name)),
				"'stepvpn-web passwd' makes a new password. To begin anew, remove the files web.* first.")
		}
	}
	login, made, err := newLogin(s.host())
	if err != nil {
		return nil, err
	}
	cert, key, err := newCertificate(s.Hosts, time.Now())
	if err != nil {
		return nil, err
	}
	// The settings come last: a set-up that was cut off is none.
	for _, f := range []struct {
		name string
		text []byte
	}{{keyName, pemOf("PRIVATE KEY", key)}, {certName, pemOf("CERTIFICATE", cert)}, {loginName, login.text()}, {SettingsName, settings}} {
		if err := atomicfile.Create(filepath.Join(s.Folder, f.name), f.text, atomicfile.Options{Mode: 0o600}); err != nil {
			return nil, err
		}
	}
	made.Fingerprint = fmt.Sprintf("%X", sha256.Sum256(cert))
	return made, nil
}

// NewPassword makes a new password and a new secret, in the place of the old ones.
func (s Setup) NewPassword() (*Secret, error) {
	if _, err := os.Stat(filepath.Join(s.Folder, SettingsName)); err != nil {
		return nil, app.Hint(err, "'stepvpn-web init' makes the settings.")
	}
	login, made, err := newLogin(s.host())
	if err != nil {
		return nil, err
	}
	return made, atomicfile.Write(filepath.Join(s.Folder, loginName), login.text(), atomicfile.Options{Mode: 0o600})
}

// host returns what an authenticator app shows.
func (s Setup) host() string {
	if len(s.Hosts) > 0 {
		return s.Hosts[0]
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

func newLogin(host string) (*Login, *Secret, error) {
	text := strings.ToLower(rand.Text())[:20] // 100 bits
	password := text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:]
	hash, err := identity.HashPassword(password)
	if err != nil {
		return nil, nil, err
	}
	secret := make([]byte, secretSize)
	rand.Read(secret)
	code, err := qrcode.New(keyURI(secret, host))
	if err != nil {
		return nil, nil, err
	}
	return &Login{hash, secret}, &Secret{Password: password, Key: secretText.EncodeToString(secret), QR: code.Terminal()}, nil
}

// newCertificate makes a self-signed certificate for this host, and its key, both in DER.
func newCertificate(hosts []string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "stepvpn-web"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              append([]string{"localhost"}, hosts...), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if cert, err = x509.CreateCertificate(rand.Reader, c, c, private.Public(), private); err != nil {
		return nil, nil, err
	}
	key, err = x509.MarshalPKCS8PrivateKey(private)
	return cert, key, err
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
