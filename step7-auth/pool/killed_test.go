package pool

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childEnv tells the test's program that it is to save leases until it is killed.
const childEnv = "STEPVPN_POOL_CHILD"

// beChild saves one more lease each time, and prints how many are saved.
func beChild() {
	name := os.Getenv(childEnv)
	if name == "" {
		return
	}
	p, err := Open(Config{Addrs: prefixes("10.8.0.1/16", "fd00:8::1/64"), State: name})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	close(p.store.closing) // this test saves by itself
	<-p.store.stopped
	for n := len(p.families[0].byAddr); ; n++ {
		p.Lease(key(n), time.Now())
		if err := p.store.file.Write([]byte(p.snapshot().String())); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

// Whenever the server is killed, what it had saved is there: the file is never
// half written.
func TestKilledWhileSaving(t *testing.T) {
	name := t.TempDir() + "/leases"
	saved, drafts := -1, 0
	for round := range 20 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+name)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(out)
		// Let it save some, then kill it at any point of the next ones.
		for range 3 + round%5 {
			require.True(t, lines.Scan())
			n, err := strconv.Atoi(lines.Text())
			require.NoError(t, err, lines.Text())
			require.Equal(t, saved+1, n, "leases of the run before are missing")
			saved = n
		}
		time.Sleep(time.Duration(round) * 50 * time.Microsecond)
		require.NoError(t, child.Process.Kill())
		for lines.Scan() {
			saved, err = strconv.Atoi(lines.Text())
			require.NoError(t, err)
		}
		child.Wait()
		if _, err := os.Stat(name + ".new"); err == nil {
			drafts++
		}
		s, err := parseState(content(t, name))
		require.NoError(t, err)
		require.False(t, s.closed)
		// The last one may have been saved, and not been printed.
		count := strings.Count(content(t, name), "\n10.8.")
		require.Contains(t, []int{saved + 1, saved + 2}, count)
		saved = count - 1
	}
	t.Logf("%d leases; %d times a draft was left", saved+1, drafts)
}
