package main

import (
	"regexp"
	"strings"

	"stepvpn/shared/app"
)

// ofStep7 matches its command that makes the files of a new server, in a hint.
var ofStep7 = regexp.MustCompile(`'clients init [^']*'`)

// hinted has a hint of step 7 name the commands of this program, where 'clients add' is
// 'stepvpn clients add', and so on, and 'clients init' is 'stepvpn init server'.
func hinted(err error) error {
	hint := app.HintOf(err)
	if hint == "" {
		return err
	}
	hint = ofStep7.ReplaceAllString(hint, "'stepvpn init server'")
	return app.Hint(err, "%s", strings.ReplaceAll(hint, "'clients ", "'stepvpn clients "))
}
