package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// Settings of the kernel, as paths below /proc/sys.
const (
	forward4   = "net/ipv4/ip_forward"
	forward6   = "net/ipv6/conf/all/forwarding"
	redirects4 = "net/ipv4/conf/all/accept_redirects"
)

// acceptRA is the setting that says whether the interface listens to router
// advertisements: 0 no, 1 yes unless the host forwards, 2 yes.
func acceptRA(name string) string { return "net/ipv6/conf/" + name + "/accept_ra" }

// settable lists the settings that are ever written, whatever a state file
// says. The "*" is the name of an interface, "all" or "default".
var settable = []string{
	forward4, forward6, redirects4,
	"net/ipv4/conf/*/forwarding", "net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/accept_ra",
}

// number is what all of them hold.
var number = regexp.MustCompile(`^-?[0-9]{1,9}$`)

// changedAlong returns the settings that the kernel overwrites when key is
// written: those of every interface (inet_forward_change in net/ipv4/devinet.c,
// addrconf_forward_change in net/ipv6/addrconf.c), and for IPv4 the one that
// says whether to believe redirects.
func changedAlong(key string) []string {
	var along []string
	switch key {
	case forward4:
		along = append(glob("net/ipv4/conf/*/forwarding"), redirects4)
	case forward6:
		along = glob("net/ipv6/conf/*/forwarding")
	}
	return along
}
