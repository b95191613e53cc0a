package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/lastseen"
)

// rotateKey is the command that changes the server's key, in two calls: the first makes the
// next key; a later one, with -finish, puts it in the place of the old one (-cancel drops it).
var rotateKey = app.Command{
	Name:  "rotate-key",
	About: "Changes the server's key without a new file for any client: it makes the next key, and with -finish puts it in the place of the old one.",
	Setup: func() func(context.Context, []string) error {
		file := flag.String("settings", defaultDir+"/server.toml", "the server's `file` of settings")
		finish := flag.Bool("finish", false, "drop the old key, once all clients have come by the next one")
		force := flag.Bool("force", false, "with -finish: also if that keeps clients out")
		cancel := flag.Bool("cancel", false, "drop the next key, and keep the old one")
		return func(ctx context.Context, _ []string) error {
			switch {
			case *finish && *cancel:
				return app.Usage("-finish and -cancel: it is one of the two")
			case *force && !*finish:
				return app.Usage("-force goes with -finish")
			}
			s, err := config.LoadServer(*file)
			if err != nil {
				return err
			}
			switch {
			case *finish:
				return finishRotation(ctx, s, *force)
			case *cancel:
				return cancelRotation(s)
			}
			return beginRotation(s)
		}
	},
}

// whenRestarted is what makes a server that runs act upon its new keys.
const whenRestarted = "A running server does so when it is restarted: systemctl restart stepvpn-server"

// beginRotation makes the next key.
func beginRotation(s *config.Server) error {
	if _, err := s.PrivateKey(); err != nil {
		return err
	}
	next := s.NextKeyFile()
	if _, err := os.Lstat(next); err == nil {
		return app.Hint(fmt.Errorf("the key is being changed already: %s is the next one", next),
			"'stepvpn rotate-key -finish' ends that, once all clients have come by it; -cancel takes it back.")
	}
	if err := keyfile.Create(next); err != nil {
		return err
	}
	change := changeOf(s)
	fmt.Printf("%s: the server's next private key, whose public key is %v\n", next, change)
	fmt.Printf("With both keys the server takes clients by either, and tells the next one to those that come by the old one.\n%s\n", whenRestarted)
	fmt.Printf("'stepvpn clients list' says who has come by it. When all have: stepvpn rotate-key -finish\n")
	return nil
}

// finishRotation puts the next key in the place of the old one.
func finishRotation(ctx context.Context, s *config.Server, force bool) error {
	next, err := underWay(s)
	if err != nil {
		return err
	}
	missing, err := stillByOldKey(ctx, s)
	if err != nil && !force {
		return app.Hint(err, "With -force the old key is dropped all the same.")
	}
	if len(missing) > 0 && !force {
		return app.Hint(fmt.Errorf("with the old key dropped these clients could not come in any more: %s", strings.Join(missing, ", ")),
			"They have not come by the next key since they were last connected. Wait for them, or drop the old key all the same by -force: they will need its public key, %v, as server_key in their settings.", changeKey(next))
	}
	if err := os.Rename(s.NextKeyFile(), s.Key); err != nil {
		return err
	}
	if err := atomicfile.SyncFolder(filepath.Dir(s.Key)); err != nil {
		return err
	}
	fmt.Printf("%s: now holds the next key, whose public key is %v; the old one is dropped.\n%s\n", s.Key, changeKey(next), whenRestarted)
	if len(missing) > 0 {
		fmt.Printf("These clients need it as server_key in their settings: %s\n", strings.Join(missing, ", "))
	}
	return nil
}

// cancelRotation removes the next key. Clients that have it come by the old one again.
func cancelRotation(s *config.Server) error {
	if _, err := underWay(s); err != nil {
		return err
	}
	if err := os.Remove(s.NextKeyFile()); err != nil {
		return err
	}
	if err := atomicfile.SyncFolder(filepath.Dir(s.Key)); err != nil {
		return err
	}
	fmt.Printf("The next key is dropped, and %s stays. Clients that have it use the old one again within a minute;\n"+
		"those that were added since then have the next one in their files, and need to be added again.\n%s\n", s.Key, whenRestarted)
	return nil
}

// underWay returns the next key, or an error if there is none.
func underWay(s *config.Server) (noise.PrivateKey, error) {
	next, err := s.NextKey()
	if err != nil {
		return noise.PrivateKey{}, err
	}
	if next == nil {
		return noise.PrivateKey{}, app.Hint(fmt.Errorf("the key is not being changed: there is no file %s", s.NextKeyFile()), "'stepvpn rotate-key' makes it.")
	}
	return *next, nil
}

// stillByOldKey returns the names of those who may come in, and have not come by the next key
// when they came last.
func stillByOldKey(ctx context.Context, s *config.Server) (missing []string, err error) {
	registry, err := identity.Load(s.Clients)
	if err != nil {
		return nil, err
	}
	noted, err := lastseen.Read(keeper.SeenFile(s))
	if err != nil {
		return nil, fmt.Errorf("it is not known who has come by the next key: %w", err)
	}
	change := changeOf(s)
	now := connected(ctx, s, change)
	for c := range registry.All() {
		by := change.isNext(noted[c.Key].By)
		if peer, is := now[c.Name]; is {
			by = peer.NextKey
		}
		if !by && !c.Expired(time.Now()) {
			missing = append(missing, c.Name)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// keyFileFor returns the file with the key of the server that a new client gets to know: the
// next one, if there is one, unless the server that runs does not have it yet. By the old one a
// client comes in at once, too, and is told the next one.
func keyFileFor(ctx context.Context, s *config.Server) string {
	change := changeOf(s)
	if change.next == nil {
		return s.Key
	}
	if s.StatusSocket != "" {
		if now, err := control.QueryStatus(ctx, s.StatusSocket); err == nil && now.NextKey != change.String() {
			return s.Key
		}
	}
	return s.NextKeyFile()
}
