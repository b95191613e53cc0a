package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"stepvpn/step4-crypto/noise"
)

// This file has the setters for the types of TOML: yes or no, numbers, texts, and lists. The
// schemas combine them with functions that read a text, such as those of network.go.

// typeName returns what a value of TOML is called in messages.
func typeName(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case int64:
		return "a whole number"
	case float64:
		return "a fraction"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or a time"
}

// as returns v as a T, or an error such as "is text, not a whole number".
func as[T any](v any) (T, error) {
	t, ok := v.(T)
	if !ok {
		return t, fmt.Errorf("is %s, not %s", typeName(v), typeName(any(t)))
	}
	return t, nil
}

// yesNo sets a bool.
func yesNo[C any](field func(*C) *bool) setter[C] {
	return func(c *C, v any) (err error) {
		*field(c), err = as[bool](v)
		return err
	}
}

// number sets an int from low to high. If zero is true, 0 is allowed, too, and has a meaning of
// its own.
func number[C any](field func(*C) *int, low, high int64, zero bool) setter[C] {
	return func(c *C, v any) error {
		n, err := as[int64](v)
		if err != nil {
			return err
		}
		if (n < low || n > high) && !(zero && n == 0) {
			return fmt.Errorf("is %d", n)
		}
		*field(c) = int(n)
		return nil
	}
}

// duration sets a time.Duration from low to high, or to 0 if the text is "off".
func duration[C any](field func(*C) *time.Duration, low, high time.Duration) setter[C] {
	return text(field, func(s string) (time.Duration, error) {
		if s == "off" {
			return 0, nil
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, fmt.Errorf("is %s, not a time", quote(s))
		case d < low:
			return 0, fmt.Errorf("is %s, which is too short", s)
		case d > high:
			return 0, fmt.Errorf("is %s, which is too long", s)
		}
		return d, nil
	})
}

// text sets a field to the value that read returns for a text.
func text[C, T any](field func(*C) *T, read func(string) (T, error)) setter[C] {
	return func(c *C, v any) error {
		s, err := as[string](v)
		if err != nil {
			return err
		}
		t, err := read(s)
		if err != nil {
			return err
		}
		*field(c) = t
		return nil
	}
}

// optional is like text, but an empty text leaves the field as it is.
func optional[C, T any](field func(*C) *T, read func(string) (T, error)) setter[C] {
	return unlessEmpty(text(field, read))
}

// unlessEmpty is like set, but an empty text leaves the field as it is.
func unlessEmpty[C any](set setter[C]) setter[C] {
	return func(c *C, v any) error {
		if v == "" {
			return nil
		}
		return set(c, v)
	}
}

// An elementError is about one element of a list.
type elementError struct {
	element int
	err     error
}

func (e elementError) Error() string { return e.err.Error() }
func (e elementError) Unwrap() error { return e.err }

// elementOf returns the index of the element that an error is about, or -1.
func elementOf(err error) int {
	if e, ok := errors.AsType[elementError](err); ok {
		return e.element
	}
	return -1
}

// list sets a list of at least low and at most high texts. No two of them may have the same
// meaning.
func list[C any, T comparable](field func(*C) *[]T, low, high int, read func(string) (T, error)) setter[C] {
	return func(c *C, v any) error {
		all, err := as[[]any](v)
		if err != nil {
			return err
		}
		switch {
		case len(all) < low:
			return errors.New("is an empty list")
		case len(all) > high:
			return fmt.Errorf("has %d elements, but at most %d are allowed", len(all), high)
		}
		seen := make(map[T]bool)
		var values []T
		for i, one := range all {
			s, err := as[string](one)
			if err != nil {
				return elementError{i, fmt.Errorf("has an element that %w", err)}
			}
			t, err := read(s)
			if err != nil {
				return elementError{i, fmt.Errorf("has an element that %w", err)}
			}
			if seen[t] {
				return elementError{i, fmt.Errorf("has %s twice", quote(s))}
			}
			seen[t] = true
			values = append(values, t)
		}
		*field(c) = values
		return nil
	}
}

// oneOrMore is like list, but a single value may also be a text without brackets.
func oneOrMore[C any, T comparable](field func(*C) *[]T, high int, read func(string) (T, error)) setter[C] {
	several := list(field, 1, high, read)
	return func(c *C, v any) error {
		if _, isText := v.(string); !isText {
			return several(c, v)
		}
		var one T
		err := text(func(t *T) *T { return t }, read)(&one, v)
		*field(c) = []T{one}
		return err
	}
}

// routes sets a Routes. pushed says whether "pushed" is allowed, which leaves the choice to the
// server.
func routes[C any](field func(*C) *Routes, pushed bool) setter[C] {
	words := []string{"everything"}
	if pushed {
		words = append(words, "pushed")
	}
	word := text(func(r *string) *string { return r }, choice(words...))
	nets := list(func(r *Routes) *[]netip.Prefix { return &r.Prefixes }, 1, 256, readRoute)
	return func(c *C, v any) error {
		var r Routes
		if _, isList := v.([]any); isList {
			if err := nets(&r, v); err != nil {
				return err
			}
		} else {
			var w string
			if err := word(&w, v); err != nil {
				return err
			}
			r.Everything, r.Pushed = w == "everything", w == "pushed"
		}
		*field(c) = r
		return nil
	}
}

// choice reads one of a few words.
func choice(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		for _, w := range words {
			if s == w {
				return s, nil
			}
		}
		return "", fmt.Errorf("is %s", quote(s))
	}
}

// key reads a key in base64. Zeros are an error: such a key was never set.
func key[K ~[KeySize]byte](s string) (k K, err error) {
	k, err = noise.ParseKey[K](s)
	switch _, length := errors.AsType[noise.KeyLenError](err); {
	case length:
		return k, fmt.Errorf("has %w", err)
	case err != nil:
		return k, fmt.Errorf("is %w", err)
	case k == (K{}):
		return k, errors.New("is all zero, which is not a key")
	}
	return k, nil
}

// maxQuoted is how many bytes of a value an error repeats.
const maxQuoted = 80

// quote returns a value in quotes, as an error repeats it.
func quote(s string) string {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "..."
	}
	return fmt.Sprintf("%q", s)
}
