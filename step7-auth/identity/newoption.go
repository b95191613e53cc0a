package identity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// This file is a seam for chapters after step 8: packages add options to a registry's line, which
// this package keeps as texts. A program without the package refuses a line with such an option,
// instead of ignoring what it says.

// An Option is an option that another package adds.
type Option struct{ name string }

// options are the checks of such options, by name. They are set while a program's packages are
// initialized, and never later.
var options = make(map[string]func(value string) error)

// NewOption adds an option, whose values check accepts. A value is not empty. Use it only to
// initialize package variables. It panics if the name is taken.
func NewOption(name string, check func(value string) error) Option {
	if options[name] != nil || slices.Contains(own, name) {
		panic("identity: the option " + name + " exists already")
	}
	options[name] = check
	return Option{name}
}

// own are the options of this package, see setOption.
var own = []string{"addr", "expires", "psk", "password"}

// Of returns the value that a client's line gives the option, or "".
func (o Option) Of(c *Client) string { return c.others[o.name] }

// String returns the option's name.
func (o Option) String() string { return o.name }

// Check returns an error unless the option may have this value.
func (o Option) Check(value string) error { return options[o.name](value) }

// setOther reads an option that another package has added.
func (c *Client) setOther(name, value string) error {
	check := options[name]
	if check == nil {
		names := append(slices.Clone(own), slices.Sorted(maps.Keys(options))...)
		last := len(names) - 1
		return fmt.Errorf("%s is not an option: those are %s= and %s=", quote(name), strings.Join(names[:last], "=, "), names[last])
	}
	if err := check(value); err != nil {
		return fmt.Errorf("%s=: %w", name, err)
	}
	if c.others == nil {
		c.others = make(map[string]string)
	}
	c.others[name] = value
	return nil
}

// othersText returns these options as they stand in a line.
func (c *Client) othersText() (words []string) {
	for _, name := range slices.Sorted(maps.Keys(c.others)) {
		words = append(words, name+"="+c.others[name])
	}
	return words
}

// Set sets an option in the line of a client, or with "" removes it.
func (d *Draft) Set(name string, o Option, value string) error {
	return d.setOption(name, o.name+"=", value)
}
