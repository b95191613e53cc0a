package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:generate go test -run TestReference -update .

var update = flag.Bool("update", false, "write SETTINGS.md")

// SETTINGS.md is the page that reference returns, and has every key.
func TestReference(t *testing.T) {
	const page = "../SETTINGS.md"
	want := reference()
	for _, key := range append(keysOf(serverSchema()), keysOf(clientSchema())...) {
		require.Contains(t, want, "\n| "+key+" | ")
	}
	require.Equal(t, 2+len(serverSchema())+1+2+len(clientSchema())+1-2, strings.Count(want, "\n| "))
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "go generate ./config writes it")
}

// reference returns a page in Markdown with a table of all keys, for SETTINGS.md.
func reference() string {
	var b strings.Builder
	b.WriteString(`# Settings

All keys of the two kinds of file. 'stepvpn init' writes files that explain each key;
'stepvpn check FILE' says what is wrong with a file. This page is made from the program
(go generate ./config), and a test compares them.

A file is TOML, with one "key = value" per line, and no tables. A relative path starts at
the folder of the file that has it. $CREDENTIALS_DIRECTORY/ at the start of a path means
the folder in which systemd puts copies of keys for the service (LoadCredential=); outside
of a service, it means the folder of the file.
`)
	table(&b, KindServer, serverSchema())
	table(&b, KindClient, clientSchema())
	return b.String()
}

func table[C any](b *strings.Builder, kind string, schema []setting[C]) {
	fmt.Fprintf(b, "\n## %s\n\n| key | allowed | without the key |\n|---|---|---|\n| kind | %q | an error |\n",
		strings.ToUpper(kind[:1])+kind[1:], kind)
	for _, s := range schema {
		fmt.Fprintf(b, "| %s | %s | %s |\n", s.key, strings.ReplaceAll(s.allowed, "|", `\|`), without(s))
	}
}

// without returns what the page says about a file without a key: its default, or "an error".
func without[C any](s setting[C]) string {
	switch v := s.def.(type) {
	case nil:
		switch {
		case s.required && s.instead != "":
			return "an error, unless wireguard is set"
		case s.required:
			return "an error"
		}
		return "none"
	case string:
		return tomlText(v)
	case []any:
		var parts []string
		for _, one := range v {
			parts = append(parts, tomlText(one.(string)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}
