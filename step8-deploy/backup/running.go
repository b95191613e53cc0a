package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/killswitch"
)

// Running is for Options: it finds a program that runs by the lock that it holds in its folder.
// As long as a client's lock is held, the client can't start.
func Running(kind, state string) (release func() error, err error) {
	if kind == config.KindClient {
		release, err := killswitch.Lock(state)
		if errors.Is(err, killswitch.ErrRuns) {
			return nil, app.Hint(err, "Stop it first: systemctl stop stepvpn-client")
		}
		return release, err
	}
	nothing := func() error { return nil }
	root, err := os.OpenRoot(filepath.Join(state, keeper.WorkerFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nothing, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	leases, err := root.OpenFile(keeper.LeasesName, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing, nil
	}
	if err != nil {
		return nil, err
	}
	defer leases.Close()
	if err := atomicfile.Lock(leases, 0); errors.Is(err, atomicfile.ErrLocked) {
		return nil, app.Hint(errors.New("a server is running on this host"), "Stop it first: systemctl stop stepvpn-server")
	} else if err != nil {
		return nil, err
	}
	return nothing, nil
}
