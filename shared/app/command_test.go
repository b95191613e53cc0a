package app

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// commands is the program "commands" of TestMain.
func commands() {
	echo := func() func(context.Context, []string) error {
		loud := flag.Bool("loud", false, "with an exclamation mark")
		return func(_ context.Context, args []string) error {
			fmt.Print(strings.Join(args, " "))
			if *loud {
				fmt.Print("!")
			}
			return nil
		}
	}
	fails := func() func(context.Context, []string) error {
		number := flag.Int("number", 7, "a `number`")
		return func(context.Context, []string) error {
			return Hint(fmt.Errorf("%d: it broke", *number), "mend it")
		}
	}
	misused := func() func(context.Context, []string) error {
		return func(context.Context, []string) error { return Usage("not so") }
	}
	Commands("A program for tests.",
		Command{Name: "echo", Args: "ONE TWO", About: "Echo prints two words.", Setup: echo},
		Command{Name: "init", About: "Init fails.", Setup: fails},
		Command{Name: "init server", About: "It is misused.", Setup: misused},
		Command{Name: "show all", Args: "WHAT", About: "Shows it.", Setup: echo},
	)
}

func TestCommands(t *testing.T) {
	const list, flags = "\n  'prog -help' lists the commands.\n", "' lists the flags.\n"
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"echo a b", 0, "a b"},
		{"echo -loud a b", 0, "a b!"},
		{"echo a -loud b", 0, "a b!"},
		{"echo a b --loud -v", 0, "a b!"},
		{"echo -- -a b", 0, "-a b"},
		{"show all things -loud", 0, "things!"},
		{"init", 1, "prog: 7: it broke\n  mend it\n"},
		{"init -number 8", 1, "prog: 8: it broke\n  mend it\n"},
		{"init server", 2, "prog: not so\n  'prog init server -help" + flags},

		{"", 2, "prog: a command is missing" + list},
		{"ecko a b", 2, `prog: "ecko" is not a command` + list},
		{"Echo a b", 2, `prog: "Echo" is not a command` + list},
		{"show", 2, "prog: show: a command is missing" + list},
		{"show nothing", 2, `prog: "show nothing" is not a command` + list},
		{"-loud echo a b", 2, "prog: a command is missing: flags such as -loud come after it" + list},
		{"show -loud", 2, "prog: show: a command is missing: flags such as -loud come after it" + list},
		{"echo a", 2, "prog: TWO is missing\n  'prog echo -help" + flags},
		{"echo -loud", 2, "prog: ONE is missing\n  'prog echo -help" + flags},
		{"echo a b c", 2, "prog: unexpected argument \"c\" after ONE TWO\n  'prog echo -help" + flags},
		{"init client", 2, "prog: unexpected argument \"client\": every setting is a flag\n  'prog init -help" + flags},
		{"echo a b -number 7", 2, "prog: flag provided but not defined: -number\n  'prog echo -help" + flags},
		{"init -number x", 2, "prog: invalid value \"x\" for flag -number: parse error\n  'prog init -help" + flags},
	} {
		cmd := program("commands", strings.Fields(tt.args)...)
		out, _ := cmd.CombinedOutput()
		require.Equal(t, tt.want, string(out), tt.args)
		require.Equal(t, tt.code, cmd.ProcessState.ExitCode(), tt.args)
	}
}

func TestHelpOfCommands(t *testing.T) {
	for _, arg := range []string{"-h", "-help", "--help", "help"} {
		out, err := program("commands", arg).Output()
		require.NoError(t, err)
		require.Equal(t, `A program for tests.

Usage: prog COMMAND [flags]

  echo ONE TWO   Echo prints two words.
  init           Init fails.
  init server    It is misused.
  show all WHAT  Shows it.

'prog COMMAND -help' lists the flags of a command.
`, string(out))
	}
	for _, args := range []string{"echo -help", "echo a -h", "echo a b --help"} {
		out, err := program("commands", strings.Fields(args)...).Output()
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(out), "Echo prints two words.\n\nUsage: prog echo [flags] ONE TWO\n\n"), "%s", out)
		require.Contains(t, string(out), "-loud")
		require.NotContains(t, string(out), "-number", "the flags of another command")
	}
}
