package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
)

// statusCommand is the command that asks the running daemons at their status sockets, and
// prints their reports. (report.go has the daemons' side.)
var statusCommand = app.Command{
	Name:  "status",
	About: "Shows what the daemons on this host do: who is connected, how much passed, what was dropped.",
	Setup: func() func(context.Context, []string) error {
		socket := flag.String("socket", "", "ask at the `path` of status_socket (default: those of server and client)")
		asJSON := flag.Bool("json", false, "print JSON, one daemon a line")
		return func(ctx context.Context, _ []string) error {
			paths := []string{*socket}
			if *socket == "" {
				paths = running()
			}
			for i, path := range paths {
				if i > 0 && !*asJSON {
					fmt.Println()
				}
				if err := show(ctx, path, *asJSON); err != nil {
					return err
				}
			}
			return nil
		}
	},
}

// rateOver is the time over which rates are measured.
const rateOver = time.Second

// running returns the sockets that are there; the server's, if none is.
func running() []string {
	var list []string
	for _, path := range []string{config.ServerSocket, config.ClientSocket} {
		if _, err := os.Stat(path); err == nil {
			list = append(list, path)
		}
	}
	if len(list) == 0 {
		list = []string{config.ServerSocket}
	}
	return list
}

// show asks one daemon twice, for the rates, and prints its second answer.
func show(ctx context.Context, path string, asJSON bool) error {
	before, err := control.QueryStatus(ctx, path)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(rateOver):
	}
	now, err := control.QueryStatus(ctx, path)
	if err != nil {
		return err
	}
	now.Rates(before)
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(now)
	}
	return now.Write(os.Stdout)
}
