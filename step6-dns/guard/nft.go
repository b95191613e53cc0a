package guard

import (
	"errors"
	"os/exec"

	"stepvpn/shared/app"
	"stepvpn/shared/command"
)

// NFT runs nft(8) with that input, and returns what it says.
func NFT(input string, args ...string) (string, error) {
	out, err := command.Run(input, "nft", args...)
	if errors.Is(err, exec.ErrNotFound) {
		return "", app.Hint(errors.New("the program nft is not installed"), "sudo apt-get install nftables")
	}
	return out, err
}

// nft has the program carry out all of the text, or nothing.
func nft(text string) (string, error) { return NFT(text, "-s", "-f", "-") }
