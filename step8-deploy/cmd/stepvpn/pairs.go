package main

import (
	"net/netip"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/liveness"
)

// pairsOf makes Links out of the descriptors from the keeper.
//
// Over TCP, all clients may come at the same time, and from behind one NAT: after a restart
// of the server all of them are strangers, and one source gets at most half of the strangers'
// places.
func pairsOf(given *keeper.Handover, count *tunnel.Counters, watch *liveness.Monitor) (pairs []hub.Queue, err error) {
	cfg := given.Server
	for n, sockets := range given.Clients {
		conns, err := fast.Serve(sockets, cfg.Offloads, transport.Options{Drops: &count.Drops, MaxConns: min(2*cfg.MaxClients, maxStrangers)})
		if err != nil {
			closePairs(pairs)
			return nil, err
		}
		for _, conn := range conns {
			queue, err := fast.NewTUN(given.Queues[len(pairs)], given.Device, fast.TUNOptions{Drops: &count.Drops, Router: true, NoTSO: !cfg.Offloads, NoGRO: !cfg.Offloads})
			if err != nil {
				conn.Close()
				closePairs(pairs)
				return nil, err
			}
			pairs = append(pairs, hub.Queue{Device: watch.Watch("TUN device", queue), Socket: shared{watch.Watch("socket", watch.Network(conn)), n}})
		}
	}
	return pairs, nil
}

// maxStrangers bounds, for each address that the server listens on, the TCP connections of
// peers that have not proved who they are. Each takes up to 400 KB.
const maxStrangers = 4096

func closePairs(pairs []hub.Queue) {
	for _, p := range pairs {
		p.Device.Close()
		p.Socket.Close()
	}
}

// shared is a socket that tells the hub which others reach the same clients.
type shared struct {
	link.Link
	listener int
}

func (s shared) Listener() any { return s.listener }

// PeerMoved passes the call on.
func (s shared) PeerMoved(before, now netip.AddrPort) { link.PeerMoved(s.Link, before, now) }
