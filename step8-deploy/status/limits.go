package status

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// This file shows what a peer may use, and has used.

// writeLimits says it for people, unless there is no limit.
func (p Peer) writeLimits(w io.Writer) {
	var parts []string
	for _, l := range []struct {
		name string
		rate int64
	}{{"down", p.LimitDown}, {"up", p.LimitUp}} {
		if l.rate != 0 {
			parts = append(parts, fmt.Sprintf("%s at most %s", l.name, bitRate(l.rate)))
		}
	}
	if q := p.Quota; q != nil {
		used := "of its quota of"
		if q.Over {
			used = "which is all of its quota of"
		}
		parts = append(parts, fmt.Sprintf("%s used %s %s until %s", Size(float64(q.Used)), used, Size(float64(q.Bytes)), q.Anew.UTC().Format("2 January")))
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "%s: %s\n", clean(p.Name), strings.Join(parts, ", "))
	}
}

// bitRate prints bits per second, in powers of 1000.
func bitRate(rate int64) string {
	return strings.TrimSuffix(Size(float64(rate)), "B") + "bit/s"
}

// limitMetrics writes them for Prometheus, for peers that have limits or quotas.
func (r *Report) limitMetrics(b *bufio.Writer) {
	family(b, "stepvpn_peer_limit_bytes_per_second", "gauge", "The highest rate of a peer, by direction; absent without a limit.")
	for _, p := range r.Peers {
		if p.LimitDown != 0 {
			sample(b, "stepvpn_peer_limit_bytes_per_second", float64(p.LimitDown)/8, "peer", p.Name, "direction", "sent")
		}
		if p.LimitUp != 0 {
			sample(b, "stepvpn_peer_limit_bytes_per_second", float64(p.LimitUp)/8, "peer", p.Name, "direction", "received")
		}
	}
	family(b, "stepvpn_peer_quota_bytes", "gauge", "What a peer may use in the present month; absent without a quota.")
	for _, p := range r.Peers {
		if p.Quota != nil {
			sample(b, "stepvpn_peer_quota_bytes", float64(p.Quota.Bytes), "peer", p.Name)
		}
	}
	family(b, "stepvpn_peer_quota_used_bytes", "gauge", "What a peer with a quota has used in the present month.")
	for _, p := range r.Peers {
		if p.Quota != nil {
			sample(b, "stepvpn_peer_quota_used_bytes", float64(p.Quota.Used), "peer", p.Name)
		}
	}
}
