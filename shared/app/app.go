// Package app does what every program of the course needs besides its own subject: it
// parses flags, logs, stops on a signal, and reports an error as one line and a hint.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
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

// Main parses the flags, runs the program, and exits. The context of run ends at the
// first SIGINT or SIGTERM, so that run can clean up and return; a second signal ends the
// process at once. about is the sentence that -help starts with. An error of run is
// printed in one line, with its hint below it.
//
// Call it from main, after the flags are defined.
func Main(about string, run func(ctx context.Context) error) {
	c := Command{About: about}
	os.Exit(c.start(os.Args[1:], func(ctx context.Context, _ []string) error { return run(ctx) }))
}

// Verbose defines the flag -v, to log more, which every program and command has.
func Verbose() *bool {
	return flag.Bool("v", false, "log more: events that are normal but worth seeing while learning")
}

// Run is Main for a program that parses its command line itself. It calls run, and returns
// the exit code. help is that of Report.
func Run(verbose bool, help string, run func(ctx context.Context) error) (exitCode int) {
	startLog(verbose)
	return Report(runUntilSignal(run), help)
}

// runUntilSignal runs with a context that ends at a signal.
func runUntilSignal(run func(ctx context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on a second signal has its default effect
	err := run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil // it says only that a signal has stopped the program
	}
	return err
}

// startLog sends slog to standard error, as "15:04:05.000 INFO text key=value", within the
// bounds that log.go sets.
func startLog(verbose bool) {
	slog.SetDefault(slog.New(bound(slog.Default().Handler())))
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if os.Getenv("JOURNAL_STREAM") != "" {
		log.SetFlags(0) // systemd's journal adds the time (systemd.exec(5))
	}
	log.SetOutput(printable{os.Stderr}) // not to the handler above: that would be an endless loop
	if verbose {
		slog.SetLogLoggerLevel(slog.LevelDebug)
	}
}

// OnHangup calls reload, in a goroutine of its own, whenever the process receives
// SIGHUP, which tells a server to read its files again. It does so until the process
// ends.
func OnHangup(reload func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			reload()
		}
	}()
}

// ReportStats prints the text that stats returns to standard error whenever the process
// receives SIGUSR1, and once more when the function that ReportStats returns is called.
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

// Tell prints an error to standard error, with its hint below it. It is for programs that
// report several errors and then return ErrTold.
func Tell(err error) {
	text := err.Error()
	if !IsUsage(err) { // a usage error is already in this program's terms
		text = rephrase(text)
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", name(), Printable(text))
	if hint := HintOf(err); hint != "" {
		fmt.Fprintf(os.Stderr, "  %s\n", Printable(hint))
	}
}

// ErrTold is a failure that the user has already been told about, for example by another
// process.
var ErrTold = errors.New("it was told")

// name is the program's name, for messages.
func name() string { return filepath.Base(os.Args[0]) }

// Report prints err, if any, and returns the exit code for it. help is the hint that is
// printed after a wrong command line.
func Report(err error, help string) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, ErrTold) {
		return exitFailure
	}
	Tell(err)
	if IsUsage(err) {
		fmt.Fprintf(os.Stderr, "  %s\n", help)
		return exitUsage
	}
	return exitFailure
}
