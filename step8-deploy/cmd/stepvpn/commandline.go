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

// This file reads the command line. The library urfave/cli does most of that: it finds the
// command, parses its flags, prints help, and resolves a line to complete. The commands
// themselves are values of app.Command, because those about clients come from step 7.

// A commandLine holds what the user has typed.
type commandLine struct {
	args  []string
	typed *command // nil if the user asked for help, or a shell for completions
	help  string   // where to find help about it, in a sentence
}

// A command is an app.Command whose flags are defined.
type command struct {
	app.Command
	flags   *flag.FlagSet // becomes flag.CommandLine when the command is typed
	verbose *bool
	run     func(context.Context, []string) error
	args    []string // the arguments besides flags
}

// execute runs the command that the arguments name, and returns the exit code. The first
// argument is the program's name.
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

// program returns the commands as the library wants them, with "clients add" as "add" below
// "clients". Their actions only note which command was typed.
func (l *commandLine) program(name string, commands []app.Command) *cli.Command {
	cli.FlagStringer = describe
	root := l.group(name, "a VPN that is installed, configured, and runs by itself")
	// There is no command "help", because a client may have that name. The library must not exit
	// with the exit code of another program that has failed. (Its own completion command is
	// hidden, and ours is found first.)
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

// group returns a command that has commands below it.
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

// noCommand returns the error for a line that names a group, but none of its commands.
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
	names := []string{"help"}
	for _, c := range cmd.Commands {
		names = append(names, c.Name)
	}
	if near := app.Closest(said, names); near != "" {
		return app.Usage("%q is not a command: did you mean %q?", path+said, path+near)
	}
	return app.Usage("%q is not a command", path+said)
}

// prefix returns a group's name for the front of a message, or "" for the program itself.
func prefix(cmd *cli.Command) string {
	if cmd == cmd.Root() {
		return ""
	}
	return strings.TrimPrefix(cmd.FullName(), cmd.Root().Name+" ") + ": "
}

// command returns a command that can be run. Its flags are defined only if its name was typed,
// because a daemon keeps that memory as long as it runs.
func (l *commandLine) command(name string, of app.Command) *cli.Command {
	if !slices.Contains(l.args, name) {
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
				names := []string{"help"}
				c.flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
				if near := app.Closest(name, names); near != "" {
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

// helpAnyway prints help about a command when -help stands behind an argument, such as in
// "check FILE -help": the library takes the argument for a topic, which it does not find.
func helpAnyway(_ context.Context, cmd *cli.Command, _ string) {
	cli.HelpPrinter(cmd.Root().Writer, cli.CommandHelpTemplate, cmd)
}

// unknownFlag returns the flag's name if the error says that there is no such flag.
func unknownFlag(err error) (name string, is bool) {
	return strings.CutPrefix(err.Error(), "flag provided but not defined: -")
}

// A value lets the library set a flag of package flag.
type value struct {
	set *flag.FlagSet
	of  *flag.Flag
}

func (v value) Set(text string) error { return v.set.Set(v.of.Name, text) }
func (v value) String() string        { return v.of.Value.String() }
func (v value) Get() any              { return v.of.Value.(flag.Getter).Get() }
func (v value) IsBoolFlag() bool      { return isBool(v.of) }

// isBool tells whether a flag can stand without a value.
func isBool(f *flag.Flag) bool {
	b, is := f.Value.(interface{ IsBoolFlag() bool })
	return is && b.IsBoolFlag()
}

// describe returns the line about a flag in help: its name, the kind of its value, and its use.
// It has one dash, as in all pages, although two work as well.
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
