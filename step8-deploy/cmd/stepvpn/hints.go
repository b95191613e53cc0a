package main

import (
	"regexp"
	"strings"
)

// The packages of steps 1 to 7 give hints in terms of their own programs, such as "Make one
// with 'keygen ...'". These are the corresponding terms of this program.
var (
	whole = []struct {
		is  *regexp.Regexp
		say string
	}{
		{regexp.MustCompile(`'clients init [^']*'`), `'stepvpn init server'`},
		{regexp.MustCompile(`Make one with 'keygen [^']*', and copy it to the other side\.`), `It is the same on the server and all clients: copy it from there.`},
		{regexp.MustCompile(`make a new key with keygen`), `make a new one`},
		{regexp.MustCompile(`When that is mended: \S+ -recover`), `When that is mended, type: stepvpn recover`},
		{regexp.MustCompile(`The client file names no user: ask the server's owner which one, and add a line 'user NAME'\.`),
			`Ask the server's owner for them, write them to a file of mode 0600, one per line, and name it by login_file in the settings.`},
		{regexp.MustCompile(` \(sudo\), or in the lab: make demo`), `, for example with sudo.`},
		{regexp.MustCompile(`The server may be of an earlier step. With`), `With`},
		{regexp.MustCompile(`, the same at both ends`), ``},
	}
	commandOf7 = regexp.MustCompile(`'clients `)
	flagOf7    = regexp.MustCompile(`([ (])-(addr|dev|egress|listen|server|allow-other-dns)\b`)
)

// settingOf7 are the settings that correspond to step 7's flags.
var settingOf7 = map[string]string{
	"addr": "subnets", "dev": "device", "egress": "egress", "listen": "listen", "server": "server",
	"allow-other-dns": "allow_other_dns",
}

// inOurWords translates a hint into the terms of this program.
func inOurWords(text string) string {
	for _, w := range whole {
		text = w.is.ReplaceAllString(text, w.say)
	}
	text = commandOf7.ReplaceAllString(text, "'stepvpn clients ")
	return flagOf7.ReplaceAllStringFunc(text, func(f string) string {
		before, name, _ := strings.Cut(f, "-")
		return before + "the setting " + settingOf7[name]
	})
}
