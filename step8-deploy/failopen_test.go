package step8_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A breakage is a reason why a client that was killed can't be started again.
type breakage struct {
	name string
	unit bool // the quick tests try it with a service, too
	do   func(t *testing.T) (mend func())
}

// breakages lists them, for a file of settings and a state folder.
func (w *world) breakages(settings, state string) []breakage {
	key := filepath.Join(filepath.Dir(settings), "broken.key")
	edit := func(f func(text string) string) func(t *testing.T) func() {
		return func(t *testing.T) func() { return rewrite(t, settings, f) }
	}
	keyFile := func(text string) string {
		return regexp.MustCompile(`(?m)^private_key = .*$`).ReplaceAllLiteralString(text, `key_file = "broken.key"`)
	}
	journal := func(content string) func(t *testing.T) func() {
		return func(t *testing.T) func() {
			files, err := filepath.Glob(filepath.Join(state, "*.json"))
			require.NoError(t, err)
			require.NotEmpty(t, files, "there is a journal")
			var mend []func()
			for _, file := range files {
				if filepath.Base(file) != "killswitch.json" {
					mend = append(mend, rewrite(t, file, func(string) string { return content }))
				}
			}
			return func() {
				for _, f := range mend {
					f()
				}
			}
		}
	}
	saved := func(content string) func(t *testing.T) func() {
		return func(t *testing.T) func() {
			return rewrite(t, filepath.Join(state, "killswitch.json"), func(string) string { return content })
		}
	}
	setting := func(key, value string) func(t *testing.T) func() {
		return edit(func(text string) string {
			return regexp.MustCompile(`(?m)^(# )?`+key+` = .*$`).ReplaceAllLiteralString(text, key+` = "`+value+`"`)
		})
	}
	const typo = "\nnonsense = [\n"
	return []breakage{
		{"the journal is empty", true, journal("")},
		{"the journal is damaged", false, journal("{\"")},
		{"the port for metrics is taken", true, func(t *testing.T) func() {
			squatter := w.Alice.Start(t, "socat", "-d", "-d", "TCP-LISTEN:9588,bind=127.0.0.1,fork,reuseaddr", "SYSTEM:true")
			squatter.WaitLog(t, "listening on")
			mend := setting("metrics", "127.0.0.1:9588")(t)
			return func() {
				mend()
				squatter.Kill()
				squatter.Wait(t)
			}
		}},
		{"the folder of the status socket is not there", false, setting("status_socket", "/run/not-there/client.sock")},
		{"a typo in the settings", true, edit(func(text string) string { return text + typo })},
		{"the settings are empty", false, edit(func(string) string { return "" })},
		{"the settings may be read by others", false, func(t *testing.T) func() {
			require.NoError(t, os.Chmod(settings, 0o644))
			return func() { require.NoError(t, os.Chmod(settings, 0o600)) }
		}},
		{"the settings are gone", true, func(t *testing.T) func() {
			require.NoError(t, os.Rename(settings, settings+".away"))
			return func() { require.NoError(t, os.Rename(settings+".away", settings)) }
		}},
		{"the key file is not there", false, edit(keyFile)},
		{"the key file may be read by others", false, func(t *testing.T) func() {
			text, err := os.ReadFile(settings)
			require.NoError(t, err)
			own := regexp.MustCompile(`(?m)^private_key = "(.*)"$`).FindSubmatch(text)
			require.NotNil(t, own)
			require.NoError(t, os.WriteFile(key, append(own[1], '\n'), 0o644))
			mend := rewrite(t, settings, keyFile)
			return func() {
				mend()
				require.NoError(t, os.Remove(key))
			}
		}},
		{"the saved switch is empty", false, saved("")},
		{"the saved switch is damaged", false, saved("{\"")},
		{"the saved switch is damaged, and so are the settings", false, func(t *testing.T) func() {
			one, two := saved("{\"")(t), edit(func(text string) string { return text + typo })(t)
			return func() { one(); two() }
		}},
	}
}

// rewrite changes the text of a file, which need not exist. mend puts the text back, or
// removes the file.
func rewrite(t *testing.T, file string, f func(string) string) (mend func()) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	there := err == nil
	require.NoError(t, os.WriteFile(file, []byte(f(string(text))), 0o600))
	return func() {
		if there {
			require.NoError(t, os.WriteFile(file, text, 0o600))
		} else {
			os.Remove(file) // by now, the program may have changed it
		}
	}
}

