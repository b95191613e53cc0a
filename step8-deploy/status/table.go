package status

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"stepvpn/shared/app"
)

// Write prints the report for people: it is the output of 'stepvpn status'.
func (r *Report) Write(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s (version %s, started %s ago)\n", clean(r.Role), clean(r.State), clean(r.Version), Span(r.Now.Sub(r.Started)))
	if r.Reason != "" {
		fmt.Fprintf(w, "problem: %s\n", clean(r.Reason))
	}
	if r.Cure != "" {
		fmt.Fprintf(w, "what to do: %s\n", clean(r.Cure))
	}
	if r.Device != "" {
		fmt.Fprintf(w, "device %s, mtu %d\n", clean(r.Device), r.MTU)
	}
	if r.KillSwitch != "" {
		fmt.Fprintf(w, "kill switch: %s\n", clean(r.KillSwitch))
	}
	for _, n := range r.NotLocal {
		fmt.Fprintf(w, "not local: %s\n", clean(n))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", clean(n))
	}
	if r.NextKey != "" {
		fmt.Fprintf(w, "the server's key changes to %s; clients that still use the old one: %s\n", clean(r.NextKey), r.byOldKey())
	}
	fmt.Fprintf(w, "dropped: %s\n\n", drops(r.Drops))

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PEER\tADDRESSES\tENDPOINT\tHANDSHAKE\tSENT\tRECEIVED\tRATE OUT\tRATE IN")
	peers := slices.Clone(r.Peers)
	slices.SortFunc(peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range peers {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s/s\t%s/s\n", clean(p.Name), addresses(p), endpoint(p.Endpoint),
			ago(r.Now, p.Handshake), Size(float64(p.Sent.Bytes)), Size(float64(p.Received.Bytes)), Size(p.Sent.Rate), Size(p.Received.Rate))
	}
	if len(peers) == 0 {
		fmt.Fprintln(t, "(none)")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range peers {
		p.writeState(w)
	}
	return nil
}

// writeState says how a peer is that has a state of its own.
func (p Peer) writeState(w io.Writer) {
	switch {
	case p.State == "":
	case p.Reason != "":
		fmt.Fprintf(w, "%s is %s: %s\n", clean(p.Name), clean(p.State), clean(p.Reason))
	case p.State == Up:
		fmt.Fprintf(w, "%s is up, by the age of its handshake: a server of the WireGuard protocol answers no probe\n", clean(p.Name))
	default:
		fmt.Fprintf(w, "%s is %s\n", clean(p.Name), clean(p.State))
	}
}

// byOldKey lists the connected clients that do not use the server's next key.
func (r *Report) byOldKey() string {
	var names []string
	for _, p := range r.Peers {
		if !p.NextKey {
			names = append(names, clean(p.Name))
		}
	}
	slices.Sort(names)
	return cmp.Or(strings.Join(names, ", "), "none that is connected")
}

// clean keeps a name that came from outside from taking over the terminal, or from
// looking like a line of its own.
func clean(s string) string { return strings.Join(strings.Fields(app.Printable(s)), " ") }

func drops(d map[string]uint64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(d)) {
		if d[reason] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", clean(reason), d[reason]))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

// maxShown is how many networks of a peer are shown.
const maxShown = 4

// addresses lists a peer's addresses, or the networks that it has.
func addresses(p Peer) string {
	var parts []string
	for _, a := range p.Addresses {
		parts = append(parts, a.String())
	}
	for i, n := range p.AllowedIPs {
		if i == maxShown {
			parts = append(parts, fmt.Sprintf("and %d more", len(p.AllowedIPs)-i))
			break
		}
		parts = append(parts, n.String())
	}
	return cmp.Or(strings.Join(parts, ","), "-")
}

func endpoint(e netip.AddrPort) string {
	if !e.IsValid() {
		return "-"
	}
	return e.String()
}

func ago(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return Span(now.Sub(then)) + " ago"
}

// Span prints a time in its two largest units, such as "3h12m".
func Span(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	days, hours, minutes, seconds := d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60, d/time.Second%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm%ds", minutes, seconds)
	}
	return fmt.Sprintf("%ds", seconds)
}

// Size prints a number of bytes, in powers of 1000.
func Size(bytes float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB", "TB"} {
		if bytes < 999.5 || unit == "TB" {
			if unit == "B" || bytes >= 99.95 {
				return fmt.Sprintf("%.0f %s", bytes, unit)
			}
			return fmt.Sprintf("%.1f %s", bytes, unit)
		}
		bytes /= 1000
	}
	panic("unreachable")
}
