package usage

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/soak"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	epoch = time.Date(2026, 11, 1, 23, 58, 0, 0, time.UTC)
	alice = Client{noise.PublicKey{1}, "alice"}
	bob   = Client{noise.PublicKey{2}, "bob"}
)

// logged returns what is logged while do runs.
func logged(t *testing.T, do func()) string {
	t.Helper()
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	do()
	return log.String()
}

// use has a log count something at a time.
func (l *Log) use(at time.Time, used map[Client]*Counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.add(at, used)
}

func bytesOf(n uint64) *Counts { return &Counts{SentBytes: n, SentPackets: 1, Connected: 1} }

// kill has a log end as kill -9 would: nothing more is written.
func (l *Log) kill() {
	if l.disk != nil {
		l.disk.close()
		l.disk = nil
	}
}

// total returns what a ring says that all clients have used together, according to the files
// and the memory of a log, or without one, to the files.
func total(t *testing.T, pool string, l *Log, ring int, who ...Client) (sum Counts) {
	t.Helper()
	s := newState()
	root, err := openFolder(pool)
	require.NoError(t, err)
	defer root.Close()
	if l != nil {
		s = l.state
	} else {
		segments, err := list(root)
		require.NoError(t, err)
		require.NoError(t, s.replay(root, &segments, func(*segment, int64, error) (bool, error) { return true, nil }))
	}
	require.NoError(t, each(t.Context(), root, s.memory(), ring, func(_ int64, is Client, c Counts) {
		if len(who) == 0 || slices.Contains(who, is) {
			sum.Add(c)
		}
	}))
	return sum
}

// Whenever a server is killed, and however its clock jumps, a start finds in each ring exactly
// what has been written.
func TestKilled(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		pool := t.TempDir()
		l := New(pool)
		require.NoError(t, l.save())
		now := epoch
		var written, used Counts
		for range 150 {
			switch rnd.IntN(12) {
			case 0:
				require.NoError(t, l.save())
				written = used
			case 1: // it is killed
				l.kill()
				l = New(pool)
				if rnd.IntN(2) == 0 {
					require.NoError(t, l.save())
				}
				used = written
			case 2: // the clock is set
				now = now.Add(time.Duration(rnd.IntN(5)-2) * []time.Duration{time.Minute, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour}[rnd.IntN(4)])
			case 3: // nobody is there for a while
				for range rnd.IntN(4) {
					now = now.Add(time.Hour)
					l.use(now, nil)
				}
			default:
				if !l.opened {
					require.NoError(t, l.save())
				}
				now = now.Add(time.Second)
				c := Counts{SentBytes: rnd.Uint64N(1 << 40), ReceivedPackets: 1}
				l.use(now, map[Client]*Counts{[]Client{alice, bob}[rnd.IntN(2)]: &c})
				used.Add(c)
			}
			if !l.opened || rnd.IntN(4) > 0 {
				continue
			}
			for ring := range numRings {
				require.Equal(t, used, total(t, pool, l, ring), "seed %d, %s", seed, rings[ring].name)
				if rnd.IntN(10) == 0 {
					require.Equal(t, written, total(t, pool, nil, ring), "seed %d, %s, from the files", seed, rings[ring].name)
				}
			}
		}
		l.kill()
	}
}

// A ring has room for its slots, and no more than a twelfth beyond.
func TestRingsAreBounded(t *testing.T) {
	pool := t.TempDir()
	l := New(pool)
	require.NoError(t, l.save())
	defer l.kill()
	const n = 3 * 3600
	for i := range n {
		l.use(epoch.Add(time.Duration(i)*time.Second), map[Client]*Counts{alice: bytesOf(1)})
		if i%100 == 0 {
			require.NoError(t, l.save())
		}
	}
	require.NoError(t, l.save())
	kept := total(t, pool, l, seconds, alice).SentBytes
	require.GreaterOrEqual(t, kept, uint64(3600))
	require.LessOrEqual(t, kept, uint64(3600/12*14))
	require.Equal(t, uint64(n), total(t, pool, l, minutes, alice).SentBytes)
	names, err := os.ReadDir(filepath.Join(pool, folderName))
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 4*(segmentsPerRing+1))
}