// A client in the foreground is killed, and its next start fails: the kill switch stays
// closed, however often that happens. Only Ctrl-C, SIGTERM and 'recover' open it.
func TestFailedStartStaysClosed(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	before := state(t, w.Alice)
	eyes := w.watch(t, "before there is a VPN", true)
	eyes.more(20)
	client := w.start(t)
	client.WaitLog(t, "tunnel is up")
	eyes.phase("connected", false)
	kill := func() {
		t.Helper()
		client.Kill()
		client.Wait(t)
	}
	starts := func(env ...string) {
		t.Helper()
		command := append(env, netlab.Program("stepvpn"), "client", w.path("alice.toml"))
		client = w.Alice.Start(t, "env", command...)
		netlab.Eventually(t, limit, "the client has failed, or runs in spite of all", func() bool {
			if client.Ended() || strings.Contains(client.Log(), "tunnel is up") {
				return true
			}
			_, err := w.Alice.Try(netlab.Program("stepvpn"), "status", "-socket", w.path("alice.sock"))
			return err == nil
		})
		if client.Ended() {
			require.Equal(t, 1, client.Wait(t), client.Log())
		}
		eyes.more(10)
		kill()
		eyes.more(10)
	}
	eyes.phase("another one is started", false)
	second := w.start(t)
	require.Equal(t, 1, second.Wait(t), second.Log())
	eyes.more(20)
	w.seenAs(t, w.Server.V4.String())
	eyes.phase("killed", false)
	kill()
	eyes.more(20)
	for _, b := range w.breakages(w.path("alice.toml"), w.path("alice")) {
		eyes.phase(b.name, false)
		mend := b.do(t)
		starts()
		mend()
	}
	eyes.phase("the programs it calls are missing", false)
	starts("PATH=/nowhere")
	eyes.phase("another program has the device", false)
	w.Alice.Run(t, "ip", "tuntap", "add", "dev", "vpn0", "mode", "tap")
	starts()
	w.Alice.Run(t, "ip", "link", "del", "vpn0")
	eyes.phase("the state folder is gone", false)
	require.NoError(t, os.Rename(w.path("alice"), w.path("alice.away")))
	starts()
	if _, err := os.Stat(w.path("alice")); err != nil { // otherwise, there is a new client, which has put back by now what must be put back
		require.NoError(t, os.Rename(w.path("alice.away"), w.path("alice")))
	}
	eyes.phase("up again", false)
	client = w.client(t)
	w.seenAs(t, w.Server.V4.String())

	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		eyes.phase(fmt.Sprint("stopped by ", s), true)
		client.Signal(s)
		require.Zero(t, client.Wait(t), client.Log())
		w.seenAs(t, w.Alice.V4.String())
		eyes.more(20)
		require.Equal(t, before, state(t, w.Alice))
		client = w.client(t)
		eyes.phase("up again", false)
		w.seenAs(t, w.Server.V4.String())
	}
	kill()
	eyes.phase("recovered", true)
	w.Alice.Run(t, netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
	w.seenAs(t, w.Alice.V4.String())
	eyes.more(20)
	require.Equal(t, before, state(t, w.Alice))
	eyes.verdict()
}

// If the server says which networks go through the tunnel, nothing for them leaves after a
// kill and before the first connection, either. Everything else still gets out.
func TestPushedStaysClosed(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "routes", "pushed", "allow_other_dns", true)
	server := w.server(t, "routes", []string{"203.0.113.64/27", "2001:db8:80::/64"})
	eyes := w.watchSite(t, "before there is a VPN", true)
	eyes.more(20)
	client := w.client(t)
	eyes.phase("connected", false)
	w.seenAs(t, w.Server.V4.String())
	server.Kill()
	server.Wait(t)
	for range 2 { // the saved state outlives a session that never began
		eyes.phase("killed", false)
		client.Kill()
		client.Wait(t)
		eyes.more(20)
		eyes.phase("started without a server", false)
		client = w.start(t)
		netlab.Eventually(t, limit, "the client runs", func() bool {
			_, err := w.Alice.Try(netlab.Program("stepvpn"), "status", "-json", "-socket", w.path("alice.sock"))
			return err == nil
		})
		eyes.more(40)
		w.Alice.Run(t, "ping", "-c1", "-W5", w.Server.V4.String())
	}
	eyes.verdict()
}

