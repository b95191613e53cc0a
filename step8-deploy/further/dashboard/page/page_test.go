// Package page_test uses the page as a person does: a real Chromium, a real server of the VPN, and real
// clients with real traffic.
package page_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
	"stepvpn/step8-deploy/further/dashboard"
	"stepvpn/step8-deploy/further/dashboard/browser"
)

var shots = flag.String("shots", "", "`folder` for screenshots")

// A world is the lab, with a server of the VPN, its page, and a browser on the same host.
type world struct {
	*netlab.Lab
	*browser.Browser
	server, page *netlab.Process
	secret       *dashboard.Secret
	folder       string
}

const at = "https://localhost:8443"

// begin starts all of it.
func begin(t *testing.T) *world {
	w := &world{Lab: netlab.New(t), folder: t.TempDir()}
	settings := filepath.Join(w.folder, "server.toml")
	w.Server.Run(t, netlab.Program("stepvpn"), "init", "server", "-dir", w.folder)
	text, err := os.ReadFile(settings)
	require.NoError(t, err)
	more := fmt.Sprintf("\nwireguard = true\nquota_then = \"slow 1Mbit/s\"\nstate = %q\nstatus_socket = %q\ncontrol_socket = %q\ndns_upstreams = [%q]\n",
		w.folder+"/state", w.folder+"/server.sock", w.folder+"/server-control.sock", w.Web.V4)
	require.NoError(t, os.WriteFile(settings, append(text, more...), 0o600))
	w.Web.ServeDNS(t)
	w.server = w.Server.Start(t, netlab.Program("stepvpn"), "server", settings)
	w.server.WaitLog(t, "server is up")

	w.secret, err = dashboard.Setup{Folder: w.folder, Server: w.Server.V4.String()}.Init()
	require.NoError(t, err)
	web := filepath.Join(w.folder, dashboard.SettingsName)
	text, err = os.ReadFile(web)
	require.NoError(t, err)
	text = append(text, "status_socket = \"server.sock\"\ncontrol_socket = \"server-control.sock\"\n"...)
	require.NoError(t, os.WriteFile(web, text, 0o600))
	w.page = w.Server.Start(t, netlab.Program("stepvpn-web"), "serve", "-settings", web)
	w.page.WaitLog(t, "the page is served")

	w.Browser, err = browser.Start("nsenter", "--net=/run/netns/server", "--mount=/run/mntns/server")
	require.NoError(t, err)
	t.Cleanup(w.Browser.Close)
	return w
}

// code returns a code that has not been used: that of the next step, as codes up to the start of the
// page are refused.
func (w *world) code(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("oathtool", "--totp", "--base32", "--now", time.Now().Add(30*time.Second).UTC().Format("2006-01-02 15:04:05 UTC"), w.secret.Key).Output()
	require.NoError(t, err, "shared/lab/setup.sh oathtool installs it")
	return strings.TrimSpace(string(out))
}

// login logs in.
func (w *world) login(t *testing.T) {
	t.Helper()
	require.NoError(t, w.Open(at+"/"))
	require.NoError(t, w.Type("#password", w.secret.Password))
	require.NoError(t, w.Type("#code", w.code(t)))
	require.NoError(t, w.Submit())
	require.Equal(t, "Overview", w.text(t, "h1"))
}

func (w *world) text(t *testing.T, selector string) string {
	t.Helper()
	text, err := w.Text(selector)
	require.NoError(t, err)
	return text
}

// shot keeps a picture of the page, if that is wanted.
func (w *world) shot(t *testing.T, name string) {
	t.Helper()
	if *shots == "" {
		return
	}
	for _, size := range []int{1280, 390} {
		for _, dark := range []bool{false, true} {
			require.NoError(t, w.Screen(size, 900, dark))
			time.Sleep(300 * time.Millisecond) // until it is drawn
			picture, err := w.Screenshot()
			require.NoError(t, err)
			file := fmt.Sprintf("%s-%d-%s.png", name, size, map[bool]string{false: "light", true: "dark"}[dark])
			require.NoError(t, os.WriteFile(filepath.Join(*shots, file), picture, 0o644))
		}
	}
	require.NoError(t, w.Screen(1280, 900, false))
}