// What is too old goes, at some time, although nobody is there. A clock that is wrong for an
// hour does not take the ring with it.
func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := t.TempDir()
		l := New(pool)
		require.NoError(t, l.save())
		defer l.kill()
		for day := range 200 {
			l.use(time.Now().Add(time.Duration(day-200)*24*time.Hour), map[Client]*Counts{alice: bytesOf(1)})
		}
		require.NoError(t, l.save())
		has := func(ring int) int { return int(total(t, pool, l, ring).SentBytes) }
		require.Equal(t, 200, has(days))
		require.Equal(t, 200, has(seconds))

		for range 60 { // the clock is ten years ahead, for an hour
			time.Sleep(time.Minute)
			require.NoError(t, l.disk.expire(time.Now().Add(10*365*24*time.Hour)))
		}
		require.GreaterOrEqual(t, has(days), 200-slotsPerSegment(days))
		for range 600 { // it is right again
			time.Sleep(time.Minute)
			require.NoError(t, l.disk.expire(time.Now()))
		}
		require.GreaterOrEqual(t, has(days), 200-slotsPerSegment(days))
		require.Zero(t, has(seconds))
	})
}

// breaks is what may happen to a file.
var breaks = map[string]func(t *testing.T, name string){
	"truncated": func(t *testing.T, name string) {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(name, info.Size()/2))
	},
	"empty": func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, 0)) },
	"zeros": func(t *testing.T, name string) {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, make([]byte, info.Size()), 0o600))
	},
	"zeros in the middle":        func(t *testing.T, name string) { overwrite(t, name, make([]byte, 40)) },
	"random bytes in the middle": func(t *testing.T, name string) { overwrite(t, name, []byte(strings.Repeat("\x8f#k", 20))) },
	"another program's": func(t *testing.T, name string) {
		require.NoError(t, os.WriteFile(name, []byte(strings.Repeat("SQLite format 3\x00", 500)), 0o600))
	},
	"a folder": func(t *testing.T, name string) {
		require.NoError(t, os.Remove(name))
		require.NoError(t, os.MkdirAll(name+"/x", 0o700))
	},
	"a pipe": func(t *testing.T, name string) {
		require.NoError(t, os.Remove(name))
		require.NoError(t, unix.Mkfifo(name, 0o600))
	},
	"a link": func(t *testing.T, name string) {
		require.NoError(t, os.Remove(name))
		require.NoError(t, os.Symlink("/etc/passwd", name))
	},
	"a link to itself": func(t *testing.T, name string) {
		require.NoError(t, os.Remove(name))
		require.NoError(t, os.Symlink(filepath.Base(name), name))
	},
	"missing": func(t *testing.T, name string) { require.NoError(t, os.Remove(name)) },
}

func overwrite(t *testing.T, name string, with []byte) {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	_, err = f.WriteAt(with, info.Size()/2)
	require.NoError(t, err)
}

