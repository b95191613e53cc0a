package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// File calls changed whenever a file, or one whose name begins with its name, is changed,
// replaced or removed, until ctx ends. It watches the entry in the folder, not the target of
// a symlink. Events are bunched, as for Netlink.
func File(ctx context.Context, path string, changed func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watching %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()
	const events = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), events|unix.IN_ONLYDIR); err != nil {
		return fmt.Errorf("watching %s: %w", path, err)
	}
	// If something is mounted there, it may be written to under another name.
	mounted := func() { unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_WRITE|unix.IN_DONT_FOLLOW) }
	mounted()

	bunches := make(chan struct{}, 1)
	collected := make(chan struct{})
	go func() { collect(bunches, changed); close(collected) }()
	defer func() { close(bunches); <-collected }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.Read(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watching %s: %w", path, err)
		}
		if !about(buffer[:n], filepath.Base(path)) {
			continue
		}
		mounted()
		select {
		case bunches <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// about reports whether one of the inotify(7) events is about this name, or events were lost.
func about(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		length := int(binary.NativeEndian.Uint32(events[12:]))
		if len(events) < unix.SizeofInotifyEvent+length {
			return true
		}
		is := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:][:length], "\x00"))
		if mask&unix.IN_Q_OVERFLOW != 0 || is == "" && mask&unix.IN_IGNORED == 0 || is != "" && strings.HasPrefix(is, name) {
			return true
		}
		events = events[unix.SizeofInotifyEvent+length:]
	}
	return false
}
