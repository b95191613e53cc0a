// Package app is what every program of the course does around its story: parse
// flags, log, stop on a signal, and report an error as one line and a hint.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// Exit codes: 1 for a failure, 2 for a wrong command line.
const (
	exitFailure = 1
	exitUsage   = 2
)

// Main parses the flags, runs the program, and exits. The context of run ends
// at the first SIGINT or SIGTERM, for run to put things back and return; a
// second signal ends the process at once. about is the sentence that -help
// starts with. An error of run is printed in one line, with its hint below it.
//
// Call it from main, after the flags are defined.
func Main(about string, run func(ctx context.Context) error) {
	verbose := flag.Bool("v", false, "log more: events that are normal but worth seeing while learning")
	flag.CommandLine.Init(name(), flag.ContinueOnError)
	flag.CommandLine.SetOutput(io.Discard) // errors are printed below, in one line
	err := flag.CommandLine.Parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(os.Stdout, about)
		os.Exit(0)
	case err != nil:
		os.Exit(report(Usage("%w", err)))
	case flag.NArg() > 0:
		os.Exit(report(Usage("unexpected argument %q: every setting is a flag", flag.Arg(0))))
	}
	startLog(*verbose)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on a second signal has its default effect
	err = run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil // it says no more than that somebody has stopped us
	}
	os.Exit(report(err))
}

// startLog sends slog to standard error, as "15:04:05.000 INFO text key=value".
func startLog(verbose bool) {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	log.SetOutput(os.Stderr)
	if verbose {
		slog.SetLogLoggerLevel(slog.LevelDebug)
	}
}

// ReportStats prints what stats returns to standard error whenever the process
// gets SIGUSR1, and once more when the function that it returns is called.
// Typically: defer app.ReportStats(count.String)().
func ReportStats(stats func() string) (final func()) {
	print := func() { fmt.Fprintf(os.Stderr, "%s: %s\n", name(), stats()) }
	usr1 := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(usr1, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-usr1:
				print()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(usr1)
		close(done)
		print()
	}
}

// usage prints the sentence and the flags.
func usage(w io.Writer, about string) {
	fmt.Fprintf(w, "%s\n\nUsage: %s [flags]\n\n", about, name())
	flag.CommandLine.SetOutput(w)
	flag.PrintDefaults()
}

// name is the program's name, for messages.
func name() string { return filepath.Base(os.Args[0]) }

// report prints err, if any, and returns the exit code for it.
func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name(), err)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(os.Stderr, "  %s\n", hint)
	}
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(os.Stderr, "  '%s -help' lists the flags.\n", name())
		return exitUsage
	}
	return exitFailure
}