// Whatever has happened to a file, a start works, and the next start has nothing to say. What
// was damaged is set aside, and what comes in front of the damage is kept.
func TestDamaged(t *testing.T) {
	for what, damage := range breaks {
		t.Run(what, func(t *testing.T) {
			pool := t.TempDir()
			l := New(pool)
			for i := range 100 {
				l.use(epoch.Add(time.Duration(i)*time.Second), map[Client]*Counts{alice: bytesOf(1), bob: bytesOf(1)})
				require.NoError(t, l.save())
			}
			name := l.disk.segments[seconds][0].name
			l.kill()
			damage(t, filepath.Join(pool, folderName, name))

			_, err := Read(pool, Query{Since: time.Now().Add(-time.Hour)}) // changes nothing
			require.NoError(t, err)
			before, err := Check(pool)
			require.NoError(t, err)
			l = New(pool)
			says := logged(t, func() { require.NoError(t, l.save()) })
			aside := filepath.Join(pool, folderName, damagedName)
			if what == "truncated" || what == "empty" || what == "missing" {
				require.NotContains(t, says, "WARN")
				require.NoFileExists(t, aside)
				require.Empty(t, before)
			} else {
				require.Equal(t, 1, strings.Count(says, "is damaged and was set aside"), says)
				_, err := os.Lstat(aside)
				require.NoError(t, err)
				require.Len(t, before, 1)
				require.Equal(t, filepath.Join(pool, folderName, name), before[0].File)
				require.Error(t, before[0].Why)
				after, err := Check(pool)
				require.NoError(t, err)
				require.Equal(t, []Damage{{File: aside}}, after)
			}
			kept := total(t, pool, l, seconds, alice).SentBytes
			if strings.Contains(what, "middle") || what == "truncated" {
				require.InDelta(t, 50, kept, 45)
				require.Positive(t, kept)
			} else {
				require.Zero(t, kept)
			}
			l.use(epoch.Add(time.Hour), map[Client]*Counts{alice: bytesOf(1000)})
			require.NoError(t, l.save())
			l.kill()

			l = New(pool)
			require.Empty(t, logged(t, func() { require.NoError(t, l.save()) }))
			require.Equal(t, kept+1000, total(t, pool, l, seconds, alice).SentBytes)
			l.kill()
		})
	}
}

// The folder itself may be something else.
func TestFolderInTheWay(t *testing.T) {
	pool := t.TempDir()
	check := func(want ...Damage) {
		t.Helper()
		found, err := Check(pool)
		require.NoError(t, err)
		require.Equal(t, want, found)
	}
	check()
	require.NoError(t, os.WriteFile(filepath.Join(pool, folderName), []byte("bbolt"), 0o600))
	check(Damage{filepath.Join(pool, folderName), errNoFolder})
	l := New(pool)
	require.Contains(t, logged(t, func() { require.NoError(t, l.save()) }), "set aside")
	l.use(epoch, map[Client]*Counts{alice: bytesOf(5)})
	require.NoError(t, l.save())
	require.Equal(t, uint64(5), total(t, pool, l, days).SentBytes)
	l.kill()
	check(Damage{File: filepath.Join(pool, folderName+".damaged")})
	text, err := os.ReadFile(filepath.Join(pool, folderName+".damaged"))
	require.NoError(t, err)
	require.Equal(t, "bbolt", string(text))
}

// While the files can't be written, memory has what is used, within a bound, and one warning
// is logged. Then they are written again.
func TestCannotWrite(t *testing.T) {
	pool := t.TempDir()
	require.NoError(t, os.Chmod(pool, 0o700))
	l := New(pool)
	l.use(epoch, map[Client]*Counts{alice: bytesOf(1)})
	require.NoError(t, l.save())
	log := logged(t, func() {
		// As an administrator who wants to be rid of it, while the server runs.
		require.NoError(t, os.RemoveAll(filepath.Join(pool, folderName)))
		require.NoError(t, os.Rename(pool, pool+".away"))
		for i := range 3 {
			l.use(epoch.Add(time.Duration(i+1)*time.Hour), map[Client]*Counts{alice: bytesOf(1)})
			require.Error(t, l.save())
		}
		waits := make(map[int]int)
		for _, f := range l.state.queue {
			waits[f.ring]++
		}
		require.Equal(t, map[int]int{seconds: 2, minutes: 3, hours: 3, days: 1}, waits) // the last second is in no frame yet
		require.NoError(t, os.Rename(pool+".away", pool))
		require.NoError(t, l.save())
	})
	require.Equal(t, 1, strings.Count(log, "WARN"), log)
	require.Contains(t, log, "can be saved again")
	require.Empty(t, l.state.queue)
	l.kill()
	l = New(pool)
	require.NoError(t, l.save())
	require.Equal(t, uint64(3), total(t, pool, l, seconds).SentBytes)
	l.kill()

	// A bound: the finest ring loses first.
	s := newState()
	crowd := make(map[Client]*Counts)
	for i := range 10_000 {
		crowd[Client{noise.PublicKey{byte(i), byte(i >> 8)}, "x"}] = bytesOf(1)
	}
	for i := range 400 {
		s.add(epoch.Add(time.Duration(i)*time.Second), crowd)
		if i%8 == 0 {
			s.cut()
		}
		require.LessOrEqual(t, s.queued, maxQueued+maxPending+len(crowd))
	}
	rings := make(map[int]int)
	for _, f := range s.queue {
		rings[f.ring]++
	}
	require.GreaterOrEqual(t, rings[minutes], 4)
	require.Positive(t, s.dropped)
}

