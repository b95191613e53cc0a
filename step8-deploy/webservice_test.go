package step8_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// The page as a service comes to the server's two sockets as a user of its own, and to nothing else. Whoever is
// that user can't read the keys.
func TestServiceOfThePage(t *testing.T) {
	w := newWorld(t)
	b := w.box(t)
	b.boot()
	b.run("stepvpn", "init", "server")
	made := b.run("stepvpn-web", "init", "-server", w.Alice.V4.String())
	password := regexp.MustCompile(`(?m)^  ([a-z2-7-]{23})$`).FindStringSubmatch(made)
	key := regexp.MustCompile(`or the key ([A-Z2-7]+)`).FindStringSubmatch(made)
	require.NotNil(t, password, made)
	require.NotNil(t, key, made)
	b.run("systemctl", "enable", "--now", "stepvpn-server", "stepvpn-web")
	curl := func(args ...string) string {
		return b.run(append([]string{"curl", "-ksS", "--max-time", "30", "-b", "/root/jar", "-c", "/root/jar"}, args...)...)
	}
	netlab.Eventually(t, limit, "the page answers", func() bool {
		_, err := b.try("curl", "-ksSf", "--max-time", "5", "https://127.0.0.1:8443/login")
		return err == nil
	})
	out, err := exec.Command("oathtool", "--totp", "--base32", "--now", time.Now().Add(30*time.Second).UTC().Format("2006-01-02 15:04:05 UTC"), key[1]).Output()
	require.NoError(t, err, "shared/lab/setup.sh oathtool installs it")
	require.Equal(t, "303", curl("-o", "/dev/null", "-w", "%{http_code}", "-d", "password="+password[1]+"&code="+strings.TrimSpace(string(out)), "https://127.0.0.1:8443/login"))

	// The sockets are root's as long as the settings name no groups.
	require.Contains(t, made, `status_group = "stepvpn-status"`)
	closed := curl("https://127.0.0.1:8443/")
	require.Contains(t, closed, "You may not connect to /run/stepvpn/server.sock")
	require.Contains(t, closed, "Set status_group")
	b.run("sed", "-i", "-e", `s/^# status_group = .*/status_group = "stepvpn-status"/`, "-e", `s/^# control_group = .*/control_group = "stepvpn-admin"/`, "/etc/stepvpn/server.toml")
	b.run("systemctl", "restart", "stepvpn-server")
	netlab.Eventually(t, limit, "the page shows the server", func() bool { return strings.Contains(curl("https://127.0.0.1:8443/"), "There is no client yet") })
	require.Contains(t, curl("-d", "name=alice&kind=own&server=192.0.2.1", "https://127.0.0.1:8443/add"), "alice is added")
	require.Contains(t, curl("https://127.0.0.1:8443/audit"), "stepvpn-web", "the log says who it was")

	// Its user sees no key, by itself and in its sandbox. (Root does: the detector.)
	b.run("cat", "/etc/stepvpn/server.key")
	_, err = b.try("setpriv", "--reuid=stepvpn-web", "--regid=stepvpn-web", "--init-groups", "cat", "/etc/stepvpn/server.key")
	require.Error(t, err)
	pid := b.run("systemctl", "show", "-p", "MainPID", "--value", "stepvpn-web")
	require.Contains(t, b.run("ls", "/proc/"+strings.TrimSpace(pid)+"/root/run/stepvpn"), "server.sock")
	_, err = b.try("ls", "/proc/"+strings.TrimSpace(pid)+"/root/etc/stepvpn")
	require.Error(t, err, "the sandbox has no /etc/stepvpn")
}
