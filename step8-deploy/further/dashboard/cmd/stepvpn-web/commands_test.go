package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

//go:generate go test -run TestReference -update .

var update = flag.Bool("update", false, "write COMMANDS.md")

// COMMANDS.md, of which the man page is made, has every command and flag of the program, and nothing else.
func TestReference(t *testing.T) {
	const page = "../../COMMANDS.md"
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(reference()), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, reference(), string(got), "go generate ./further/dashboard/cmd/stepvpn-web writes it")
	require.Equal(t, len(commands()), strings.Count(string(got), "\n### stepvpn-web "))
}

// reference returns a page in Markdown about the program.
func reference() string {
	defer func(was *flag.FlagSet) { flag.CommandLine = was }(flag.CommandLine)
	var b strings.Builder
	b.WriteString(`# Commands of the page

This page is made from the program (go generate ./further/dashboard/cmd/stepvpn-web), and a test compares them.

` + "`stepvpn-web`" + ` is a page in the browser, for the operator of a stepvpn server: it shows who is connected, and adds,
renames and revokes clients. How to set it up says stepvpn(8), "A page in the browser".

## Commands

Flags come after the command. The exit code is 2 for a wrong command line, and 1 for any other error.
`)
	for _, c := range commands() {
		flag.CommandLine = flag.NewFlagSet("", flag.ContinueOnError)
		c.Setup()
		app.Verbose()
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| flag | is for |\n|---|---|\n", strings.TrimSpace("stepvpn-web "+c.Name+" "+c.Args), c.About)
		flag.VisitAll(func(f *flag.Flag) {
			kind, usage := flag.UnquoteUsage(f)
			if f.DefValue != "" && kind != "" {
				usage += fmt.Sprintf(" (default %s)", f.DefValue)
			}
			fmt.Fprintf(&b, "| %s | %s |\n", strings.TrimSpace("-"+f.Name+" "+kind), strings.ReplaceAll(usage, "|", `\|`))
		})
	}
	b.WriteString(`
## Files

| file | has |
|---|---|
| /etc/stepvpn/web.toml | the settings, with a comment for each |
| /etc/stepvpn/web.login | the hash of the password, and the secret for one-time codes |
| /etc/stepvpn/web.crt, /etc/stepvpn/web.key | the certificate, and its private key |
`)
	return b.String()
}