// A file that is made shorter while the server writes to it does no harm.
func TestShortened(t *testing.T) {
	pool := t.TempDir()
	l := New(pool)
	l.use(epoch, map[Client]*Counts{alice: bytesOf(1)})
	require.NoError(t, l.save())
	name := filepath.Join(pool, folderName, l.disk.segments[seconds][0].name)
	require.NoError(t, os.Truncate(name, 30))
	l.use(epoch.Add(time.Second), map[Client]*Counts{alice: bytesOf(1)})
	logged(t, func() {
		require.ErrorIs(t, l.save(), errChanged)
		require.NoError(t, l.save())
	})
	l.kill()
	require.Equal(t, uint64(1), total(t, pool, nil, seconds).SentBytes)
}

// The numbers of clients in a file stay those of a restarted server's.
func TestManyClients(t *testing.T) {
	pool := t.TempDir()
	l := New(pool)
	crowd := make(map[Client]*Counts)
	for i := range 40_000 {
		crowd[Client{noise.PublicKey{byte(i), byte(i >> 8)}, fmt.Sprint("c", i)}] = bytesOf(uint64(i))
	}
	var want uint64
	for round := range 4 { // all get new names
		now := make(map[Client]*Counts)
		for who, c := range crowd {
			now[Client{who.Key, fmt.Sprint(who.Name, "-", round)}] = c
			want += c.SentBytes
		}
		l.use(epoch.Add(time.Duration(round)*time.Second), now)
		require.NoError(t, l.save())
		require.LessOrEqual(t, len(l.state.clients.list), maxClients)
	}
	require.Equal(t, want, total(t, pool, l, minutes).SentBytes)
	l.kill()
	require.Equal(t, want, total(t, pool, nil, days).SentBytes)
}

