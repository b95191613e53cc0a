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

// Hint adds to err a sentence that says what to do about it. It is printed on a
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

// Rephrase has HintOf, and what is told of an error, name things as this program does: the
// packages that it is made of may be those of another one, which has flags where this one
// has settings. It is for main, before anything else.
func Rephrase(in func(text string) string) { rephrase = in }

var rephrase = func(text string) string { return text }

// Printable returns a text that does nothing to a terminal but to be shown there: what
// somebody else has sent may be part of it. All that can't be seen becomes U+FFFD, but for
// spaces, tabs and line breaks.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
