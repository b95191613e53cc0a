package usage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A ring is a run of segments: files with a name such as seconds-000000000000002a, where the
// number is that of the first frame. Frames are appended to the newest one, until it has a
// twelfth of the ring's slots; then there is a new one, and the oldest is removed.
const (
	segmentsPerRing = 12
	magic           = "stepvpn usage 1\n" // with which a segment begins

	maxNames = 4096 // in the folder
)

// A segment is one file.
type segment struct {
	name   string
	ring   int
	size   int64 // bytes that are known to be good
	groups int
	newest int64 // the largest slot

	// These are about the file that frames are appended to.
	file    *os.File
	clients *clientIDs
	named   map[uint32]bool
}

// segmentName returns the name of the segment whose first frame has a number.
func segmentName(ring int, seq uint64) string { return fmt.Sprintf("%s-%016x", rings[ring].name, seq) }

// parseSegmentName is the opposite of segmentName.
func parseSegmentName(name string) (ring int, ok bool) {
	word, number, _ := strings.Cut(name, "-")
	seq, err := strconv.ParseUint(number, 16, 64)
	for ring := range rings {
		if err == nil && word == rings[ring].name && name == segmentName(ring, seq) {
			return ring, true
		}
	}
	return 0, false
}

// list returns the segments in a folder, those of each ring from the oldest to the newest.
func list(root *os.Root) (all [numRings][]*segment, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return all, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxNames)
	if err != nil && err != io.EOF {
		return all, err
	}
	slices.Sort(names)
	for _, name := range names {
		if ring, ok := parseSegmentName(name); ok {
			all[ring] = append(all[ring], &segment{name: name, ring: ring})
		}
	}
	return all, nil
}

// removeDrafts removes the drafts that a process has left that was killed.
func (d *disk) removeDrafts() error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxNames)
	if err != nil && err != io.EOF {
		return err
	}
	for _, name := range names {
		if before, is := strings.CutSuffix(name, draftSuffix); is {
			if _, ours := parseSegmentName(before); ours {
				d.root.RemoveAll(name)
			}
		}
	}
	return nil
}

// open opens a segment for reading. It does not wait for anything that is no file.
func (g *segment) open(root *os.Root) (f *os.File, size int64, err error) {
	if info, err := root.Lstat(g.name); err == nil && !info.Mode().IsRegular() {
		return nil, 0, errNoFile
	}
	f, err = root.OpenFile(g.name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Errors about the contents of segments.
var (
	errNoFile = errors.New("it is not a file")
	errMagic  = errors.New("it is not a file of this program")
	errSum    = errors.New("the checksum of a block is wrong")
	errTorn   = errors.New("its last block is incomplete")
)

// isDamage reports whether an error of read is about the segment, and will not go away by itself.
func isDamage(err error) bool {
	return !errors.As(err, new(*fs.PathError)) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EIO)
}

// read calls each for each frame of a segment, with its header and body. at is where the last
// good frame ends. If the last frame is incomplete, the error is errTorn.
func (g *segment) read(root *os.Root, each func(h header, body io.Reader) error) (at int64, err error) {
	f, size, err := g.open(root)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var begin [len(magic)]byte
	if _, err := f.ReadAt(begin[:min(size, int64(len(magic)))], 0); err != nil {
		return 0, err
	}
	switch {
	case size < int64(len(magic)) && (strings.HasPrefix(magic, string(begin[:size])) || begin == [len(magic)]byte{}):
		return 0, errTorn
	case string(begin[:]) != magic:
		return 0, errMagic
	}
	at = int64(len(magic))
	for at < size {
		h, err := readHeader(f, at, size)
		if err != nil {
			return at, err
		}
		end := at + headerSize + int64(h.length)
		body := func() io.Reader { return io.NewSectionReader(f, at+headerSize, int64(h.length)) }
		sum := crc32.New(castagnoli)
		if _, err := io.Copy(sum, body()); err != nil {
			return at, err
		}
		switch {
		case sum.Sum32() == h.sum:
		case end == size:
			return at, errTorn
		default:
			return at, errSum
		}
		if err := each(h, body()); err != nil {
			return at, err
		}
		at = end
	}
	return at, nil
}

// readHeader reads the header of the frame that begins at a place in a file of some size. The
// error is errTorn if the frame is incomplete, or if there are only zeros, which is what some
// filesystems leave of what was not written in time.
func readHeader(f io.ReaderAt, at, size int64) (h header, err error) {
	if size-at < headerSize {
		return h, errTorn
	}
	var b [headerSize]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return h, err
	}
	h, err = parseHeader(b[:])
	switch {
	case err != nil && b == [headerSize]byte{} && onlyZeros(io.NewSectionReader(f, at, size-at)):
		return h, errTorn
	case err == nil && int64(h.length) > size-at-headerSize:
		return h, errTorn
	}
	return h, err
}

func onlyZeros(r io.Reader) bool {
	b := make([]byte, 64<<10)
	for {
		n, err := r.Read(b)
		for _, x := range b[:n] {
			if x != 0 {
				return false
			}
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

// last returns the number of the last frame of a segment, as far as its headers are good. It
// reads no more than these.
func (g *segment) last(root *os.Root) (seq uint64) {
	f, size, err := g.open(root)
	if err != nil {
		return 0
	}
	defer f.Close()
	for at := int64(len(magic)); at < size; {
		h, err := readHeader(f, at, size)
		if err != nil {
			break
		}
		seq = max(seq, h.seq)
		at += headerSize + int64(h.length)
	}
	return seq
}
