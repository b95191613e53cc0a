package status

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

// WriteMetrics writes the report in the text format of Prometheus, version 0.0.4
// (prometheus.io/docs/instrumenting/exposition_formats).
//
// This is written by hand: it is a dozen numbers, which a function returns anyway. With
// prometheus/client_golang the program was 3.6 MB larger, and a scrape of 250 clients took
// five times as long. VictoriaMetrics/metrics leaves the escaping of labels and the help
// texts to its callers.
func (r *Report) WriteMetrics(w io.Writer) error {
	b := bufio.NewWriter(w)
	family(b, "stepvpn_up", "gauge", "Whether packets pass, and names are found.")
	sample(b, "stepvpn_up", one(r.State == Up))
	family(b, "stepvpn_state", "gauge", "1 for the present state, 0 for the others.")
	for _, state := range States {
		sample(b, "stepvpn_state", one(r.State == state), "state", state)
	}
	family(b, "stepvpn_start_time_seconds", "gauge", "When the daemon was started, in Unix time.")
	sample(b, "stepvpn_start_time_seconds", float64(r.Started.UnixMilli())/1000)
	family(b, "stepvpn_peers", "gauge", "Peers that are connected.")
	sample(b, "stepvpn_peers", float64(r.Connected()))
	family(b, "stepvpn_dropped_packets_total", "counter", "Packets that were dropped, by reason.")
	for _, reason := range slices.Sorted(maps.Keys(r.Drops)) {
		sample(b, "stepvpn_dropped_packets_total", float64(r.Drops[reason]), "reason", reason)
	}
	for _, m := range []struct {
		name, help string
		value      func(Peer) (sent, received uint64)
	}{
		{"stepvpn_peer_bytes_total", "Bytes of IP packets that passed the tunnel, by peer and direction.",
			func(p Peer) (uint64, uint64) { return p.Sent.Bytes, p.Received.Bytes }},
		{"stepvpn_peer_packets_total", "IP packets that passed the tunnel, by peer and direction.",
			func(p Peer) (uint64, uint64) { return p.Sent.Packets, p.Received.Packets }},
	} {
		family(b, m.name, "counter", m.help)
		for _, p := range r.Peers {
			sent, received := m.value(p)
			sample(b, m.name, float64(sent), "peer", p.Name, "direction", "sent")
			sample(b, m.name, float64(received), "peer", p.Name, "direction", "received")
		}
	}
	family(b, "stepvpn_peer_handshake_time_seconds", "gauge", "When the present keys of a peer came into use, in Unix time.")
	for _, p := range r.Peers {
		if !p.Handshake.IsZero() {
			sample(b, "stepvpn_peer_handshake_time_seconds", float64(p.Handshake.UnixMilli())/1000, "peer", p.Name)
		}
	}
	family(b, "stepvpn_peer_shared", "gauge", "1 if two devices seem to use the key of this peer, and so take turns.")
	for _, p := range r.Peers {
		if p.Shared {
			sample(b, "stepvpn_peer_shared", 1, "peer", p.Name)
		}
	}
	return b.Flush()
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func family(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// sample writes a value with labels: name, value, name, value...
func sample(w io.Writer, name string, value float64, labels ...string) {
	var pairs []string
	for i := 0; i < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+labelEscapes.Replace(strings.ToValidUTF8(labels[i+1], "?"))+`"`)
	}
	if len(pairs) > 0 {
		name += "{" + strings.Join(pairs, ",") + "}"
	}
	fmt.Fprintf(w, "%s %g\n", name, value)
}

// The limits of ServeMetrics.
const (
	maxScrapes = 32              // connections at the same time
	answerIn   = 5 * time.Second // the time that a request may take
)

// ServeMetrics answers GET /metrics at a socket, which it then owns, until the function that
// it returns is called. It calls report from any goroutine. There is no password: the address
// should be one that only Prometheus can reach.
func ServeMetrics(l net.Listener, report func() *Report) (closeAll func() error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		report().WriteMetrics(w)
	})
	s := &http.Server{Handler: mux, ReadTimeout: answerIn, WriteTimeout: 2 * answerIn, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	done := make(chan error, 1)
	go func() { done <- s.Serve(netutil.LimitListener(l, maxScrapes)) }()
	return func() error {
		err := s.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
}
