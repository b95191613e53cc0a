package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// A Command is one of several commands of a program, with its own flags and -help.
type Command struct {
	Name  string // what to type: a word, such as "add", or several: "clients add"
	Args  string // the arguments besides flags, as -help shows them: "NAME", or "[NAME]" for one that may be missing
	About string // the sentence that -help starts with

	// Setup defines the flags, as a program without commands does in its var block,
	// and returns the function to run once they are parsed. args has as many elements
	// as Args has words, or fewer if some are in brackets. Only the Setup of the command that was typed is called.
	Setup func() (run func(ctx context.Context, args []string) error)
}

// Commands is Main for a program with several commands. Flags come after the command,
// before or after its arguments.
func Commands(about string, commands ...Command) {
	args := os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "-h", "-help", "--help", "help":
			listCommands(about, commands)
			os.Exit(0)
		}
	}
	c, err := choose(commands, args)
	if err != nil {
		os.Exit(Report(err, fmt.Sprintf("'%s -help' lists the commands.", name())))
	}
	flag.CommandLine = flag.NewFlagSet("", flag.ContinueOnError)
	os.Exit(c.start(args[len(strings.Fields(c.Name)):], c.Setup()))
}

// choose returns the command that the arguments begin with. If there are several, it is
// the one with the most words.
func choose(commands []Command, args []string) (*Command, error) {
	var best *Command
	words, almost := 0, 0
	for i, c := range commands {
		name := strings.Fields(c.Name)
		n := 0
		for n < min(len(name), len(args)) && name[n] == args[n] {
			n++
		}
		almost = max(almost, n)
		if n == len(name) && n > words {
			best, words = &commands[i], n
		}
	}
	switch {
	case best != nil:
		return best, nil
	case almost == len(args):
		return nil, Usage("%sa command is missing", prefix(args))
	case strings.HasPrefix(args[almost], "-"):
		return nil, Usage("%sa command is missing: flags such as %s come after it", prefix(args[:almost]), args[almost])
	}
	return nil, Usage("%q is not a command", strings.Join(args[:almost+1], " "))
}

// prefix returns words in front of a message.
func prefix(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, " ") + ": "
}

func listCommands(about string, commands []Command) {
	fmt.Printf("%s\n\nUsage: %s COMMAND [flags]\n\n", about, name())
	width := 0
	for _, c := range commands {
		width = max(width, len(c.usage()))
	}
	for _, c := range commands {
		fmt.Printf("  %-*s  %s\n", width, c.usage(), c.About)
	}
	fmt.Printf("\n'%s COMMAND -help' lists the flags of a command.\n", name())
}

// usage returns the command's name and arguments.
func (c *Command) usage() string { return strings.TrimSpace(c.Name + " " + c.Args) }

// program returns what to type for the command.
func (c *Command) program() string { return strings.TrimSpace(name() + " " + c.Name) }

// start parses the flags, which have been defined, runs the command, and returns the exit
// code.
func (c *Command) start(args []string, run func(context.Context, []string) error) int {
	verbose := Verbose()
	flag.CommandLine.Init(name(), flag.ContinueOnError)
	flag.CommandLine.SetOutput(io.Discard) // errors are printed below, in one line
	args, err := c.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		c.help()
		return 0
	}
	help := fmt.Sprintf("'%s -help' lists the flags.", c.program())
	if err != nil {
		return Report(err, help)
	}
	return Run(*verbose, help, func(ctx context.Context) error { return run(ctx, args) })
}

// parse sets the flags and returns the other arguments.
func (c *Command) parse(args []string) (rest []string, err error) {
	want := strings.Fields(c.Args)
	for {
		if err := flag.CommandLine.Parse(args); err != nil {
			return nil, Usage("%w", err)
		}
		if flag.NArg() == 0 {
			break
		}
		if len(rest) == len(want) {
			return nil, c.unexpected(flag.Arg(0))
		}
		rest, args = append(rest, flag.Arg(0)), flag.Args()[1:]
	}
	return rest, c.CheckArgs(rest)
}

// CheckArgs returns an error unless these are as many arguments as Args has words. Those in
// brackets may be missing.
func (c *Command) CheckArgs(args []string) error {
	want := strings.Fields(c.Args)
	switch {
	case len(args) < len(want) && want[len(args)][0] != '[':
		return Usage("%s is missing", want[len(args)])
	case len(args) > len(want):
		return c.unexpected(args[len(want)])
	}
	return nil
}

func (c *Command) unexpected(arg string) error {
	if c.Args == "" {
		return Usage("unexpected argument %q: every setting is a flag", arg)
	}
	return Usage("unexpected argument %q after %s", arg, c.Args)
}

// help prints the sentence and the flags.
func (c *Command) help() {
	fmt.Printf("%s\n\nUsage: %s\n\n", c.About, strings.TrimSpace(c.program()+" [flags] "+c.Args))
	flag.CommandLine.SetOutput(os.Stdout)
	flag.PrintDefaults()
}
