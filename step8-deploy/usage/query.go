package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// A Query says what is asked.
type Query struct {
	Client string        // the name of a client or, if none has it now, one that clients had; "": all clients
	Since  time.Time     // required
	Until  time.Time     // zero: now
	Step   time.Duration // of a row: that of a ring; 0: one row for each client, for all of the time
}

// Values returns a query as the parameters of GET /v1/usage, which ParseQuery reads.
func (q *Query) Values() url.Values {
	v := url.Values{"since": {q.Since.UTC().Format(time.RFC3339)}}
	if q.Client != "" {
		v.Set("client", q.Client)
	}
	if !q.Until.IsZero() {
		v.Set("until", q.Until.UTC().Format(time.RFC3339))
	}
	if q.Step != 0 {
		v.Set("step", q.Step.String())
	}
	return v
}

// ParseQuery reads the parameters of GET /v1/usage, which get returns by name: client, since and until
// (RFC 3339), and step, such as "1m". "" stands for one that is missing: all clients, a day ago, now, and no steps.
func ParseQuery(get func(name string) string) (q Query, err error) {
	moment := func(name string, missing time.Time) (t time.Time) {
		if t = missing; get(name) != "" {
			var wrong error
			t, wrong = time.Parse(time.RFC3339, get(name))
			if t = t.UTC(); wrong != nil || t.Year() < 1 || t.Year() > 9999 { // in UTC, the year may be another one, which JSON has no form for
				err = app.Usage("%s is %.40q, and not a time such as 2026-11-01T06:00:00Z", name, get(name))
			}
		}
		return t
	}
	q.Since = moment("since", time.Now().Add(-24*time.Hour))
	q.Until = moment("until", time.Time{})
	if q.Client = get("client"); q.Client != "" && identity.CheckName(q.Client) != nil {
		err = app.Usage("client is not the name of a client")
	}
	if step := get("step"); step != "" {
		var wrong error
		if q.Step, wrong = time.ParseDuration(step); wrong != nil || q.Step <= 0 {
			err = app.Usage("step is %.40q: it can be %s", step, words(Steps()))
		}
	}
	return q, err
}

// A Result is the answer to a Query.
type Result struct {
	Since time.Time `json:"since"` // of the first slot that counts, which may have begun earlier than asked
	Until time.Time `json:"until"`
	Step  int64     `json:"step_seconds"` // of a row; 0: a row has all of the time
	Rows  []Row     `json:"rows"`
}

// A Row says what one client has used, or, if Key is "", what all have used together.
type Row struct {
	Client string    `json:"client,omitempty"` // its name; the latest, if it had several
	Key    string    `json:"key,omitempty"`    // in base64
	Time   time.Time `json:"time,omitzero"`    // when the step begins
	Counts
}

// Steps are the possible values of Query.Step, apart from 0.
func Steps() (list []time.Duration) {
	for _, r := range rings {
		list = append(list, r.step)
	}
	return list
}

// FitStep returns the step with which some time has a readable number of rows.
func FitStep(span time.Duration) time.Duration {
	switch {
	case span <= 2*time.Minute:
		return time.Second
	case span <= 2*time.Hour:
		return time.Minute
	case span <= 3*24*time.Hour:
		return time.Hour
	}
	return 24 * time.Hour
}

// ring returns the finest ring that has enough slots, or the one that has the step.
func (q *Query) ring(now time.Time) (int, error) {
	if q.Step == 0 {
		for i, r := range rings {
			if now.Sub(q.Since) <= r.span() {
				return i, nil
			}
		}
		return days, nil
	}
	i := slices.Index(Steps(), q.Step)
	if i < 0 {
		return 0, app.Usage("a step of %v: it can be %v", q.Step, words(Steps()))
	}
	if i < days && now.Sub(q.Since) > rings[i].span()+rings[i].step { // what is too old for days is nowhere
		return 0, app.Usage("steps of %v are kept for %v: ask for less, or for larger steps", q.Step, rings[i].span())
	}
	return i, nil
}

func words(list []time.Duration) string {
	var words []string
	for _, d := range list {
		words = append(words, d.String())
	}
	return strings.Join(words, ", ")
}

// Query answers a query, one at a time. Rows without any use are left out.
func (l *Log) Query(ctx context.Context, q Query) (*Result, error) {
	select {
	case l.asked <- struct{}{}:
		defer func() { <-l.asked }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	root, err := openFolder(l.pool)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		root = nil // there is only what is in memory
	} else if err != nil {
		return nil, err
	}
	if root != nil {
		defer root.Close()
	}
	l.mu.Lock()
	m := l.state.memory()
	l.mu.Unlock()
	return answer(ctx, root, m, q, time.Now())
}

