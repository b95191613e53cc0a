package supervise

import (
	"context"
	"time"
)

// Alive returns an error when nothing has been heard of the server for silence,
// or nil when ctx ends. It is for Config.Connect, beside what moves the packets: a
// session that tries for ever to get itself back never says that it is lost, and
// then no other server is asked, and no name is looked up again.
//
// heard returns when the last packet came that was the server's for sure: one that
// has authenticated. The server must be given reason to send one at least twice
// in that time, as by keepalives that are answered.
func Alive(ctx context.Context, heard func() time.Time, silence time.Duration) error {
	for {
		left := time.Until(heard().Add(silence))
		if left <= 0 {
			return errSilence
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(left):
		}
	}
}
