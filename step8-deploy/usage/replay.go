package usage

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// A start makes again what was in memory: a minute that was not over is the sum of the
// seconds that are in no frame of minutes yet, and likewise for hours and days. Frames say by
// their numbers what they cover, and not by times, as clocks may be wrong.

// replay reads all segments, from the coarsest ring to the finest, and adds to the state what
// is not covered. It calls broken for each segment that is not whole; that returns whether
// there is still something left of it.
func (s *state) replay(root *os.Root, segments *[numRings][]*segment, broken func(g *segment, good int64, err error) (keep bool, _ error)) error {
	for _, ring := range segments {
		for _, g := range ring {
			s.seq = max(s.seq, g.last(root))
		}
	}
	var covered uint64 // of this ring, by the next coarser one
	for i := days; i >= seconds; i-- {
		var covers uint64
		kept := segments[i][:0]
		for _, g := range segments[i] {
			d := newDecoder(rings[i])
			at, err := g.read(root, func(h header, body io.Reader) error {
				covers = max(covers, h.covers)
				s.newest[i] = max(s.newest[i], h.seq)
				before := int64(-1)
				return d.decode(body, func(slot int64, who Client, c Counts) bool {
					if g.newest = max(g.newest, slot); slot != before {
						g.groups++
						before = slot
					}
					if i < days && h.seq > covered {
						s.again(i, slot, h.seq, who, c)
					}
					return true
				})
			})
			g.size = at
			keep := true
			switch {
			case err == nil:
			case errors.Is(err, fs.ErrNotExist):
				keep = false
			case errors.Is(err, errTorn) || isDamage(err):
				if keep, err = broken(g, at, err); err != nil {
					return err
				}
			default:
				return err
			}
			if keep {
				kept = append(kept, g)
			}
		}
		segments[i], covered = kept, covers
	}
	return nil
}

// again adds what a frame says to the ring above, if that has not been done before the end of
// the process that wrote the frame.
func (s *state) again(i int, slot int64, seq uint64, who Client, c Counts) {
	if len(s.clients.list) >= maxClients {
		s.renumber()
	}
	s.into(i+1, above(i, slot), []entry{{s.clients.id(who), c}})
	s.sums[i+1].covers = seq
}
