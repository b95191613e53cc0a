package resolvconf

import (
	"fmt"
	"strings"

	"stepvpn/shared/command"
)

// run runs a command with that input, and returns what it writes. The services answer
// at once, or not at all.
func run(input string, words ...string) (string, error) {
	out, err := command.Run(input, words[0], words[1:]...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return out, nil
}
