package usage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"stepvpn/shared/atomicfile"
)

// A disk is the folder of the files. It is used by one goroutine at a time. All access goes
// through an os.Root: root may open a folder that belongs to the worker, and must not be led out
// of it.
type disk struct {
	root     *os.Root
	lock     *os.File
	segments [numRings][]*segment // from the oldest to the newest
	removed  [numRings]time.Time  // when a segment was last removed because of its age
}

// Names inside of the folder that it is in, and inside of it.
const (
	folderName  = "usage"
	damagedName = "damaged" // the last one that was set aside
	draftSuffix = ".new"
	asideSuffix = ".damaged" // what stood in the place of the folder
)

// openDisk opens the folder for writing, inside of the folder pool, and makes it if it is
// missing. If another process has it, openDisk waits for some time, and the error is
// atomicfile.ErrLocked.
func openDisk(pool string, wait time.Duration) (d *disk, err error) {
	outer, err := os.OpenRoot(pool)
	if err != nil {
		return nil, err
	}
	defer outer.Close()
	if info, err := outer.Lstat(folderName); err == nil && !info.IsDir() {
		slog.Warn("in the place of the folder of the clients' usage is something else, which was set aside: usage begins anew", "now", folderName+asideSuffix)
		if err := setAside(outer, folderName, folderName+asideSuffix); err != nil {
			return nil, err
		}
	}
	if err := outer.Mkdir(folderName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := outer.OpenRoot(folderName)
	if err != nil {
		return nil, err
	}
	d = &disk{root: root}
	for i := range d.removed {
		d.removed[i] = time.Now()
	}
	if d.lock, err = root.Open("."); err == nil {
		err = atomicfile.Lock(d.lock, wait)
	}
	if err == nil {
		err = d.removeDrafts()
	}
	if err == nil {
		d.segments, err = list(root)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *disk) close() {
	for _, ring := range d.segments {
		for _, g := range ring {
			g.close()
		}
	}
	if d.lock != nil {
		d.lock.Close() // which unlocks it
	}
	d.root.Close()
}

// setAside renames something to a name that may be taken.
func setAside(root *os.Root, name, now string) error {
	if err := root.RemoveAll(now); err != nil {
		return err
	}
	return root.Rename(name, now)
}

// repair makes a segment whole again of which read has found that only the first bytes are
// good. A damaged one it sets aside, for a person to look at; the good part takes its place.
// keep reports whether there is something left.
func (d *disk) repair(g *segment, good int64, found error) (keep bool, err error) {
	if errors.Is(found, errTorn) {
		slog.Info("the end of a file of the clients' usage is incomplete, as after a power cut: up to 10 s are lost", "file", g.name)
		if good == 0 {
			return false, d.root.Remove(g.name)
		}
		f, err := d.root.OpenFile(g.name, os.O_WRONLY, 0)
		if err != nil {
			return false, err
		}
		defer f.Close()
		return true, errors.Join(f.Truncate(good), f.Sync())
	}
	draft := g.name + draftSuffix
	keep = good > int64(len(magic)) && d.copy(g, draft, good) == nil
	if err := setAside(d.root, g.name, damagedName); err != nil {
		return false, err
	}
	slog.Warn("a file of the clients' usage is damaged and was set aside: a part of what they have used is forgotten",
		"file", g.name, "damage", found, "now", damagedName, "kept", good)
	if !keep {
		d.root.RemoveAll(draft)
		return false, nil
	}
	return true, d.root.Rename(draft, g.name)
}

// copy copies the first bytes of a segment to a new file.
func (d *disk) copy(g *segment, to string, bytes int64) error {
	in, _, err := g.open(d.root)
	if err != nil {
		return err
	}
	defer in.Close()
	return d.write(to, func(out io.Writer) error {
		_, err := io.Copy(out, io.NewSectionReader(in, 0, bytes))
		return err
	})
}

// write writes a file, and makes sure that it survives a power cut. The file belongs to the
// owner of the folder.
func (d *disk) write(name string, content func(io.Writer) error) error {
	if err := d.root.RemoveAll(name); err != nil {
		return err
	}
	f, err := d.create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(content(f), f.Sync()); err != nil {
		d.root.Remove(name)
		return err
	}
	return nil
}

// create makes a file that belongs to the owner of the folder.
func (d *disk) create(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := d.lock.Stat()
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); err == nil && owner != os.Geteuid() {
		err = f.Chown(owner, int(info.Sys().(*syscall.Stat_t).Gid))
	}
	if err != nil {
		f.Close()
		d.root.Remove(name)
		return nil, err
	}
	return f, nil
}

// append writes a frame to the newest segment of its ring. After an error, everything is as
// before.
func (d *disk) append(f *frame) error {
	g, err := d.toAppend(f)
	if err != nil {
		return err
	}
	b, err := f.encode(g.named)
	if err != nil {
		return err
	}
	_, err = g.file.WriteAt(b, g.size)
	if err == nil {
		err = g.file.Sync()
	}
	if err != nil {
		g.file.Truncate(g.size) // if it fails, the next start does it
		return err
	}
	g.size += int64(len(b))
	g.groups += len(f.groups)
	for _, group := range f.groups {
		g.newest = max(g.newest, group.slot)
	}
	f.name(g.named)
	return nil
}

// errChanged is about a file that somebody else has changed or removed.
var errChanged = errors.New("somebody else has changed the files")

// toAppend returns the segment that a frame is to be appended to.
func (d *disk) toAppend(f *frame) (g *segment, err error) {
	ring := &d.segments[f.ring]
	if n := len(*ring); n > 0 && (*ring)[n-1].groups < slotsPerSegment(f.ring) {
		g = (*ring)[n-1]
	} else {
		if n > 0 {
			(*ring)[n-1].close()
		}
		g = &segment{name: segmentName(f.ring, f.seq), ring: f.ring}
		if err := d.write(g.name, func(w io.Writer) error { _, err := io.WriteString(w, magic); return err }); err != nil {
			return nil, err
		}
		if err := d.lock.Sync(); err != nil {
			return nil, err
		}
		g.size = int64(len(magic))
		*ring = append(*ring, g)
	}
	if g.file == nil {
		if g.file, err = d.root.OpenFile(g.name, os.O_WRONLY, 0); err != nil {
			return nil, fmt.Errorf("%w: %w", errChanged, err)
		}
	}
	info, err := g.file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != g.size || info.Sys().(*syscall.Stat_t).Nlink == 0 {
		return nil, errChanged
	}
	if g.clients != f.clients {
		g.clients, g.named = f.clients, make(map[uint32]bool)
	}
	return g, nil
}

func slotsPerSegment(ring int) int {
	return (rings[ring].slots + segmentsPerRing - 1) / segmentsPerRing
}

func (g *segment) close() {
	if g.file != nil {
		g.file.Close()
		g.file = nil
	}
	g.clients, g.named = nil, nil
}

// expire removes segments: those that a ring has no room for, and those with nothing that is
// recent enough. It removes the latter slowly, as the clock may be wrong: one that is a year
// ahead for an hour does no harm to a ring of two years.
func (d *disk) expire(now time.Time) error {
	var errs []error
	for i := range d.segments {
		for len(d.segments[i]) > segmentsPerRing+1 {
			errs = append(errs, d.removeOldest(i))
		}
		r := rings[i]
		pace := min(r.span()/segmentsPerRing, time.Hour)
		if len(d.segments[i]) > 0 && r.isOld(d.segments[i][0].newest, now) && time.Since(d.removed[i]) >= pace {
			d.removed[i] = time.Now()
			errs = append(errs, d.removeOldest(i))
		}
	}
	return errors.Join(errs...)
}

// isOld reports whether a slot is farther away than the ring is long: in the past, or in the
// future, where a clock that was wrong has left it.
func (r ring) isOld(slot int64, now time.Time) bool {
	away := r.slot(now) - slot
	return max(away, -away) > int64(r.slots)
}

func (d *disk) removeOldest(ring int) error {
	g := d.segments[ring][0]
	d.segments[ring] = d.segments[ring][1:]
	g.close()
	if err := d.root.RemoveAll(g.name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
