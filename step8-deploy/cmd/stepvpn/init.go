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
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
)

// initServer and initClient are the commands that write a first file of settings, and a key.
var initServer = app.Command{
	Name:  "init server",
	About: "Writes the first settings of a server, with a comment for each, and a new private key.",
	Setup: func() func(context.Context, []string) error {
		dir := flag.String("dir", defaultDir, "write into the `folder`")
		listen := flag.String("listen", ":5555", "wait for clients on `[ADDRESS]:PORT`")
		subnets := flag.String("subnets", "10.8.0.1/24,fd00:8::1/64", "`addresses` of the server in the tunnel")
		force := flag.Bool("force", false, "overwrite existing settings; an existing key and registry stay")
		return func(context.Context, []string) error {
			file := filepath.Join(*dir, "server.toml")
			text, err := config.ServerTemplate{File: file, Listen: *listen, Subnets: strings.Split(*subnets, ",")}.Render()
			if err != nil {
				return fmt.Errorf("these settings are not allowed: %w", err)
			}
			list := []config.NewFile{{Name: file, Text: text, Mode: 0o600}}
			key, public, err := ownKey(filepath.Join(*dir, "server.key"), *force, &list)
			if err != nil {
				return err
			}
			registry := filepath.Join(*dir, "clients")
			if _, err := os.Lstat(registry); errors.Is(err, fs.ErrNotExist) { // else it stays, -force or not
				list = append(list, config.NewFile{Name: registry, Text: []byte(strings.ReplaceAll(identity.NewText, "'clients ", "'stepvpn clients ")), Mode: 0o600})
			}
			if err := config.Write(*force, list...); err != nil {
				return err
			}
			fmt.Printf("wrote %s and %s; the registry of clients is %s\n", file, key, registry)
			fmt.Printf("the server's public key, which its clients need: %s\n", public)
			return nil
		}
	},
}

// defaultDir is where the units look for the files.
const defaultDir = "/etc/stepvpn"

var initClient = app.Command{
	Name:  "init client",
	About: "Writes the first settings of a client, with a comment for each, and a new private key.",
	Setup: func() func(context.Context, []string) error {
		dir := flag.String("dir", defaultDir, "write into the `folder`")
		server := flag.String("server", "", "the server's `HOST:PORT`; several with commas between, the preferred one first")
		serverKey := flag.String("server-key", "", "the server's public `key`, in base64")
		transport := flag.String("transport", "udp", "carry packets over `udp` or tcp")
		force := flag.Bool("force", false, "overwrite existing settings; an existing key and registry stay")
		return func(context.Context, []string) error {
			if *server == "" || *serverKey == "" {
				return app.Usage("-server and -server-key are missing: the server's operator knows them")
			}
			file := filepath.Join(*dir, "client.toml")
			text, err := config.ClientTemplate{
				File: file, Servers: strings.Split(*server, ","), ServerKey: *serverKey, Transport: *transport,
			}.Render()
			if err != nil {
				return fmt.Errorf("these settings are not allowed: %w", err)
			}
			list := []config.NewFile{{Name: file, Text: text, Mode: 0o600}}
			key, public, err := ownKey(filepath.Join(*dir, "client.key"), *force, &list)
			if err != nil {
				return err
			}
			if err := config.Write(*force, list...); err != nil {
				return err
			}
			fmt.Printf("wrote %s and %s\nthe client's public key, which the server needs: %s\n", file, key, public)
			return nil
		}
	},
}

// ownKey adds a new private key to the files to be written; or with keep, one that is there
// stays: others know its public key, which it returns.
func ownKey(name string, keep bool, list *[]config.NewFile) (file, public string, err error) {
	if _, err := os.Lstat(name); keep && err == nil {
		key, err := keyfile.Read(name)
		return name, noise.FormatKey(noise.PrivateKey(key).Public()), err
	}
	f, public := config.NewKey(name)
	*list = append([]config.NewFile{f}, *list...)
	return name, public, nil
}
