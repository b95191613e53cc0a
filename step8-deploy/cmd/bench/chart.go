package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
)

// chart draws the medians as SVG.
func (r *results) chart() []byte {
	var body bytes.Buffer
	x, y, height := 0, 0, 0
	for _, c := range charted {
		if !r.has(c.id) {
			continue
		}
		h := r.panel(&body, c.id, c.title, c.unit, x, y)
		height = max(height, y+h)
		if x == 0 {
			x = panelWidth
		} else {
			x, y = 0, height
		}
	}
	note := fmt.Sprintf("Medians of %d rounds in one run. %s.", r.Rounds, r.Host)
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
%s<text x="10" y="%d" fill="#555">%s</text>
</svg>
`, 2*panelWidth, height+30, body.Bytes(), height+18, html.EscapeString(note))
	return out.Bytes()
}

// The chart has a panel for each of these measures, with a bar for each contender. Axes
// always start at 0.

var charted = []struct{ id, title, unit string }{
	{"tcp-up", "TCP, one stream, to the server", "Gbit/s, more is better"},
	{"nat-down", "TCP, one stream, from the web through NAT", "Gbit/s, more is better"},
	{"udp-64", "UDP packets of 64 bytes without loss", "1,000 per second, more is better"},
	{"cpu", "CPU time per GB, both ends", "seconds, less is better"},
	{"ping", "round trip, idle, average", "ms, less is better"},
	{"memory-server", "peak memory of the server, 1 client", "MB, less is better"},
}

const (
	panelWidth = 460
	labelWidth = 100
	valueWidth = 60
	barHeight  = 15
	barStep    = 20
	titleRoom  = 44
)

// panel draws one measure and returns its height.
func (r *results) panel(out *bytes.Buffer, id, title, unit string, x, y int) int {
	var m measure
	for _, each := range measures {
		if each.ID == id {
			m = each
		}
	}
	most := 0.0
	for _, c := range r.Contenders {
		if v := r.median(c, id); v > most { // false for NaN
			most = v
		}
	}
	fmt.Fprintf(out, `<text x="%d" y="%d" font-weight="bold">%s</text><text x="%d" y="%d" fill="#555">%s</text>`+"\n",
		x+10, y+20, html.EscapeString(title), x+10, y+35, html.EscapeString(unit))
	row := y + titleRoom
	for _, c := range r.Contenders {
		v := r.median(c, id)
		if math.IsNaN(v) {
			continue
		}
		colour := "#9aa7b5"
		if strings.HasPrefix(c, "step 8") {
			colour = "#1b6ac9"
		}
		width := int(math.Round(v / most * (panelWidth - labelWidth - valueWidth - 10)))
		fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%d" height="%d" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
			x+labelWidth-6, row+12, html.EscapeString(c),
			x+labelWidth, row, width, barHeight, colour,
			x+labelWidth+width+5, row+12, m.text(v))
		row += barStep
	}
	return row - y + 10
}
