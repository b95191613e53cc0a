// Package nft keeps tables of our own in the kernel's firewall, with the program nft(8).
// Introduced in step 6.
//
// All functions are safe for concurrent use, and act in the network namespace of the
// thread that they run on.
package nft

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/command"
)

// A Table is the family and name of a table of our own, such as "inet stepvpn_guard".
// Its methods set, list and remove the table as a whole.
type Table string

// Set makes the table what ruleset says, and replaces one that is there. It does so in
// one transaction, so that no packet gets through in between.
func (t Table) Set(ruleset string) error {
	_, err := run(t.sweep() + ruleset)
	return err
}

// List returns the table as nft prints it, without the values of its counters. It
// returns an error if there is no such table.
func (t Table) List() (string, error) { return run("list table " + string(t)) }

// Remove removes the table. It is no error if there is none.
func (t Table) Remove() error { return t.Set("") }

// Recover removes the table if there is one. It is no error if this host can have none,
// because nft is not installed or the kernel lacks it.
func (t Table) Recover() error {
	_, err := t.List()
	if err == nil {
		return t.Remove()
	}
	for _, none := range []string{"No such file", "not supported", "not installed"} {
		if strings.Contains(err.Error(), none) {
			return nil
		}
	}
	return err
}

// sweep returns commands that remove the table, whether it is there or not.
func (t Table) sweep() string { return fmt.Sprintf("add table %s\ndelete table %[1]s\n", t) }

// run has nft carry out all of the text, or none of it, and returns nft's output.
func run(text string) (string, error) { return Run(text, "-s", "-f", "-") }

// Run runs nft with this standard input and these arguments, and returns its output.
func Run(input string, args ...string) (string, error) {
	out, err := command.Run(input, "nft", args...)
	if errors.Is(err, exec.ErrNotFound) {
		return "", app.Hint(errors.New("the program nft is not installed"), "sudo apt-get install nftables")
	}
	return out, err
}