func TestForget(t *testing.T) {
	pool := t.TempDir()
	fill := func() *Log {
		l := New(pool)
		for i := range 200 {
			l.use(epoch.Add(time.Duration(i)*time.Second), map[Client]*Counts{alice: bytesOf(1), bob: bytesOf(10)})
			if i%9 == 0 {
				require.NoError(t, l.save())
			}
		}
		renamed := Client{alice.Key, "alicia"}
		l.use(epoch.Add(time.Hour), map[Client]*Counts{renamed: bytesOf(100)})
		return l
	}
	erased := func() {
		t.Helper()
		for ring := range numRings {
			require.Equal(t, uint64(2000), total(t, pool, nil, ring).SentBytes, rings[ring].name)
		}
		root := filepath.Join(pool, folderName)
		names, err := os.ReadDir(root)
		require.NoError(t, err)
		for _, name := range names {
			_, isSegment := parseSegmentName(name.Name())
			require.True(t, isSegment, name)
		}
	}
	l := fill() // by a server that does not run
	require.NoError(t, l.save())
	l.kill()
	require.EqualError(t, Forget(t.Context(), pool, "carol"), "nothing is kept about a client with the name carol")
	require.NoError(t, Forget(t.Context(), pool, "alice"))
	erased()
	require.EqualError(t, Forget(t.Context(), pool, "alice"), "nothing is kept about a client with the name alice")

	require.NoError(t, os.RemoveAll(filepath.Join(pool, folderName)))
	l = fill() // by a server that runs, which still has a part in memory
	done := make(chan error)
	go func() { done <- Forget(context.Background(), pool, "alice") }()
	for len(done) == 0 {
		require.NoError(t, l.save())
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	l.kill()
	erased()
}

// The meter counts each session from its beginning to its end, also if both are between two
// looks.
func TestMeter(t *testing.T) {
	m := newMeter()
	now := time.Now()
	is := func(who Client, since, handshake time.Time, n uint64) hub.Status {
		return hub.Status{Name: who.Name, Key: who.Key, Since: since, Handshake: handshake, LoggedIn: true, ReceivedPackets: n, ReceivedBytes: 100 * n, SentPackets: 2 * n, SentBytes: 200 * n, Dropped: 3 * n}
	}
	look := func(there ...hub.Status) map[Client]Counts {
		got := make(map[Client]Counts)
		for who, c := range m.look(now, func() []hub.Status { return there }) {
			got[who] = *c
		}
		return got
	}
	count := func(n, handshakes, connected uint64) Counts {
		return Counts{ReceivedBytes: 100 * n, ReceivedPackets: n, SentBytes: 200 * n, SentPackets: 2 * n, Drops: 3 * n, Handshakes: handshakes, Connected: connected}
	}
	start := now
	now = now.Add(1500 * time.Millisecond)
	require.Equal(t, map[Client]Counts{alice: count(5, 1, 1)}, look(is(alice, start, start, 5), hub.Status{Name: "bob", Key: bob.Key, Since: start, ReceivedBytes: 7}))
	now = now.Add(time.Second)
	require.Equal(t, map[Client]Counts{alice: count(2, 1, 1)}, look(is(alice, start, now, 7)))
	require.Empty(t, look(is(alice, start, now, 7)), "nothing new")

	// It ends while the list is made, and so is in both; and another session has begun, and one
	// of bob has come and gone.
	rekeyed := now
	m.ended(is(alice, start, rekeyed, 9))
	m.over[0].at = now.Add(time.Second)
	m.ended(is(bob, now, time.Time{}, 4)) // which has left
	m.over[1].at = now.Add(time.Millisecond)
	now = now.Add(2 * time.Second)
	again := now.Add(-1200 * time.Millisecond)
	got := look(is(alice, start, rekeyed, 8), is(alice, again, again, 3))
	require.Equal(t, map[Client]Counts{alice: count(2+3, 1, 2+1), bob: count(4, 1, 1)}, got)
	now = now.Add(time.Second)
	require.Equal(t, map[Client]Counts{alice: count(1, 0, 1)}, look(is(alice, again, again, 4)))
	look()
	require.Empty(t, m.sessions)
}

// The log runs, writes within 10 s, and ends.
func TestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := t.TempDir()
		l := New(pool)
		start := time.Now()
		stop := l.Start(func() []hub.Status {
			return []hub.Status{{Name: "alice", Key: alice.Key, Since: start, Handshake: start, LoggedIn: true, SentBytes: uint64(time.Since(start) / time.Second)}}
		})
		time.Sleep(95500 * time.Millisecond)
		synctest.Wait()
		require.InDelta(t, 95, total(t, pool, nil, days).SentBytes, 9)
		r, err := l.Query(t.Context(), Query{Since: start})
		require.NoError(t, err)
		require.Equal(t, Counts{SentBytes: 95, Handshakes: 1, Connected: 95}, r.Rows[0].Counts)
		stop()
		require.Equal(t, uint64(95), total(t, pool, nil, days).SentBytes)
	})
}

func TestQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := t.TempDir()
		l := New(pool)
		now := time.Now() // 2000-01-01
		require.NoError(t, l.save())
		defer l.kill()
		old := Client{alice.Key, "al"}
		l.use(now.Add(-48*time.Hour), map[Client]*Counts{old: bytesOf(1_000_000)})
		l.use(now.Add(-90*time.Second), map[Client]*Counts{alice: bytesOf(1), bob: bytesOf(5)})
		l.use(now, map[Client]*Counts{alice: bytesOf(2)})
		ask := func(q Query) []string {
			t.Helper()
			r, err := l.Query(t.Context(), q)
			require.NoError(t, err)
			var list []string
			for _, row := range r.Rows {
				at := ""
				if !row.Time.IsZero() {
					at = row.Time.Format(" 2006-01-02T15:04:05")
				}
				list = append(list, fmt.Sprintf("%s%s %d", row.Client, at, row.SentBytes))
			}
			return list
		}
		for range 2 { // before and after it is written
			require.Equal(t, []string{"alice 3", "bob 5"}, ask(Query{Since: now.Add(-time.Hour)}))
			require.Equal(t, []string{"alice 1000003", "bob 5"}, ask(Query{Since: now.Add(-49 * time.Hour)}), "by the latest name")
			require.Equal(t, []string{"alice 2"}, ask(Query{Since: now.Add(-time.Minute)}))
			require.Equal(t, []string{"alice 1", "bob 5"}, ask(Query{Since: now.Add(-time.Hour), Until: now.Add(-time.Minute)}))
			require.Equal(t, []string{"alice 1999-12-31T23:58:00 1", "alice 2000-01-01T00:00:00 2"}, ask(Query{Client: "alice", Since: now.Add(-time.Hour), Step: time.Minute}))
			require.Equal(t, []string{" 1999-12-31T23:58:30 6", " 2000-01-01T00:00:00 2"}, ask(Query{Since: now.Add(-time.Hour), Step: time.Second}))
			require.Equal(t, []string{"al 1999-12-30T00:00:00 1000000", "alice 1999-12-31T00:00:00 1", "alice 2000-01-01T00:00:00 2"},
				ask(Query{Client: "al", Since: now.Add(-300 * 24 * time.Hour), Step: 24 * time.Hour}), "the same key")
			require.Equal(t, []string{"bob 1999-12-31T00:00:00 5"}, ask(Query{Client: "bob", Since: now.AddDate(-20, 0, 0), Step: 24 * time.Hour}), "longer than anything is kept")
			require.Empty(t, ask(Query{Client: "carol", Since: now.Add(-time.Hour)}))
			require.NoError(t, l.save())
		}
		for _, q := range []Query{{Since: now, Step: time.Millisecond}, {Since: now.Add(-2 * time.Hour), Step: time.Second}, {Since: now, Until: now.Add(-time.Hour)}} {
			_, err := l.Query(t.Context(), q)
			require.Error(t, err, q)
		}
		_, err := Read(t.TempDir(), Query{Since: now})
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

// A name that several clients have had in turn is that of the client that has it now, whatever the clock said. What
// has no owner any more is of all who had it.
func TestQueryNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := t.TempDir()
		l := New(pool)
		now := time.Now()
		require.NoError(t, l.save())
		defer l.kill()
		l.use(now.Add(-3*time.Hour), map[Client]*Counts{{alice.Key, "phone"}: bytesOf(1), {bob.Key, "tablet"}: bytesOf(10)})
		l.use(now.Add(-time.Hour), map[Client]*Counts{{alice.Key, "old"}: bytesOf(2)})
		l.use(now.Add(-2*time.Hour), map[Client]*Counts{{bob.Key, "phone"}: bytesOf(20)}) // the clock was set back
		sent := func(name string, step time.Duration) (n uint64) {
			t.Helper()
			r, err := l.Query(t.Context(), Query{Client: name, Since: now.Add(-20 * time.Hour), Step: step})
			require.NoError(t, err)
			for _, row := range r.Rows {
				n += row.SentBytes
			}
			return n
		}
		for range 2 { // before and after it is written
			for _, step := range []time.Duration{0, time.Minute, time.Hour, 24 * time.Hour} {
				require.EqualValues(t, 30, sent("phone", step), step)
				require.EqualValues(t, 3, sent("old", step), step)
				require.EqualValues(t, 30, sent("tablet", step), "a name that nobody has any more: %v", step)
			}
			require.NoError(t, l.save())
		}
		l.use(now, map[Client]*Counts{{bob.Key, "new"}: bytesOf(40)})
		require.EqualValues(t, 73, sent("phone", 0), "both have had it")
	})
}

