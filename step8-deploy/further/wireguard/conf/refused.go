package conf

import "regexp"

// This file says what this program does not do for a file, and what to do instead. Nothing in a
// file is ignored in silence: a file that asks for a command to be run, and runs without it, may
// leave a host less safe than its owner thinks.

// A refusal is about one key.
type refusal struct {
	why      string   // the end of a sentence that begins with the key
	harmless []string // values, in lower case, that ask for nothing: the key is then skipped
}

const (
	noCommands = "is a command, and this program runs none: remove the line, and run the command by a unit of systemd (After=stepvpn-client.service) if it is needed; closing the host while the tunnel is down is the kill switch's work anyway"
	obfuscated = "belongs to AmneziaWG, whose packets differ from those of the WireGuard protocol: ask for a file for the plain protocol"
)

var refusedKeys = map[string]refusal{
	"table":      {"is not honoured, because this program's own routes are the kill switch: remove the line; which networks go into the tunnel is what AllowedIPs say, or the setting routes", []string{"auto"}},
	"fwmark":     {"is not honoured, because this program marks its packets itself: remove the line", []string{"off", "0", "0x0"}},
	"saveconfig": {"is not honoured, because this program never writes to the file: remove the line", []string{"false"}},
	"preup":      {noCommands, nil},
	"postup":     {noCommands, nil},
	"predown":    {noCommands, nil},
	"postdown":   {noCommands, nil},

	"jc": {obfuscated, nil}, "jmin": {obfuscated, nil}, "jmax": {obfuscated, nil},
	"s1": {obfuscated, nil}, "s2": {obfuscated, nil}, "s3": {obfuscated, nil}, "s4": {obfuscated, nil},
	"h1": {obfuscated, nil}, "h2": {obfuscated, nil}, "h3": {obfuscated, nil}, "h4": {obfuscated, nil},
	"i1": {obfuscated, nil}, "i2": {obfuscated, nil}, "i3": {obfuscated, nil}, "i4": {obfuscated, nil}, "i5": {obfuscated, nil},
}

// keyShaped matches what could be a key in base64 or hexadecimal, or most of it.
var keyShaped = regexp.MustCompile(`[A-Za-z0-9+/=_-]{40}`)
