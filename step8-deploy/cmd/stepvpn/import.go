package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/wireguard/conf"
)

// importFile is the command that makes a client's settings out of a file of the WireGuard
// protocol's own programs. The file's copy keeps the keys, and the settings name it.
var importFile = app.Command{
	Name:  "import",
	Args:  "FILE",
	About: "Writes the settings of a client out of a WireGuard file (wg-quick), such as a provider's: a copy of the file, and settings that name it.",
	Setup: func() func(context.Context, []string) error {
		dir := flag.String("dir", defaultDir, "write into the `folder`")
		force := flag.Bool("force", false, "overwrite existing settings, and the keys in them")
		return func(_ context.Context, args []string) error { return importInto(*dir, args[0], *force) }
	},
}

// importedName is the name of the copy.
const importedName = "client.conf"

func importInto(dir, from string, force bool) error {
	// The file may be in a folder of an ordinary user, and have any mode: it is read once, and what
	// counts from then on is the copy.
	text, info, err := atomicfile.Read(from, conf.MaxSize, atomicfile.Follow)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return app.Hint(fmt.Errorf("there is no file %s", from), "Whoever runs the server makes it, or your provider offers it for download.")
	case err != nil:
		return err
	}
	f, err := conf.Parse(from, text)
	if err != nil {
		return err
	}
	settings := filepath.Join(dir, "client.toml")
	rendered, err := config.ClientTemplate{File: settings, WireGuard: importedName}.Render()
	if err != nil {
		return err
	}
	copied := filepath.Join(dir, importedName)
	for _, name := range []string{copied, settings} {
		if _, err := os.Lstat(name); err == nil && !force {
			return app.Hint(fmt.Errorf("%s exists already, and is left as it is", name),
				"Choose another folder with -dir; -force overwrites client.toml and %s, with the keys in them.", importedName)
		}
	}
	if err := config.Write(force, config.NewFile{Name: copied, Text: text, Mode: 0o600}, config.NewFile{Name: settings, Text: rendered, Mode: 0o600}); err != nil {
		return err
	}
	fmt.Printf("wrote %s, and %s, which is a copy of %s with its keys\n%s\n", settings, copied, from, summary(f))
	if info.Mode()&0o077 != 0 {
		app.Tell(app.Hint(fmt.Errorf("warning: other users may have read %s (mode %#o), and so can pose as this client", from, info.Mode().Perm()),
			"Remove it; if somebody else uses this machine, ask for new keys."))
	}
	fmt.Printf("next, as root:\n  stepvpn check %s\n", settings)
	if wgQuick := wgQuickUnit(from); wgQuick != "" {
		fmt.Printf("  systemctl disable --now %s    # if wg-quick runs it: two clients with one key take turns\n", wgQuick)
	}
	switch {
	case filepath.Clean(dir) != defaultDir:
		fmt.Printf("  stepvpn client %s\n", settings)
	case force: // it may run already
		fmt.Print("  systemctl enable stepvpn-client\n  systemctl reload-or-restart stepvpn-client\n  stepvpn wait-online\n")
	default:
		fmt.Print("  systemctl enable --now stepvpn-client\n  stepvpn wait-online\n")
	}
	return nil
}

// summary says what a file leads to.
func summary(f *conf.File) string {
	var servers []string
	for _, p := range f.Peers {
		servers = append(servers, p.Endpoint)
	}
	into := "everything goes into the tunnel"
	if n := len(f.Networks()); !f.Everything() && n == 1 {
		into = fmt.Sprintf("%v goes into the tunnel (AllowedIPs), and all else stays outside of it", f.Networks()[0])
	} else if !f.Everything() {
		into = fmt.Sprintf("%d networks go into the tunnel (AllowedIPs), and all else stays outside of it", n)
	}
	return fmt.Sprintf("%s, to %s", into, strings.Join(servers, ", "))
}

// wgQuickUnit returns the unit by which wg-quick runs a file, or "" if the file does not stand where
// wg-quick looks for it.
func wgQuickUnit(file string) string {
	abs, err := filepath.Abs(file)
	name, is := strings.CutSuffix(filepath.Base(abs), ".conf")
	if err != nil || !is || filepath.Dir(abs) != "/etc/wireguard" {
		return ""
	}
	return "wg-quick@" + name
}