// As a service, the switch stays closed, too, whatever keeps the client from starting, and
// whatever the operator or systemd does short of a stop.
func TestServiceStaysClosed(t *testing.T) {
	w := newWorld(t)
	b := w.box(t)
	w.server(t)
	b.boot()
	// systemd tries the service again sooner than usual, so that the test takes less time.
	// Without cgroup v2, systemd may not notice that the last process of a killed unit has
	// ended.
	b.dropIn("stepvpn-client.service", "soon", "[Service]\nRestartSec=200ms\nTimeoutStopSec=3s\n")
	before := state(t, w.Alice)
	eyes := w.watch(t, "before the first start", true)
	eyes.more(20)
	b.run("systemctl", "enable", "--now", "stepvpn-client")
	eyes.phase("connected", false)
	w.seenAs(t, w.Server.V4.String())

	// settled waits until systemd has tried twice to start the service again, or has given up;
	// or until the service runs, if nothing hinders it.
	settled := func(restarts int) {
		t.Helper()
		netlab.Eventually(t, limit, "systemd has tried again, or gave up", func() bool {
			state, n := b.of("ActiveState"), b.restarts()
			return state == "failed" || state == "inactive" || n >= restarts+2 || n > restarts && (state == "active" || b.status() != "")
		})
		eyes.more(20)
	}
	fails := func(name string, do func(t *testing.T) func()) {
		t.Helper()
		eyes.phase(name, false)
		mend := do(t)
		restarts := b.restarts()
		b.kill()
		settled(restarts)
		mend()
		b.up()
	}
	others := long(t, "the other breakages")
	for _, c := range w.breakages(b.settings(), b.path("var/lib/stepvpn")) {
		if c.unit || others {
			fails(c.name, c.do)
		}
	}
	if others {
		fails("the programs it calls are missing", func(t *testing.T) func() {
			one := b.dropIn("stepvpn-client.service", "path", "[Service]\nEnvironment=PATH=/nowhere\n")
			two := b.dropIn("stepvpn-killswitch.service", "path", "[Service]\nEnvironment=PATH=/nowhere\n")
			return func() { one(); two() }
		})
	}

	eyes.phase("the worker is killed", false)
	b.run("systemctl", "kill", "--signal=KILL", "stepvpn-client-worker")
	eyes.more(10)
	w.seenAs(t, w.Server.V4.String())
	for _, verb := range []string{"restart", "try-restart"} {
		eyes.phase("systemctl "+verb, false)
		b.run("systemctl", verb, "stepvpn-client")
		w.seenAs(t, w.Server.V4.String())
	}
	eyes.phase("systemctl reload", false)
	main := b.of("MainPID")
	b.run("systemctl", "reload", "stepvpn-client")
	w.seenAs(t, w.Server.V4.String())
	mend := rewrite(t, b.settings(), func(text string) string { return text + "\nnonsense = [\n" })
	b.try("systemctl", "reload", "stepvpn-client") // whether or not it knows by then
	netlab.Eventually(t, limit, "the typo is logged with its line", func() bool {
		log, _ := b.try("journalctl", "--no-pager", "-o", "cat", "-u", "stepvpn-client*")
		return regexp.MustCompile(`client\.toml:\d+: .*array is incomplete`).MatchString(log)
	})
	eyes.more(20)
	mend()
	b.run("systemctl", "reload-or-restart", "stepvpn-client")
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, main, b.of("MainPID"), "the same process goes on")
	eyes.phase("an update", false)
	b.install()
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "restart", "stepvpn-client")
	w.seenAs(t, w.Server.V4.String())

	if long(t, "the watchdog") {
		eyes.phase("it hangs, and systemd's watchdog ends it", false)
		remove := b.dropIn("stepvpn-client.service", "watchdog", "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n")
		b.run("systemctl", "restart", "stepvpn-client")
		restarts := b.restarts()
		b.run("systemctl", "kill", "--signal=STOP", "stepvpn-client")
		netlab.Eventually(t, limit, "the watchdog has had it started again", func() bool { return b.restarts() > restarts })
		remove()
		b.run("systemctl", "restart", "stepvpn-client")
		w.seenAs(t, w.Server.V4.String())
	}

	// A restart that fails to start the service is not a stop, either.
	eyes.phase("restarted with a typo", false)
	mend = rewrite(t, b.settings(), func(text string) string { return text + "\nnonsense = [\n" })
	b.try("systemctl", "restart", "stepvpn-client")
	settled(b.restarts())

	// But the stop of a service that can't be started is one, even if it only cancels the next
	// start, which waits for another unit here.
	slow := b.dropIn("stepvpn-names.service", "slow", "[Service]\nExecStartPre=/bin/sleep 3\n")
	netlab.Eventually(t, limit, "the next start waits", func() bool {
		jobs, _ := b.try("systemctl", "list-jobs", "--no-legend", "--full")
		return regexp.MustCompile(`stepvpn-client\.service +\w*start +waiting`).MatchString(jobs)
	})
	eyes.phase("stopped with a typo", true)
	b.run("systemctl", "stop", "stepvpn-client")
	w.seenAs(t, w.Alice.V4.String())
	slow()
	eyes.more(20)
	require.Equal(t, before, state(t, w.Alice))
	mend()
	b.run("systemctl", "start", "stepvpn-client")
	eyes.phase("started", false)
	w.seenAs(t, w.Server.V4.String())

	// So is 'recover', if no client is to be started again. A start closes the switch again.
	eyes.phase("killed", false)
	remove := b.dropIn("stepvpn-client.service", "soon", "[Service]\nRestartSec=1h\n")
	b.kill()
	netlab.Eventually(t, limit, "systemd waits", func() bool { return b.of("SubState") == "auto-restart" })
	eyes.more(20)
	eyes.phase("recovered", true)
	b.run("stepvpn", "recover")
	w.seenAs(t, w.Alice.V4.String())
	eyes.more(20)
	remove()
	b.run("systemctl", "start", "stepvpn-client")
	eyes.phase("started", false)
	w.seenAs(t, w.Server.V4.String())
	b.kill()
	eyes.more(20)
	b.up()

	eyes.phase("stopped", true)
	b.run("systemctl", "stop", "stepvpn-client")
	w.seenAs(t, w.Alice.V4.String())
	netlab.Eventually(t, limit, "the client has told the server that it leaves", func() bool {
		return len(w.report(t, w.Server, "server.sock").Peers) == 0
	})
	eyes.more(20)
	require.Equal(t, before, state(t, w.Alice))
	eyes.verdict()
}
