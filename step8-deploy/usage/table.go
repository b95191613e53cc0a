package usage

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/status"
)

// WriteTable writes a table for people.
func (r *Result) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "since %s\n\n", r.Since.Format(time.RFC3339))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "CLIENT"
	if r.Step > 0 {
		head = "TIME"
	}
	fmt.Fprintln(t, head+"\tSENT\tRECEIVED\tPACKETS OUT\tPACKETS IN\tHANDSHAKES\tDROPPED\tCONNECTED")
	var all Counts
	for _, row := range r.Rows {
		first := clean(row.Client)
		if r.Step > 0 {
			first = row.Time.Format(time.RFC3339)
		}
		row.write(t, first)
		all.Add(row.Counts)
	}
	switch len(r.Rows) {
	case 0:
		fmt.Fprintln(t, "(none)")
	case 1:
	default:
		Row{Counts: all}.write(t, "total")
	}
	return t.Flush()
}

// clean keeps a name that another host has sent from taking over the terminal.
func clean(s string) string { return strings.Join(strings.Fields(app.Printable(s)), " ") }

func (row Row) write(w io.Writer, first string) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", first, status.Size(float64(row.SentBytes)), status.Size(float64(row.ReceivedBytes)),
		row.SentPackets, row.ReceivedPackets, row.Handshakes, row.Drops, connected(row.Connected))
}

// connected prints a number of seconds.
func connected(seconds uint64) string {
	return status.Span(time.Duration(min(seconds, 1<<32)) * time.Second)
}

// WriteJSON writes the result as JSON, in one line.
func (r *Result) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// WriteCSV writes comma-separated values (RFC 4180), with a line of names first.
//
// A spreadsheet takes a text that begins with =, +, - or @ for a formula. Of these, a client's
// name can begin with @: then it gets an apostrophe in front.
func (r *Result) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	out.Write([]string{"client", "time", "sent_bytes", "received_bytes", "sent_packets", "received_packets", "handshakes", "dropped_packets", "connected_seconds"})
	for _, row := range r.Rows {
		name, at := row.Client, ""
		if strings.HasPrefix(name, "@") {
			name = "'" + name
		}
		if !row.Time.IsZero() {
			at = row.Time.Format(time.RFC3339)
		}
		line := []string{name, at}
		for _, n := range []uint64{row.SentBytes, row.ReceivedBytes, row.SentPackets, row.ReceivedPackets, row.Handshakes, row.Drops, row.Connected} {
			line = append(line, strconv.FormatUint(n, 10))
		}
		out.Write(line)
	}
	out.Flush()
	return out.Error()
}
