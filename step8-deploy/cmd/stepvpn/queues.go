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

// queuesOf makes the hub's queues, each a socket and a queue of the TUN device, out of the
// descriptors from the keeper.
//
// Over TCP, all clients may come at the same time, and from behind one NAT: after a restart
// of the server all of them are strangers, and one source gets at most half of the strangers'
// places.
func queuesOf(given *keeper.Handover, count *tunnel.Counters, watch *liveness.Monitor) (queues []hub.Queue, err error) {
	cfg := given.Server
	strangers := min(2*cfg.MaxClients, maxStrangers/max(len(given.Clients), 1))
	for n, sockets := range given.Clients {
		conns, err := fast.Serve(sockets, cfg.Offloads, transport.Options{Drops: &count.Drops, MaxConns: strangers})
		if err != nil {
			closeQueues(queues)
			return nil, err
		}
		for _, conn := range conns {
			device, err := fast.NewTUN(given.Queues[len(queues)], given.Device, fast.TUNOptions{Drops: &count.Drops, Router: true, NoTSO: !cfg.Offloads, NoGRO: !cfg.Offloads})
			if err != nil {
				conn.Close()
				closeQueues(queues)
				return nil, err
			}
			queues = append(queues, hub.Queue{Device: watch.Watch("TUN device", device), Socket: shared{watch.Watch("socket", watch.Network(conn)), n}})
		}
	}
	return queues, nil
}

// maxStrangers bounds the TCP connections of peers that have not proved who they are, for all
// addresses that the server listens on together. Each takes up to 400 KB, and the unit of the
// worker may have 1 GB.
const maxStrangers = 2048

func closeQueues(queues []hub.Queue) {
	for _, q := range queues {
		q.Device.Close()
		q.Socket.Close()
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
