package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Settings that are paths of files.

// readPath checks the value of a setting that is a path. Later, resolve makes it absolute.
func readPath(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("is empty")
	case len(s) > maxPath:
		return "", fmt.Errorf("is longer than %d bytes", maxPath)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("has a control character in it")
	case strings.HasPrefix(s, "~"):
		return "", fmt.Errorf("is %s, but ~ is not replaced here", quote(s))
	case strings.Contains(strings.TrimPrefix(s, "$"+credentialsVar+"/"), "$"):
		return "", fmt.Errorf("is %s; the only variable is $%s, at the start and followed by a slash", quote(s), credentialsVar)
	}
	return s, nil
}

const (
	credentialsVar = "CREDENTIALS_DIRECTORY" // set by systemd (systemd.exec(5))
	maxPath        = 4095                    // PATH_MAX - 1 in the kernel's linux/limits.h, in bytes
	maxSocketPath  = 107                     // of sockaddr_un, without the zero byte at the end (unix(7))
)

// readSocket reads the path of a Unix socket.
func readSocket(s string) (string, error) {
	if len(s) > maxSocketPath {
		return "", fmt.Errorf("is a path of %d bytes", len(s))
	}
	return readPath(s)
}

// besideStatus returns the path of the socket for changes of a server that sets none: with the default
// status socket it is ServerControl.
func besideStatus(socket string) string {
	if socket == "" {
		return ""
	}
	path := strings.TrimSuffix(socket, ".sock") + "-control.sock"
	if len(path) > maxSocketPath {
		return ""
	}
	return path
}

// readGroup reads the name of a group, as groupadd(8) makes it.
func readGroup(s string) (string, error) {
	const longest = 32
	good := len(s) <= longest && s[0] != '-'
	for _, b := range []byte(s) {
		good = good && (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("._-", b) >= 0)
	}
	if !good {
		return "", fmt.Errorf("is %s, which is not the name of a group", quote(s))
	}
	return s, nil
}

// resolve replaces each path by the path that it stands for: relative paths start at the file's
// folder or, after $CREDENTIALS_DIRECTORY, at that of systemd.
func resolve(file string, paths ...*string) {
	folder := filepath.Dir(file)
	for _, p := range paths {
		at := folder
		rest, isCredential := strings.CutPrefix(*p, "$"+credentialsVar+"/")
		if dir := os.Getenv(credentialsVar); isCredential && dir != "" {
			at = dir
		}
		if rest != "" && !filepath.IsAbs(rest) || isCredential {
			*p = filepath.Join(at, rest)
		}
	}
}
