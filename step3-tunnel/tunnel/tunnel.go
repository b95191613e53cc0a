// Package tunnel moves packets between a TUN device and the link that carries them
// to the other host. Introduced in step 3.
//
// It is the relay of step 1 once more: two ends, and for each direction one
// goroutine that reads from one end and writes to the other.
package tunnel

import (
	"context"
	"fmt"

	"stepvpn/shared/link"
	"stepvpn/step2-tun/packet"
)

// Run moves packets between dev and conn until ctx ends, which is not an error, or
// until one of the two fails: it returns the error that came first. When it returns, it
// has closed both, and nobody uses them any more.
//
//exercise:3
func Run(ctx context.Context, dev, conn link.Link, count *Counters) error {
	closeBoth := func() {
		dev.Close()
		conn.Close()
	}
	defer context.AfterFunc(ctx, closeBoth)()

	failed := make(chan error, 2)
	go func() { failed <- send(dev, conn, count) }()
	go func() { failed <- receive(conn, dev, count) }()
	err := <-failed
	closeBoth() // ends the other one
	<-failed

	if ctx.Err() != nil {
		return nil
	}
	return err
}

// send moves what this host sends: from the device to the other side. It returns the
// error of the end that fails, and says which that is. For all its packets it needs one
// burst. It counts those that were sent.
//
//exercise:3
func send(dev, conn link.Link, count *Counters) error {
	b := link.NewBurst()
	for {
		if err := dev.ReadBurst(b); err != nil {
			return fmt.Errorf("reading from the TUN device: %w", err)
		}
		if err := conn.WriteBurst(b); err != nil {
			return fmt.Errorf("sending to the other side: %w", err)
		}
		count.Sent.add(b) // not before: see Burst.At
	}
}

// receive moves what comes from the other side into the device, as send does the other
// way. It trusts nothing that it receives: only whole IP packets pass, and are counted.
//
//exercise:3
func receive(conn, dev link.Link, count *Counters) error {
	b := link.NewBurst()
	for {
		if err := conn.ReadBurst(b); err != nil {
			return fmt.Errorf("receiving from the other side: %w", err)
		}
		dropMalformed(b, &count.Drops)
		count.Received.add(b)
		if err := dev.WriteBurst(b); err != nil {
			return fmt.Errorf("writing to the TUN device: %w", err)
		}
	}
}

// dropMalformed keeps the whole IP packets of b, in place and in their order, and counts
// the others.
//
//exercise:3
func dropMalformed(b *link.Burst, drops *link.Drops) {
	kept := 0
	for i := range b.Len() {
		p := b.At(i)
		if packet.Check(p) != nil {
			drops.Add(link.Malformed)
			continue
		}
		b.Set(kept, p)
		kept++
	}
	b.Truncate(kept)
}
