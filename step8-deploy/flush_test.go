package step8_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// firewall returns alice's tables and rules, sorted, as what is put back may come in another
// order. It leaves out the rule for the server's answers, which is another one for each
// attempt to connect.
func (w *world) firewall(t *testing.T) []string {
	t.Helper()
	out := w.Alice.Run(t, "bash", "-c", "nft --stateless list ruleset; ip -4 rule; ip -6 rule")
	var lines []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "dport 5555") {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// While the client runs, others remove tables and rules on alice: all of them, only ours, or
// one after another. Not one packet leaves in the clear, neither of a program that is tied to
// eth0 nor of another one, and everything is put back.
func TestFlushed(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	before := state(t, w.Alice)
	eyes := w.watch(t, "before there is a VPN", true)
	eyes.more(20)
	client := w.start(t)
	netlab.Eventually(t, limit, "the client runs", func() bool {
		_, err := w.Alice.Try(netlab.Program("stepvpn"), "status", "-socket", w.path("alice.sock"))
		return err == nil
	})
	eyes.phase("without a server", false)

	const rules = `for f in -4 -6; do ip $f rule show | awk '/proto(col)? 87/ { sub(":", ""); print $1 }' |
		while read -r priority; do ip $f rule del protocol 87 priority "$priority"; done; done`
	const tables = `nft list tables | grep stepvpn | while read -r word family name; do nft delete table "$family" "$name" 2>/dev/null || true; done`
	ways := []struct{ name, do string }{
		{"nft flush ruleset", "nft flush ruleset"},
		{"each of our tables is deleted", tables},
		{"our chains are flushed", `nft list tables | grep stepvpn | while read -r word family name; do nft flush table "$family" "$name" 2>/dev/null || true; done`},
		{"a firewall is loaded again", `printf 'flush ruleset\ntable inet filter {\n}\n' | nft -f -; nft delete table inet filter`},
		{"the rules are removed", rules},
		{"rules and tables are removed", rules + "\n nft flush ruleset"},
		{"tables are flushed again and again", "for i in 1 2 3 4 5 6 7 8 9 10; do nft flush ruleset; done"},
	}
	remove := func(when string) {
		t.Helper()
		wanted := w.firewall(t)
		require.Contains(t, strings.Join(wanted, "\n"), "stepvpn", "there is something to remove")
		for _, way := range ways {
			eyes.phase(way.name+", "+when, false)
			w.Alice.Run(t, "bash", "-c", way.do)
			w.isBack(t, wanted, way.name)
			eyes.more(10)
		}
	}
	remove("without a server")
	eyes.phase("connected", false)
	w.server(t)
	w.seenAs(t, w.Server.V4.String())
	remove("connected")
	w.seenAs(t, w.Server.V4.String())
	require.NotContains(t, client.Log(), "does not answer", "nothing of that ends the session")

	eyes.phase("flushed, put back, killed", false)
	wanted := w.firewall(t)
	w.Alice.Run(t, "nft", "flush", "ruleset")
	w.isBack(t, wanted, "flushed")
	client.Kill()
	client.Wait(t)
	eyes.more(40)
	eyes.phase("started again", false)
	client = w.client(t)
	w.seenAs(t, w.Server.V4.String())

	eyes.phase("stopped", true)
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	eyes.more(20)
	require.Equal(t, before, state(t, w.Alice))
	eyes.verdict()
}

// isBack waits until tables and rules are as they should be.
func (w *world) isBack(t *testing.T, wanted []string, what string) {
	t.Helper()
	var missing, more []string
	done := func() bool {
		now := w.firewall(t)
		missing, more = difference(wanted, now), difference(now, wanted)
		return len(missing)+len(more) == 0
	}
	defer func() {
		if t.Failed() {
			t.Logf("%s: missing:\n%s\nmore than before:\n%s", what, strings.Join(missing, "\n"), strings.Join(more, "\n"))
		}
	}()
	began := time.Now()
	defer func() { t.Logf("%s: put back after %v", what, time.Since(began).Round(10*time.Millisecond)) }()
	netlab.Eventually(t, limit/3, fmt.Sprintf("%s: tables and rules are put back", what), done)
}

// difference returns the lines of a that b does not have, or not as often.
func difference(a, b []string) (list []string) {
	count := make(map[string]int)
	for _, s := range b {
		count[s]++
	}
	for _, s := range a {
		if count[s]--; count[s] < 0 {
			list = append(list, s)
		}
	}
	return list
}
