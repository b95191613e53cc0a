package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/identity"
)

// This file completes commands, flags and names of clients in a shell.
//
// The completion scripts of the shells call this program with the words up to the cursor, and
// the library's --generate-shell-completion behind them. The library has scripts, too, but the
// one for bash evaluates the words, and so would run $(...) when the user presses the Tab key.
//
//go:embed completion
var scripts embed.FS

var shells = []string{"bash", "fish", "zsh"}

var completionCommand = app.Command{
	Name:  "completion",
	Args:  "SHELL",
	About: "Prints the script that has bash, zsh or fish complete commands, flags and names of clients. 'make install' installs it.",
	Setup: func() func(context.Context, []string) error {
		return func(_ context.Context, args []string) error {
			if !slices.Contains(shells, args[0]) {
				return app.Usage("%q is not one of the shells %s", args[0], strings.Join(shells, ", "))
			}
			script, err := scripts.ReadFile("completion/" + args[0])
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(script)
			return err
		}
	},
}

// files asks the shell to complete the name of a file, which it does better.
const files = ":files"

// suggest prints a word and its description if the word begins with what was typed.
func suggest(word, begins, about string) {
	if strings.HasPrefix(word, begins) {
		fmt.Printf("%s\t%s\n", word, about)
	}
}

// underCursor returns the word to complete, and the one before it. The word to complete is the
// last one in front of the library's flag.
func underCursor() (before, word string) {
	return os.Args[len(os.Args)-3], os.Args[len(os.Args)-2]
}

// completeCommand suggests the commands of a group.
func completeCommand(_ context.Context, cmd *cli.Command) {
	_, word := underCursor()
	if cmd.NArg() == 0 && cmd != cmd.Root() { // the cursor is right behind the group's name
		suggest(word, word, cmd.Usage)
		return
	}
	for _, c := range cmd.Commands {
		if !c.Hidden && cmd.NArg() == 1 {
			suggest(c.Name, word, c.Usage)
		}
	}
}

// complete suggests the values of a flag, flags, or arguments.
func (c *command) complete(_ context.Context, cmd *cli.Command) {
	before, word := underCursor()
	if f := c.flagOf(before); f != nil && !isBool(f) {
		suggestValue(f)
		return
	}
	name, _, hasValue := strings.Cut(word, "=")
	if f := c.flagOf(name); f != nil && hasValue {
		suggestValue(f)
		return
	}
	if strings.HasPrefix(word, "-") {
		dashes := "-"
		if strings.HasPrefix(word, "--") {
			dashes = "--"
		}
		c.flags.VisitAll(func(f *flag.Flag) {
			_, usage := flag.UnquoteUsage(f)
			suggest(dashes+f.Name, word, usage)
		})
		return
	}
	args, n := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(c.Args)), cmd.NArg()-1
	switch {
	case n < 0: // the cursor is right behind the command's name, or a flag is wrong
		suggest(cmd.Name, word, c.About)
	case n >= len(args):
	case args[n] == "FILE", args[n] == "SOCKET":
		fmt.Println(files)
	case args[n] == "SHELL":
		for _, shell := range shells {
			suggest(shell, word, "")
		}
	case args[n] == "NAME" && c.Name != "clients add":
		flag.CommandLine = c.flags
		for _, client := range knownClients() {
			suggest(client, word, "")
		}
	}
}

// flagOf returns the flag that a word is, or nil.
func (c *command) flagOf(word string) *flag.Flag {
	name, is := strings.CutPrefix(word, "-")
	if !is {
		return nil
	}
	return c.flags.Lookup(strings.TrimPrefix(name, "-"))
}

// suggestValue suggests files if that is the kind of the flag's value.
func suggestValue(f *flag.Flag) {
	switch kind, _ := flag.UnquoteUsage(f); kind {
	case "file", "folder", "path", "socket":
		fmt.Println(files)
	}
}

// knownClients returns the names in the registry that the flags name. There are none if the user
// may not read it.
func knownClients() (names []string) {
	registry := defaultDir + "/clients"
	if f := flag.Lookup("registry"); f != nil {
		registry = f.Value.String()
	}
	if s, err := serverOf(flag.Lookup("settings").Value.String()); err == nil && s != nil {
		registry = s.Clients
	}
	r, err := identity.Load(registry)
	if err != nil {
		return nil
	}
	for c := range r.All() {
		names = append(names, c.Name)
	}
	return names
}
