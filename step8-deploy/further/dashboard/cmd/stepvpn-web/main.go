// Stepvpn-web is a page for the operator of a VPN server: see package dashboard.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/further/dashboard"
)

const folder = "/etc/stepvpn"

func main() { app.Commands("A page for the operator of a stepvpn server.", commands()...) }

// commands returns all commands of the program.
func commands() []app.Command { return []app.Command{serve, initialise, passwd} }

var serve = app.Command{
	Name:  "serve",
	About: "Serves the page, as 'stepvpn-web init' has set it up.",
	Setup: func() func(context.Context, []string) error {
		settings := flag.String("settings", filepath.Join(folder, dashboard.SettingsName), "`file` with the settings")
		return func(ctx context.Context, _ []string) error {
			s, err := dashboard.ReadSettings(*settings)
			if err != nil {
				return err
			}
			login, err := dashboard.ReadLogin(s.Login)
			if err != nil {
				return err
			}
			return dashboard.New(s, login).Run(ctx, func(addrs []net.Addr) {
				for _, a := range addrs {
					slog.Info("the page is served", "address", "https://"+a.String()+"/")
				}
			})
		}
	},
}

var initialise = app.Command{
	Name:  "init",
	About: "Makes settings, a certificate, a password and the secret for one-time codes.",
	Setup: func() func(context.Context, []string) error {
		s := dashboard.Setup{Folder: folder}
		flag.StringVar(&s.Folder, "folder", folder, "`folder` for the files")
		flag.StringVar(&s.Server, "server", "", "the server as clients reach it, `HOST` or HOST:PORT: the form for a new client begins with it")
		hosts := app.Strings("host", func(string) error { return nil }, "further `names` by which browsers reach the page, separated by commas")
		return func(context.Context, []string) error {
			s.Hosts = *hosts
			made, err := s.Init()
			if err != nil {
				return err
			}
			fmt.Printf("wrote %s, and web.login, web.crt and web.key beside it\n", filepath.Join(s.Folder, dashboard.SettingsName))
			fmt.Printf("the certificate's fingerprint (SHA-256), to compare with what the browser shows:\n  %s\n", made.Fingerprint)
			tell(made)
			fmt.Print(next)
			return nil
		}
	},
}

var passwd = app.Command{
	Name:  "passwd",
	About: "Makes a new password and a new secret for one-time codes. The old ones are no longer right after a restart.",
	Setup: func() func(context.Context, []string) error {
		s := dashboard.Setup{Folder: folder}
		flag.StringVar(&s.Folder, "folder", folder, "`folder` of the files")
		return func(context.Context, []string) error {
			made, err := s.NewPassword()
			if err != nil {
				return err
			}
			tell(made)
			fmt.Println("Next: systemctl restart stepvpn-web, which also ends all sessions")
			return nil
		}
	},
}

// next is what is left to do after the set-up.
const next = `Next, in /etc/stepvpn/server.toml:
  status_group = "stepvpn-status"
  control_group = "stepvpn-admin"
and then: systemctl restart stepvpn-server && systemctl enable --now stepvpn-web
`

// tell shows what can't be shown a second time.
func tell(s *dashboard.Secret) {
	fmt.Printf("the password, which is shown only now:\n  %s\n", s.Password)
	fmt.Printf("for the authenticator app, also only now: this QR code, or the key %s\n", s.Key)
	fmt.Fprint(os.Stdout, s.QR)
}
