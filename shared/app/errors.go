package app

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Usage formats an error about the command line; the program exits with code 2.
func Usage(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// IsUsage reports whether an error is one of Usage.
func IsUsage(err error) bool { return errors.As(err, new(usageError)) }

// Hint adds to err a sentence that says what to do about it. The hint is printed on a
// line of its own. A nil err stays nil.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hintError{err, fmt.Sprintf(format, args...)}
}

type hintError struct {
	err  error
	hint string
}

func (e hintError) Error() string { return e.err.Error() }
func (e hintError) Unwrap() error { return e.err }

// HintOf returns the outermost hint in err's chain, or "".
func HintOf(err error) string {
	var h hintError
	if errors.As(err, &h) {
		return rephrase(h.hint)
	}
	return ""
}

// Rephrase sets a function that puts errors and hints into this program's own terms before
// they are printed: some of its packages were written for another program, which has flags
// where this one has settings. Call it in main, before anything else.
func Rephrase(in func(text string) string) { rephrase = in }

var rephrase = func(text string) string { return text }

// Printable returns a text that is safe to show on a terminal, since parts of it may come
// from a stranger. All invisible characters but spaces, tabs and line breaks become U+FFFD.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