// An answer that lacks what is on the disk is none.
func TestQueryCannotRead(t *testing.T) {
	pool := t.TempDir()
	l := New(pool)
	l.use(time.Now(), map[Client]*Counts{alice: bytesOf(1)})
	require.NoError(t, l.save())
	defer l.kill()
	ask := Query{Since: time.Now().Add(-time.Minute)}
	_, err := l.Query(t.Context(), ask)
	require.NoError(t, err)

	left, leave := context.WithCancel(t.Context())
	leave()
	_, err = answer(left, nil, l.state.memory(), ask, time.Now())
	require.NoError(t, err, "what is in memory takes no time")
	root, err := openFolder(pool)
	require.NoError(t, err)
	_, err = answer(left, root, l.state.memory(), ask, time.Now())
	require.ErrorIs(t, err, context.Canceled)
	l.asked <- struct{}{} // while another query is answered
	_, err = l.Query(left, ask)
	require.ErrorIs(t, err, context.Canceled)
	<-l.asked
	require.NoError(t, root.Close())
	_, err = answer(t.Context(), root, l.state.memory(), ask, time.Now())
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestWrite(t *testing.T) {
	r := &Result{Since: epoch, Until: epoch.Add(time.Hour), Rows: []Row{
		{Client: "@alice", Key: "+a", Counts: Counts{1_234_567, 1000, 99, 2, 3, 4, 3700}},
		{Client: "bob\x1b[2J"},
	}}
	var b strings.Builder
	require.NoError(t, r.WriteTable(&b))
	require.Equal(t, `since 2026-11-01T23:58:00Z

CLIENT   SENT  RECEIVED  PACKETS OUT  PACKETS IN  HANDSHAKES  DROPPED  CONNECTED
@alice   99 B  1.2 MB    2            1000        3           4        1h1m
bob�[2J  0 B   0 B       0            0           0           0        0s
total    99 B  1.2 MB    2            1000        3           4        1h1m
`, b.String())
	b.Reset()
	require.NoError(t, r.WriteCSV(&b))
	lines, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"'@alice", "", "99", "1234567", "2", "1000", "3", "4", "3700"}, lines[1])
	b.Reset()
	require.NoError(t, r.WriteJSON(&b))
	var again Result
	require.NoError(t, json.Unmarshal([]byte(b.String()), &again))
	require.Equal(t, *r, again)
}

// Whatever is in a file, reading it ends, in bounded memory, and what is read is sound.
func FuzzSegment(f *testing.F) {
	pool := f.TempDir()
	l := New(pool)
	for i := range 20 {
		l.use(epoch.Add(time.Duration(i)*time.Second), map[Client]*Counts{alice: bytesOf(1), bob: bytesOf(10)})
		require.NoError(f, l.save())
	}
	name := l.disk.segments[seconds][0].name
	l.kill()
	good, err := os.ReadFile(filepath.Join(pool, folderName, name))
	require.NoError(f, err)
	f.Add(good, uint32(0))
	f.Add(good[:len(good)-7], uint32(99))
	f.Add([]byte(magic), uint32(3))
	f.Fuzz(func(t *testing.T, text []byte, seed uint32) {
		pool := t.TempDir()
		dir := filepath.Join(pool, folderName)
		require.NoError(t, os.Mkdir(dir, 0o700))
		if len(text) > len(magic) && seed > 0 { // most of what a fuzzer does ends at a checksum
			at := len(magic) + int(seed)%(len(text)-len(magic))
			text = slices.Clone(text)
			text[at] ^= byte(seed >> 16)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		log := New(pool)
		logged(t, func() { require.NoError(t, log.save()) })
		log.use(epoch.Add(time.Hour), map[Client]*Counts{alice: bytesOf(1)})
		require.NoError(t, log.save())
		log.kill()
		log = New(pool)
		require.Empty(t, logged(t, func() { require.NoError(t, log.save()) }), "a second start finds nothing")
		log.kill()
	})
}

// FuzzBody is about what a checksum does not keep out: the writer may be hostile.
func FuzzBody(f *testing.F) {
	g := frame{ring: seconds, groups: []group{{5, []entry{{0, *bytesOf(1)}, {1, *bytesOf(70000)}}}}, clients: new(clientIDs)}
	g.clients.id(alice)
	g.clients.id(bob)
	b, err := g.encode(map[uint32]bool{})
	require.NoError(f, err)
	f.Add(b[headerSize:])
	f.Fuzz(func(t *testing.T, body []byte) {
		d, n := newDecoder(rings[seconds]), 0
		d.decode(bytes.NewReader(body), func(slot int64, who Client, c Counts) bool {
			require.NotEmpty(t, who.Name)
			_, err := json.Marshal(rings[seconds].start(slot))
			require.NoError(t, err)
			n++
			return n < 1_000_000
		})
	})
}

// Whatever is asked, there is an answer in JSON, or an error that says what is wrong with the question.
func FuzzParseQuery(f *testing.F) {
	pool := f.TempDir()
	l := New(pool)
	l.use(time.Now().Add(-time.Hour), map[Client]*Counts{alice: bytesOf(1)})
	require.NoError(f, l.save())
	l.use(time.Now(), map[Client]*Counts{alice: bytesOf(1), bob: bytesOf(10)})
	f.Cleanup(l.kill)
	for _, text := range []string{"", "client=alice&step=1m", "since=2026-11-01T06:00:00Z&until=2026-11-02T06:00:00%2b14:00&step=24h", "since=0000-01-01T00:00:00%2b23:59",
		"since=0000-01-01T00:00:00%2b23:59&until=9999-12-31T23:59:59-23:59", "step=-1h", "client=%00", "since=1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := ParseQuery(values.Get)
		if err != nil {
			require.True(t, app.IsUsage(err), err)
			require.Less(t, len(err.Error()), 400)
			return
		}
		again, err := ParseQuery(q.Values().Get)
		require.NoError(t, err)
		require.Equal(t, q.Values(), again.Values(), "a query is what its parameters say")
		r, err := l.Query(t.Context(), q)
		if err != nil {
			require.True(t, app.IsUsage(err), err)
			return
		}
		require.LessOrEqual(t, len(r.Rows), maxRows)
		_, err = json.Marshal(r)
		require.NoError(t, err)
	})
}

