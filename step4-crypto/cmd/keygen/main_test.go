package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/keyfile"
)

// TestKeygen runs the built program in a folder of its own, step by step.
func TestKeygen(t *testing.T) {
	program := filepath.Join(t.TempDir(), "keygen")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)

	dir := t.TempDir()
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{nil, 0, "vpn.key: a new key. Copy it to the other side in a safe way, such as scp.\n", ""},
		{nil, 1, "", "keygen: vpn.key exists already, and is left as it is\n" +
			"  Choose another name with -out, or remove the file if nobody uses its key any more.\n"},
		{[]string{"-out", "other.key"}, 0, "other.key: a new key. Copy it to the other side in a safe way, such as scp.\n", ""},
		{[]string{"-out", "no/folder.key"}, 1, "", "keygen: open no/folder.key: no such file or directory\n" +
			"  Choose a file in a folder that exists and that you may write to.\n"},
		{[]string{"-out", ""}, 2, "", "keygen: -out is empty: give the name of a new file\n" +
			"  'keygen -help' lists the flags.\n"},
		{[]string{"third.key"}, 2, "", "keygen: unexpected argument \"third.key\": every setting is a flag\n" +
			"  'keygen -help' lists the flags.\n"},
		{[]string{"-size", "16"}, 2, "", "keygen: flag provided but not defined: -size\n" +
			"  'keygen -help' lists the flags.\n"},
	} {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(program, tt.args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
		if err := cmd.Run(); err != nil {
			require.ErrorAs(t, err, new(*exec.ExitError))
		}
		require.Equal(t, tt.stdout, stdout.String(), "keygen %q", tt.args)
		require.Equal(t, tt.stderr, stderr.String(), "keygen %q", tt.args)
		require.Equal(t, tt.code, cmd.ProcessState.ExitCode(), "keygen %q", tt.args)
	}

	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "other.key"), filepath.Join(dir, "vpn.key")}, files)
	a, err := keyfile.Read(files[0])
	require.NoError(t, err)
	b, err := keyfile.Read(files[1])
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}
