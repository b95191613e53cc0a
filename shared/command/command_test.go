package command

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	out, err := Run("what is said\n", "sh", "-c", "cat; echo aside >&2")
	require.NoError(t, err)
	require.Equal(t, "what is said\n", out)

	_, err = Run("", "sh", "-c", "echo part; echo; echo first line >&2; echo second >&2; exit 3")
	require.EqualError(t, err, "exit status 3: first line")
	_, err = Run("", "sh", "-c", "echo on the output; exit 3")
	require.EqualError(t, err, "exit status 3: on the output")
	_, err = Run("", "sh", "-c", "head -c 1000 /dev/zero | tr '\\0' x >&2; exit 3")
	require.EqualError(t, err, "exit status 3: "+strings.Repeat("x", 300))
	_, err = Run("", "no-such-program")
	require.ErrorIs(t, err, exec.ErrNotFound)
}

func TestNoAnswer(t *testing.T) {
	began := time.Now()
	for _, script := range []string{"exec sleep 600", "sleep 600 & echo begun"} { // a child keeps the output open
		_, err := run(50*time.Millisecond, "", "sh", "-c", script)
		require.Error(t, err)
	}
	require.Less(t, time.Since(began), time.Minute)
	_, err := run(50*time.Millisecond, "", "sleep", "600")
	require.EqualError(t, err, "no answer within 50ms")
}
