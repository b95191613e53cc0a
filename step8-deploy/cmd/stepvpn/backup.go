package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/shared/prompt"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/backup"
)

// backupCommand and restoreCommand keep all that makes a server or a client what it is in one
// encrypted file, and put it back.
var backupCommand = app.Command{
	Name:  "backup",
	Args:  "FILE",
	About: "Writes settings, keys, the registry of clients, leases and usage to one new file, encrypted by a passphrase. The server may run meanwhile.",
	Setup: func() func(context.Context, []string) error {
		dir := flag.String("dir", defaultDir, "the `folder` of server.toml or client.toml, or both")
		from := passphraseFlag()
		return func(ctx context.Context, args []string) error {
			a, err := backup.Collect(*dir, release)
			if err != nil {
				return err
			}
			passphrase, err := passphraseOf(ctx, *from, prompt.NewSecret)
			if err != nil {
				return err
			}
			if err := a.Save(args[0], passphrase); errors.Is(err, fs.ErrExist) {
				return app.Hint(fmt.Errorf("%s exists already, and is left as it is", args[0]), "Choose another name.")
			} else if err != nil {
				return err
			}
			fmt.Printf("wrote %s, with %d files. It is of no use without the passphrase, which nobody can find out again.\n", args[0], len(a.Files))
			return nil
		}
	},
}

var restoreCommand = app.Command{
	Name:  "restore",
	Args:  "FILE",
	About: "Puts back what 'stepvpn backup' has written, on this host or another one: everything, or nothing. A program that runs has to be stopped first.",
	Setup: func() func(context.Context, []string) error {
		dir := flag.String("dir", defaultDir, "put the settings into the `folder`")
		allow := app.Strings("allow", func(string) error { return nil }, "`folders` besides -dir and "+resolvconf.DefaultState+" into which the settings may lead, with commas between")
		force := flag.Bool("force", false, "replace what is there; it is kept under the same names with .before-restore at the end")
		from := passphraseFlag()
		return func(ctx context.Context, args []string) error {
			passphrase, err := passphraseOf(ctx, *from, prompt.Secret)
			if err != nil {
				return err
			}
			a, err := backup.Load(args[0], passphrase)
			if err != nil {
				return err
			}
			placed, before, err := a.Restore(backup.Options{
				Dir: *dir, Allow: append([]string{resolvconf.DefaultState}, *allow...), Force: *force,
				Worker: serverAccount.owner(), Running: backup.Running,
			})
			if err != nil {
				return err
			}
			fmt.Printf("restored what %s had on %s: %s\n", app.Printable(a.Host), a.Made.Format("2 January 2006, 15:04 MST"), strings.Join(placed, ", "))
			if len(before) > 0 {
				fmt.Printf("what was there before: %s\n", strings.Join(before, ", "))
			}
			return nil
		}
	},
}

// passphraseFlag defines the flag that says where the passphrase is, if nobody is to be asked for it.
// There is no flag for the passphrase itself, as all users can see how a program was called.
func passphraseFlag() *string {
	return flag.String("passphrase-file", "", "the passphrase is the first line of the `file`, mode 0600 (default: it is asked for, or read from standard input)")
}

// passphraseFile says who may read that file.
var passphraseFile = atomicfile.Kind{Name: "passphrase file", Secret: true, Cure: "Otherwise choose another passphrase."}

// passphraseOf returns the passphrase in a file, or asks for it if the file's name is "".
func passphraseOf(ctx context.Context, file string, ask func(context.Context, string) (string, error)) (string, error) {
	if file == "" {
		return ask(ctx, "Passphrase")
	}
	text, info, err := atomicfile.Read(file, 4096, atomicfile.Follow)
	if err != nil {
		return "", err
	}
	if err := passphraseFile.Check(file, info); err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("the first line of %s is empty", file)
	}
	return line, nil
}
