package main

import (
	"context"
	"fmt"
	"runtime"

	"stepvpn/shared/app"
)

// version is the command that shows which release of the program this is.
var version = app.Command{
	Name:  "version",
	About: "Shows the version.",
	Setup: func() func(context.Context, []string) error {
		return func(context.Context, []string) error {
			fmt.Printf("stepvpn %s (%s, %s/%s)\n", release, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		}
	},
}

// release is set by the build: go build -ldflags '-X main.release=v1.2.3'.
var release = "development"
