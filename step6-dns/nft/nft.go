// Package nft keeps tables of our own in the kernel's firewall, by the program nft(8).
// Introduced in step 6.
//
// All functions may be called from any goroutine, and act in the network namespace of
// the thread that they run on.
package nft

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/command"
)

// A Table is one of our own, by its family and name: "inet stepvpn_guard". The methods
// are about all that is in it.
type Table string

// Set makes the table what ruleset says, in the place of one that is there: all at
// once, so that nothing gets through meanwhile.
func (t Table) Set(ruleset string) error {
	_, err := run(t.sweep() + ruleset)
	return err
}

// List returns what is in the table, as nft shows it, without what counters have
// counted. It is an error if there is no such table.
func (t Table) List() (string, error) { return run("list table " + string(t)) }

// Remove removes the table, whether it is there or not.
func (t Table) Remove() error { return t.Set("") }

// Recover removes the table if there is one. It is no error if there can be none.
func (t Table) Recover() error {
	_, err := t.List()
	if err == nil {
		return t.Remove()
	}
	for _, none := range []string{"No such file", "not supported", "not installed"} {
		if strings.Contains(err.Error(), none) {
			return nil // it is not there, or there cannot be one: no nft, or a kernel without
		}
	}
	return err
}

// sweep removes the table, there or not.
func (t Table) sweep() string { return fmt.Sprintf("add table %s\ndelete table %[1]s\n", t) }

// run has the program carry out all of the text, or nothing, and returns what it says.
func run(text string) (string, error) { return Run(text, "-s", "-f", "-") }

// Run runs the program with some input, and returns what it says.
func Run(input string, args ...string) (string, error) {
	out, err := command.Run(input, "nft", args...)
	if errors.Is(err, exec.ErrNotFound) {
		return "", app.Hint(errors.New("the program nft is not installed"), "sudo apt-get install nftables")
	}
	return out, err
}
