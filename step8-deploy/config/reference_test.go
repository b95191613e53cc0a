package config

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:generate go test -run TestReference -update .

var update = flag.Bool("update", false, "write SETTINGS.md anew")

// The page is what the program says, and has every key.
func TestReference(t *testing.T) {
	const page = "../SETTINGS.md"
	want := Reference()
	for _, key := range append(keysOf(serverSchema()), keysOf(clientSchema())...) {
		require.Contains(t, want, "\n| "+key+" | ")
	}
	require.Equal(t, 2+len(serverSchema())+1+2+len(clientSchema())+1-2, strings.Count(want, "\n| "))
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "go generate ./config writes it anew")
}
