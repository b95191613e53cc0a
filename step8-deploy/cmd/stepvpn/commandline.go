package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"stepvpn/shared/app"
)

// The command line is read by urfave/cli: it finds the command and its flags, prints help, and
// knows what a word can be completed to. What a command is and does, an app.Command says, since
// those about clients are step 7's.

// A commandLine is what was typed.
type commandLine struct {
	args  []string
	typed *command // nil if help was asked for, or words to complete with
	help  string   // what to type for help about it
}

// A command has its flags defined.
type command struct {
	app.Command
	flags   *flag.FlagSet // is flag.CommandLine if the command was typed
	verbose *bool
	run     func(context.Context, []string) error
	args    []string // that were typed, besides flags
}

// execute does what the arguments say, of which the first is the program's name, and returns the
// exit code.
func execute(args []string) int {
	line := commandLine{args: args}
	if err := line.program(filepath.Base(args[0]), commands()).Run(context.Background(), args); err != nil {
		return app.Report(err, line.help)
	}
	c := line.typed
	if c == nil {
		return 0
	}
	return app.Run(*c.verbose, line.help, func(ctx context.Context) error { return c.run(ctx, c.args) })
}

// program returns the commands as the library has them: "clients add" is "add" of "clients".
// None of them does its work: that it was typed is noted.
func (l *commandLine) program(name string, commands []app.Command) *cli.Command {
	cli.FlagStringer = describe
	root := l.group(name, "a VPN that is installed, configured, and runs by itself")
	// A client may be called "help". The errors of other programs have exit codes, which are
	// not this one's. (The library's own completion command is hidden behind ours.)
	root.HideHelpCommand, root.ExitErrHandler, root.EnableShellCompletion = true, func(context.Context, *cli.Command, error) {}, true
	for _, c := range commands {
		parent := root
		group, name, below := strings.Cut(c.Name, " ")
		if below {
			if parent = root.Command(group); parent == nil {
				parent = l.group(group, "has the commands:")
				root.Commands = append(root.Commands, parent)
			}
			parent.Usage += " " + name
		} else {
			name = group
		}
		parent.Commands = append(parent.Commands, l.command(name, c))
	}
	return root
}

// group returns a command that has others.
func (l *commandLine) group(name, usage string) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ShellComplete: completeCommand, CommandNotFound: helpAnyway,
		Action: func(_ context.Context, cmd *cli.Command) error {
			l.help = fmt.Sprintf("'%s -help' lists the commands.", cmd.FullName())
			return noCommand(cmd)
		},
		OnUsageError: func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
			l.help = fmt.Sprintf("'%s -help' lists the commands.", cmd.FullName())
			if name, is := unknownFlag(err); is {
				return app.Usage("%sa command is missing: flags such as -%s stand behind it", prefix(cmd), name)
			}
			return app.Usage("%w", err)
		},
	}
}

// noCommand returns what is wrong with a group that no command is named of.
func noCommand(cmd *cli.Command) error {
	said := cmd.Args().First()
	switch {
	case said == "":
		return app.Usage("%sa command is missing", prefix(cmd))
	case said == "help":
		return cli.ShowSubcommandHelp(cmd)
	}
	path := strings.TrimSuffix(prefix(cmd), ": ")
	if path != "" {
		path += " "
	}
	if near := cli.SuggestCommand(cmd.Commands, said); isTypo(said, near) {
		return app.Usage("%q is no command: did you mean %q?", path+said, path+near)
	}
	return app.Usage("%q is no command", path+said)
}

// prefix returns the names of a group in front of a message; of the program itself, nothing.
func prefix(cmd *cli.Command) string {
	if cmd == cmd.Root() {
		return ""
	}
	return strings.TrimPrefix(cmd.FullName(), cmd.Root().Name+" ") + ": "
}

// isTypo tells whether a name is likely to be meant, and was not hit. The library names the most
// similar one, even if that is not similar at all.
func isTypo(said, name string) bool {
	return name != "" && len(said) <= 64 && app.Distance(strings.ToLower(said), name) <= max(1, len(name)/3)
}

// command returns one that does something.
func (l *commandLine) command(name string, of app.Command) *cli.Command {
	if !slices.Contains(l.args, name) { // all of their flags would be with a daemon as long as it runs
		return &cli.Command{Name: name, Usage: of.About}
	}
	flag.CommandLine = flag.NewFlagSet(of.Name, flag.ContinueOnError)
	c := &command{Command: of, flags: flag.CommandLine, run: of.Setup(), verbose: app.Verbose()}
	cmd := &cli.Command{
		Name: name, Usage: c.About, ArgsUsage: c.Args, ShellComplete: c.complete, CommandNotFound: helpAnyway,
		Action: func(_ context.Context, cmd *cli.Command) error {
			flag.CommandLine, c.args = c.flags, cmd.Args().Slice()
			l.typed, l.help = c, fmt.Sprintf("'%s -help' lists the flags.", cmd.FullName())
			return c.CheckArgs(c.args)
		},
		OnUsageError: func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
			l.help = fmt.Sprintf("'%s -help' lists the flags.", cmd.FullName())
			if name, is := unknownFlag(err); is {
				if near := strings.TrimLeft(cli.SuggestFlag(cmd.Flags, name, false), "-"); isTypo(name, near) {
					return app.Usage("%w: did you mean -%s?", err, near)
				}
			}
			return app.Usage("%w", err)
		},
	}
	c.flags.VisitAll(func(f *flag.Flag) {
		cmd.Flags = append(cmd.Flags, &cli.GenericFlag{Name: f.Name, Usage: f.Usage, Value: value{c.flags, f}})
	})
	return cmd
}

// helpAnyway prints help about a command if -help stands behind an argument, which the library
// takes for what help is wanted about.
func helpAnyway(_ context.Context, cmd *cli.Command, _ string) {
	cli.HelpPrinter(cmd.Root().Writer, cli.CommandHelpTemplate, cmd)
}

// unknownFlag returns the name of a flag that there is not, if that is the error.
func unknownFlag(err error) (name string, is bool) {
	return strings.CutPrefix(err.Error(), "flag provided but not defined: -")
}

// A value is that of a flag of package flag, as the library sets it.
type value struct {
	set *flag.FlagSet
	of  *flag.Flag
}

func (v value) Set(text string) error { return v.set.Set(v.of.Name, text) }
func (v value) String() string        { return v.of.Value.String() }
func (v value) Get() any              { return v.of.Value.(flag.Getter).Get() }
func (v value) IsBoolFlag() bool      { return isBool(v.of) }

// isBool tells whether a flag needs no value.
func isBool(f *flag.Flag) bool {
	b, is := f.Value.(interface{ IsBoolFlag() bool })
	return is && b.IsBoolFlag()
}

// describe returns the line about a flag in help, as package flag writes it: the name, what its
// value is, and what it does. Two dashes do as well.
func describe(of cli.Flag) string {
	g, is := of.(*cli.GenericFlag)
	if !is {
		return "-help\tshow this" // the library's own
	}
	return describeFlag(g.Value.(value).of)
}

func describeFlag(f *flag.Flag) string {
	kind, usage := flag.UnquoteUsage(f)
	if f.DefValue != "" && !isBool(f) {
		usage += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	return strings.TrimSpace("-"+f.Name+" "+kind) + "\t" + usage
}
