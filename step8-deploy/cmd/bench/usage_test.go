package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In this test, this program has a worker process, as stepvpn has.
func TestMain(m *testing.M) {
	switch os.Getenv("BENCH_TEST") {
	case "keeper":
		worker := exec.Command("/proc/self/exe")
		worker.Env = append(os.Environ(), "BENCH_TEST=worker")
		worker.Stdin, worker.Stdout = os.Stdin, os.Stdout
		if err := worker.Run(); err != nil {
			panic(err)
		}
	case "worker":
		const size = 64 << 20
		room := make([]byte, size)
		for i, begin := 0, time.Now(); i < size || time.Since(begin) < 200*time.Millisecond; i++ {
			room[i%size]++
		}
		fmt.Println("done")
		io.Copy(io.Discard, os.Stdin)
	default:
		os.Exit(m.Run())
	}
}

// The worker's usage counts as the program's.
func TestUsageOfTheWorker(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "BENCH_TEST=keeper")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	p := &process{cmd: cmd}
	require.Len(t, p.tree(), 2)
	cpu, err := p.cpu()
	require.NoError(t, err)
	require.GreaterOrEqual(t, cpu, 100*time.Millisecond)
	peak, err := p.peak()
	require.NoError(t, err)
	require.Greater(t, peak, 64<<20)
}