// Read answers a query about a server that does not run, or can't be asked, from its files in
// the folder pool. It changes nothing.
func Read(pool string, q Query) (*Result, error) {
	root, err := openFolder(pool)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	segments, err := list(root)
	if err != nil {
		return nil, err
	}
	s := newState()
	err = s.replay(root, &segments, func(g *segment, _ int64, err error) (bool, error) {
		if !errors.Is(err, errTorn) {
			slog.Warn("a file of the clients' usage is damaged: the rest of it is not counted", "file", filepath.Join(pool, folderName, g.name), "damage", err)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return answer(context.Background(), root, s.memory(), q, time.Now())
}

// openFolder opens our folder inside of the folder pool.
func openFolder(pool string) (*os.Root, error) {
	outer, err := os.OpenRoot(pool)
	if err != nil {
		return nil, err
	}
	defer outer.Close()
	return outer.OpenRoot(folderName)
}

// A memory is what was in a state at one moment.
type memory struct {
	written uint64 // frames up to this number are in the files
	queue   []*frame
	groups  [numRings][]group // what is in no frame yet
	clients []Client
}

// memory returns what is in a state. The caller must hold Log.mu.
func (s *state) memory() *memory {
	m := &memory{written: s.seq, queue: slices.Clone(s.queue), clients: s.clients.list}
	if len(m.queue) > 0 {
		m.written = m.queue[0].seq - 1
	}
	m.groups[seconds] = slices.Clone(s.pending)
	for i := minutes; i < numRings; i++ {
		// An hour has yet to get its last minute, and so on.
		for j := i; j >= minutes; j-- {
			g := s.sums[j].group()
			for k := j; k < i; k++ {
				g.slot = above(k, g.slot)
			}
			m.groups[i] = append(m.groups[i], g)
		}
	}
	return m
}

// maxRows bounds an answer with steps: no ring has more slots.
const maxRows = 3600 + 2

// answer answers a query from a folder, which may be nil, and what was in memory.
func answer(ctx context.Context, root *os.Root, m *memory, q Query, now time.Time) (*Result, error) {
	if q.Until.IsZero() {
		q.Until = now
	}
	i, err := q.ring(now)
	if err != nil {
		return nil, err
	}
	if q.Until.Before(q.Since) {
		return nil, app.Usage("the time until %s is before its start, %s", q.Until.Format(time.RFC3339), q.Since.Format(time.RFC3339))
	}
	first, last := rings[i].slot(q.Since), rings[i].slot(q.Until)

	var wanted map[noise.PublicKey]bool
	if q.Client != "" {
		if wanted, err = keysOf(ctx, root, m, i, q.Client); err != nil {
			return nil, err
		}
	}
	sums := make(map[rowID]*sum)
	err = each(ctx, root, m, i, func(slot int64, who Client, c Counts) {
		if slot < first || slot > last || wanted != nil && !wanted[who.Key] {
			return
		}
		var id rowID
		if q.Step > 0 {
			id.slot = slot
		} else {
			id.key = who.Key
		}
		s := sums[id]
		if s == nil {
			if q.Step > 0 && len(sums) >= maxRows {
				return
			}
			s = new(sum)
			sums[id] = s
		}
		s.Add(c)
		s.who = who
	})
	if err != nil {
		return nil, err
	}

	r := &Result{Since: rings[i].start(first), Until: q.Until.UTC().Truncate(time.Second), Step: int64(q.Step / time.Second), Rows: []Row{}}
	for id, s := range sums {
		row := Row{Counts: s.Counts}
		if q.Step == 0 || q.Client != "" {
			row.Client, row.Key = s.who.Name, noise.FormatKey(s.who.Key)
		}
		if q.Step > 0 {
			row.Time = rings[i].start(id.slot)
		}
		r.Rows = append(r.Rows, row)
	}
	slices.SortFunc(r.Rows, func(a, b Row) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Key, b.Key))
	})
	return r, nil
}

type rowID struct {
	key  noise.PublicKey // if rows are by client
	slot int64           // if they are by time
}

type sum struct {
	Counts
	who Client // the newest one
}

// keysOf returns the keys whose latest name this is. A name may be another client's by now: only if it is nobody's,
// those count who once had it.
func keysOf(ctx context.Context, root *os.Root, m *memory, ring int, name string) (map[noise.PublicKey]bool, error) {
	now, once := make(map[noise.PublicKey]bool), make(map[noise.PublicKey]bool)
	err := each(ctx, root, m, ring, func(_ int64, who Client, _ Counts) {
		if who.Name == name {
			now[who.Key], once[who.Key] = true, true
		} else {
			delete(now, who.Key)
		}
	})
	if len(now) == 0 {
		now = once
	}
	return now, err
}

// each calls add for everything that is known of a ring, from the oldest to the newest. A segment that is damaged
// is read up to the damage. It returns early when ctx ends.
func each(ctx context.Context, root *os.Root, m *memory, ring int, add func(slot int64, who Client, c Counts)) error {
	if root != nil {
		all, err := list(root)
		if err != nil {
			return err
		}
		for _, g := range all[ring] {
			d := newDecoder(rings[ring])
			_, err := g.read(root, func(h header, body io.Reader) error {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return d.decode(body, func(slot int64, who Client, c Counts) bool {
					if h.seq <= m.written {
						add(slot, who, c)
					}
					return true
				})
			})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, fs.ErrNotExist) && !isDamage(err) {
				return err
			}
		}
	}
	groups := func(list []group, clients []Client) {
		for _, g := range list {
			for _, e := range g.entries {
				add(g.slot, clients[e.id], e.Counts)
			}
		}
	}
	for _, f := range m.queue {
		if f.ring == ring {
			groups(f.groups, f.clients.list)
		}
	}
	groups(m.groups[ring], m.clients)
	return nil
}

// NotKept says that there is nothing to read.
func NotKept(pool string) error {
	return app.Hint(fmt.Errorf("nothing is known of what clients use: there is no %s", filepath.Join(pool, folderName)),
		"The server keeps it there unless usage = false is in its settings.")
}