// The whole way of a client: it is added with a QR code, connects, is seen with its traffic, is
// renamed, and revoked.
func TestWholeWay(t *testing.T) {
	if !soak.On() && *shots == "" {
		t.Skip("it takes long; 'make soak' has it, and the demo goes the same way in 'make test'")
	}
	w := begin(t)
	require.NoError(t, w.Open(at+"/"))
	require.Equal(t, "Log in", w.text(t, "h1"))
	w.shot(t, "login")
	w.login(t)
	w.shot(t, "empty")

	// Added: what the QR code says is the file.
	require.NoError(t, w.Follow(`nav a[href="/add"]`))
	w.shot(t, "add")
	require.NoError(t, w.Type("#name", "phone"))
	require.NoError(t, w.Submit())
	require.Equal(t, "phone is added", w.text(t, "h1"))
	w.shot(t, "added")
	file, err := w.Run(`document.querySelector("#file").textContent`)
	require.NoError(t, err)
	require.Contains(t, file, "PrivateKey = ")
	require.Equal(t, strings.TrimSpace(file), strings.TrimSpace(scanned(t, w)))
	link, err := w.Run(`document.querySelector("a[download]").href`)
	require.NoError(t, err)
	_, encoded, _ := strings.Cut(link, ",")
	saved, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	require.Equal(t, file, string(saved))
	address, err := w.Run("location.href")
	require.NoError(t, err)
	require.Equal(t, at+"/add", address, "no secret is in the address")

	// Alice, by our own client.
	require.NoError(t, w.Open(at+"/add"))
	require.NoError(t, w.Type("#name", "alice"))
	require.NoError(t, w.Click(`input[value="own"]`))
	require.NoError(t, w.Follow("main form button"))
	file, err = w.Run(`document.querySelector("#file").textContent`)
	require.NoError(t, err)
	config := filepath.Join(w.folder, "alice.toml")
	require.NoError(t, os.WriteFile(config, []byte(file+fmt.Sprintf("\nstate = %q\nstatus_socket = \"\"\n", w.folder+"/alice")), 0o600))

	// She connects, and the page that is open shows it by itself.
	require.NoError(t, w.Open(at+"/"))
	require.NoError(t, w.Wait(`document.querySelector('[data-client="alice"]:not(.here)')`))
	client := w.Alice.Start(t, netlab.Program("stepvpn"), "client", config)
	client.WaitLog(t, "client is up")
	require.NoError(t, w.Wait(`document.querySelector('[data-client="alice"].here')`))
	require.NoError(t, w.Wait(`document.querySelector("#connected").textContent === "1"`))
	w.Web.ServeSite(t)
	for range 3 {
		w.Alice.Run(t, "curl", "-4sS", "--max-time", "20", "http://"+w.Web.V4.String()+"/whoami")
	}
	require.NoError(t, w.Wait(`document.querySelector("#graph canvas")`))
	w.shot(t, "overview")

	// Her page.
	require.NoError(t, w.Follow(`[data-client="alice"] a`))
	require.Equal(t, "alice", w.text(t, "h1"))
	require.Contains(t, w.text(t, ".facts"), "10.8.0.")
	require.NoError(t, w.Wait(`document.querySelector("#usage canvas")`))
	require.NoError(t, w.Click(`[data-span="day"]`))
	require.NoError(t, w.Wait(`document.querySelector('[data-span="day"]').ariaPressed === "true"`))
	require.Regexp(t, `day\s+[0-9.]+ k?B`, w.text(t, "main > table"))
	w.shot(t, "client")

	// Limited, and her quota is used up: she stays, but slower.
	require.NoError(t, w.Type("#down", "20Mbit/s"))
	require.NoError(t, w.Type("#quota", "1MB/month"))
	require.NoError(t, w.Submit())
	require.Equal(t, "The limits are changed.", w.text(t, ".said"))
	w.Alice.Run(t, "curl", "-4sS", "--max-time", "60", "-o", "/dev/null", "http://"+w.Web.V4.String()+"/file?bytes=1100000")
	require.NoError(t, w.Wait(`document.querySelector('[data-is="used"]').textContent.startsWith("1.")`)) // by itself
	require.NoError(t, w.Open(at+"/clients/alice"))
	require.Contains(t, w.text(t, "#limits"), "slowed down to 1.0 Mbit/s")
	w.shot(t, "limits")
	require.NoError(t, w.Open(at+"/"))
	require.Contains(t, w.text(t, `[data-client="alice"]`), "quota used up")
	w.shot(t, "used-up")
	require.NoError(t, w.Open(at+"/clients/alice"))
	require.NoError(t, w.Type("#up", "fast"))
	require.NoError(t, w.Submit())
	require.Contains(t, w.text(t, ".error"), `Up: it is "fast", which is not clear`)
	w.shot(t, "refused")
	require.NoError(t, w.Type("#up", ""))
	require.NoError(t, w.Type("#quota", "none"))
	require.NoError(t, w.Submit())
	require.NotContains(t, w.text(t, "#limits"), "Begins anew")
	require.NoError(t, w.Type("#expires", "30d"))
	require.NoError(t, w.Submit())
	require.Contains(t, w.text(t, ".said"), "It is changed until when")
	require.Contains(t, w.text(t, ".facts"), time.Now().Add(30*24*time.Hour).UTC().Format("2006-01-02"))
	require.NoError(t, w.Type("#expires", "yesterday"))
	require.NoError(t, w.Submit())
	require.Contains(t, w.text(t, ".error"), "yesterday", "what is wrong is said, and nothing is changed")
	require.Empty(t, withoutStatus(w.Problems()))
	require.NoError(t, w.Type("#name", "alice-laptop"))
	require.NoError(t, w.Submit())
	require.Equal(t, "alice-laptop", w.text(t, "h1"))
	require.False(t, client.Ended(), "she has noticed nothing")

	// Revoked: she is cut off.
	require.NoError(t, w.Wait(`document.querySelector("#usage canvas")`)) // nothing moves any more
	require.NoError(t, w.Follow(".danger"))
	w.shot(t, "revoke")
	require.NoError(t, w.Follow("main form button"))
	client.WaitLog(t, "revoked")
	require.NoError(t, w.Open(at+"/"))
	list := w.text(t, "tbody")
	require.NotContains(t, list, "alice")
	require.Contains(t, list, "phone")

	// And all of that stands in the audit log.
	require.NoError(t, w.Follow(`nav a[href="/audit"]`))
	w.shot(t, "audit")
	log := w.text(t, "tbody")
	for _, what := range []string{"added", "expire", "renamed", "revoked", "refused: ", "root"} {
		require.Contains(t, log, what)
	}

	// Logged out, the browser's way back leads to the login.
	require.NoError(t, w.Follow("header form button"))
	require.NoError(t, w.Open(at+"/audit"))
	require.Equal(t, "Log in", w.text(t, "h1"))
	require.Empty(t, withoutStatus(w.Problems()))
}

// withoutStatus leaves out that an answer had a status that says no: the browser notes those, too.
func withoutStatus(problems []string) (list []string) {
	for _, p := range problems {
		if !strings.Contains(p, "the server responded with a status of 4") {
			list = append(list, p)
		}
	}
	return list
}

// scanned returns what somebody else's program reads from the QR code on a screenshot.
func scanned(t *testing.T, w *world) string {
	t.Helper()
	picture, err := w.Screenshot()
	require.NoError(t, err)
	_, err = png.Decode(bytes.NewReader(picture))
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "page.png")
	require.NoError(t, os.WriteFile(name, picture, 0o600))
	out, err := exec.Command("zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", name).Output()
	require.NoError(t, err, "no QR code is on the page")
	return string(out)
}