// TestTenThousand measures what 10,000 clients take, a tenth of them with traffic, and shows it.
// The files have a bound.
func TestTenThousand(t *testing.T) {
	const n = 10_000
	length := soak.Pick(t, 64, 2*3600) // seconds
	pool := t.TempDir()
	l := New(pool)
	require.NoError(t, l.save())
	defer l.kill()
	rnd := rand.New(rand.NewPCG(1, 2))
	all := make([]Client, n)
	for i := range all {
		all[i] = Client{Name: fmt.Sprint("client", i)}
		for j := range all[i].Key {
			all[i].Key[j] = byte(rnd.Uint32())
		}
	}
	var before, last syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	for second := range length {
		used := make(map[Client]*Counts, n)
		for i, who := range all {
			c := &Counts{Connected: 1}
			if (i+second/10)%10 == 0 { // a tenth of them does something, for 10 s each
				p := rnd.Uint64N(800)
				c.ReceivedPackets, c.ReceivedBytes, c.SentPackets, c.SentBytes = p/3, p*30, p, p*1300
			}
			used[who] = c
		}
		l.use(epoch.Add(time.Duration(second)*time.Second), used)
		if second%8 == 0 {
			require.NoError(t, l.save())
		}
	}
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &last))
	sizes := make(map[string]int64)
	names, err := os.ReadDir(filepath.Join(pool, folderName))
	require.NoError(t, err)
	for _, name := range names {
		info, err := name.Info()
		require.NoError(t, err)
		ring, _, _ := strings.Cut(name.Name(), "-")
		sizes[ring] += info.Size()
	}
	for _, ring := range slices.Sorted(maps.Keys(sizes)) {
		t.Logf("%s: %.1f MB", ring, float64(sizes[ring])/1e6)
	}
	require.Less(t, sizes["seconds"], int64(min(length, 3900)*n*6), "a few bytes for each client and second")
	t.Logf("written each 10 s: %.2f MB", float64(last.Oublock-before.Oublock)*512/1e6/float64(length)*10)
	cpu := time.Duration(last.Utime.Nano()+last.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()) / time.Duration(length)
	t.Logf("CPU: %v for each second; the most memory, of this test with its own data: %d MB", cpu, last.Maxrss/1024)
}
