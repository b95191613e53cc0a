package registrar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
)

// leasesOf returns the name of a file with the server's leases, which is there until done is called.
// It is the worker's own, but the sandbox of a keeper keeps it from reading what belongs to another
// user. Then the worker tells what it says. (One that lies gives a client an address that another one had,
// which the worker could do anyway.)
func leasesOf(s *config.Server) (name string, done func(), err error) {
	name = keeper.LeasesFile(s)
	f, err := os.Open(name)
	switch {
	case err == nil:
		f.Close()
		return name, func() {}, nil
	case !errors.Is(err, fs.ErrPermission):
		return name, func() {}, nil // whoever reads it says what is wrong
	case s.StatusSocket == "":
		return "", nil, app.Hint(errors.New("the server's worker alone may read the file of leases, and the server does not ask it, as the setting status_socket is empty"),
			"Set status_socket to a path, such as \"%s\", and restart the server: systemctl restart stepvpn-server. Or name free addresses by -addr.", config.ServerSocket)
	}
	var told control.Leases
	if err := control.Get(context.Background(), s.StatusSocket, "/leases", &told); err != nil {
		return "", nil, fmt.Errorf("the file of leases: %w", err)
	}
	if told.File == "" {
		return "", func() {}, nil // none so far
	}
	fd, err := unix.MemfdCreate("leases", unix.MFD_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("the file of leases: %w", err)
	}
	copied := os.NewFile(uintptr(fd), "leases")
	if _, err := copied.WriteString(told.File); err != nil {
		copied.Close()
		return "", nil, fmt.Errorf("the file of leases: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { copied.Close() }, nil
}
