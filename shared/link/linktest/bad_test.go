package linktest_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"stepvpn/shared/link"
	"stepvpn/shared/link/linktest"
)

const sent = 10000

// through writes numbered packets to a bad link, one in a millisecond, and
// returns the numbers in the order in which they arrive.
func through(t *testing.T, f linktest.Faults) (arrived []int, counts linktest.Counts) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, z := link.Pipe(16)
		bad := linktest.Wrap(a, f)
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := link.NewBurst()
			for z.ReadBurst(b) == nil {
				for i := range b.Len() {
					arrived = append(arrived, int(binary.BigEndian.Uint32(b.At(i))))
				}
			}
		}()
		b := link.NewBurst()
		for i := range sent {
			b.Reset()
			binary.BigEndian.PutUint32(b.Alloc(4), uint32(i))
			if err := bad.WriteBurst(b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute) // for what is delayed
		counts = bad.Counts()
		bad.Close()
		<-done
	})
	return arrived, counts
}

func TestNoFaults(t *testing.T) {
	arrived, counts := through(t, linktest.Faults{})
	if len(arrived) != sent || !slices.IsSorted(arrived) {
		t.Errorf("%d of %d packets arrived, in order: %v", len(arrived), sent, slices.IsSorted(arrived))
	}
	if want := (linktest.Counts{Written: sent}); counts != want {
		t.Errorf("counts are %+v, want %+v", counts, want)
	}
}

// Each fault on its own does what it says, at about its rate.
func TestOneFault(t *testing.T) {
	about := func(what string, got int, rate float64) {
		t.Helper()
		if want := rate * sent; float64(got) < 0.9*want || float64(got) > 1.1*want {
			t.Errorf("%s: %d, want about %v", what, got, want)
		}
	}

	arrived, counts := through(t, linktest.Faults{Seed: 1, Drop: 0.3})
	about("dropped", counts.Dropped, 0.3)
	if len(arrived) != sent-counts.Dropped || !slices.IsSorted(arrived) {
		t.Errorf("drop: %d arrived of %d", len(arrived), sent)
	}

	arrived, counts = through(t, linktest.Faults{Seed: 2, Double: 0.2})
	about("doubled", counts.Doubled, 0.2)
	if len(arrived) != sent+counts.Doubled || !slices.IsSorted(arrived) {
		t.Errorf("double: %d arrived of %d", len(arrived), sent)
	}

	arrived, counts = through(t, linktest.Faults{Seed: 3, Reorder: 0.2})
	// A packet that meets one that is held already is not held too.
	about("reordered", counts.Reordered, 0.2/1.2)
	about("descents", descents(arrived), 0.2/1.2)
	if len(arrived) != sent {
		t.Errorf("reorder: %d arrived of %d", len(arrived), sent)
	}

	arrived, counts = through(t, linktest.Faults{Seed: 4, Delay: 0.2, MaxDelay: time.Second})
	about("delayed", counts.Delayed, 0.2)
	if len(arrived) != sent || descents(arrived) < sent/10 {
		t.Errorf("delay: %d arrived of %d, %d out of order", len(arrived), sent, descents(arrived))
	}
}

func descents(s []int) (n int) {
	for i := 1; i < len(s); i++ {
		if s[i] < s[i-1] {
			n++
		}
	}
	return n
}

// The seed decides.
func TestDeterministic(t *testing.T) {
	all := linktest.Faults{Seed: 5, Drop: 0.3, Double: 0.1, Reorder: 0.1, Delay: 0.3, MaxDelay: time.Second}
	first, _ := through(t, all)
	again, _ := through(t, all)
	if !slices.Equal(first, again) {
		t.Error("the same seed led to other faults")
	}
	all.Seed++
	other, _ := through(t, all)
	if slices.Equal(first, other) {
		t.Error("another seed led to the same faults")
	}
}

// A held packet goes out even if no other follows, to its own address.
func TestLastPacketIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, z := link.Pipe(16)
		bad := linktest.Wrap(a, linktest.Faults{Reorder: 1})
		defer bad.Close()
		b := link.NewBurst()
		copy(b.Alloc(1), "x")
		if err := bad.WriteBurst(b); err != nil {
			t.Fatal(err)
		}
		if err := z.ReadBurst(b); err != nil || string(b.At(0)) != "x" {
			t.Errorf("got %q, %v", b.At(0), err)
		}
	})
}
