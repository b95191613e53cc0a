package secure

// A window remembers which counters of one keypair have been seen, as a ring of
// bits (RFC 6479). When it moves forward it clears whole words, instead of
// shifting all bits. The zero value has seen nothing. It is not safe for
// concurrent use.
//
// Call fresh before a packet is opened, and mark only after its tag has been verified:
// otherwise a forged packet could move the window.
type window struct {
	next uint64 // the newest counter seen, plus 1
	ring [windowWords]uint64
}

// windowSize is how many counters are remembered: the newest one and those before it. On
// a fast link with several queues, a packet can be overtaken by hundreds of others.
const windowSize = 8192

const (
	wordBits    = 64
	windowWords = windowSize/wordBits + 1 // one more: the newest word is filled only in part
)

// fresh reports whether counter has not been seen before. It returns false if counter is
// too old to tell: windowSize or more behind the newest. counter must be below 2^64-1.
//
//exercise:3
func (w *window) fresh(counter uint64) bool {
	switch {
	case counter >= w.next:
		return true
	case w.next-counter > windowSize:
		return false
	}
	return w.ring[counter/wordBits%windowWords]&bit(counter) == 0
}

// mark remembers counter, for which fresh must hold.
//
//exercise:3
func (w *window) mark(counter uint64) {
	if counter >= w.next {
		w.advance(counter)
	}
	w.ring[counter/wordBits%windowWords] |= bit(counter)
}

// advance makes counter the newest: it clears the words after the one that was
// the newest up to the one that counter is in, which may be far ahead.
//
//exercise:3
func (w *window) advance(counter uint64) {
	var first uint64 // the first word to clear
	if w.next > 0 {
		first = (w.next-1)/wordBits + 1
	}
	last := counter / wordBits
	if first+windowWords <= last {
		first = last - windowWords + 1 // once around the ring is enough
	}
	for word := first; word <= last; word++ {
		w.ring[word%windowWords] = 0
	}
	w.next = counter + 1
}

func bit(counter uint64) uint64 { return 1 << (counter % wordBits) }
