package app

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// The log lines that others cause are bounded, so that no client, nor all clients and
// strangers together, can fill the disk or hide what others do. A line is bounded if it has
// an attribute "client", a name, or "peer", an address. Each client has a bound of its own.
// Anybody can have many addresses, so lines without a client share one bound per message.
const (
	logPer     = time.Minute
	logClient  = 20   // lines in each logPer about one client, or with one message
	logAll     = 300  // lines in each logPer about all of them
	logVerbose = 6000 // the same for the level Debug
)

// A bounded is a slog.Handler that leaves out lines beyond the bounds, and logs how many.
type bounded struct {
	slog.Handler
	client string // the logger's attribute "client", if any
	peer   bool   // the logger has an attribute "peer"
	*lineCounts
}

// lineCounts are the counts that all handlers share.
type lineCounts struct {
	say func(left int, most string)

	mu    sync.Mutex // guards all below
	since time.Time
	all   [2]int         // lines at the level Debug, and other lines
	lines map[string]int // lines for each client or message, including those left out
	left  int            // lines that were left out
}

// bound returns a Handler that is bounded.
func bound(h slog.Handler) slog.Handler {
	return &bounded{Handler: h, lineCounts: &lineCounts{say: func(left int, most string) {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were left out: clients or strangers cause too many", 0)
		r.AddAttrs(slog.Int("lines", left), slog.String("most", most))
		h.Handle(context.Background(), r)
	}}}
}

func (b *bounded) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *b
	c.Handler = b.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		c.note(a)
	}
	return &c
}

func (b *bounded) WithGroup(name string) slog.Handler {
	c := *b
	c.Handler = b.Handler.WithGroup(name)
	return &c
}

func (b *bounded) note(a slog.Attr) {
	switch a.Key {
	case "client":
		b.client = a.Value.String()
	case "peer":
		b.peer = true
	}
}

func (b *bounded) Handle(ctx context.Context, r slog.Record) error {
	who := *b
	r.Attrs(func(a slog.Attr) bool { who.note(a); return true })
	if who.client == "" && !who.peer {
		return b.Handler.Handle(ctx, r)
	}
	key := who.client
	if key == "" {
		key = r.Message
	}
	if !b.take(key, r.Level < slog.LevelInfo, time.Now()) {
		return nil
	}
	return b.Handler.Handle(ctx, r)
}

// take reports whether there is room for one more line.
func (c *lineCounts) take(key string, verbose bool, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines == nil || now.Sub(c.since) >= logPer {
		c.renew(now)
	}
	class, most := 1, logAll
	if verbose {
		class, most = 0, logVerbose
	}
	_, known := c.lines[key]
	room := c.all[class] < most
	if known || room && !verbose { // so the map is bounded
		c.lines[key]++
	}
	if room && (verbose || c.lines[key] <= logClient) {
		c.all[class]++
		return true
	}
	if c.left++; c.left == 1 {
		time.AfterFunc(logPer-now.Sub(c.since), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.since.After(now) {
				c.renew(time.Now())
			}
		})
	}
	return false
}

// renew logs how many lines were left out, and starts counting again from zero.
func (c *lineCounts) renew(now time.Time) {
	if c.left > 0 {
		most, n := "", 0
		for key, lines := range c.lines {
			if lines > n {
				most, n = key, lines
			}
		}
		c.say(c.left, most)
	}
	c.since, c.all, c.lines, c.left = now, [2]int{}, make(map[string]int), 0
}

// A printable writes lines that are safe to show on a terminal: slog quotes the values of
// attributes, but not the message. Each Write is one line.
type printable struct{ io.Writer }

func (p printable) Write(line []byte) (int, error) {
	text := strings.ReplaceAll(strings.TrimSuffix(string(line), "\n"), "\n", " ")
	if _, err := io.WriteString(p.Writer, Printable(text)+"\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}
