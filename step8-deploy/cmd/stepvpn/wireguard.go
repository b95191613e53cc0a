package main

import (
	"context"
	"log/slog"
	"net/netip"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/further/wireguard"
	"stepvpn/step8-deploy/keeper"
)

// This file has a client speak the WireGuard protocol (package wireguard), if its settings name a
// file for that. The keeper opens the sockets, makes the device and keeps names, as for our own
// protocol (connect.go); the terms are what the file says.

func (n *node) useWireGuard() {
	if n.cfg.WireGuard.ListenPort != 0 {
		slog.Info("ListenPort in the WireGuard file is not used: this client sends from ports that it chooses, and only calls others")
	}
	if f := n.cfg.WireGuard; len(f.Search) > 0 && len(f.DNS) == 0 {
		slog.Info("the search domains in the WireGuard file are not used, as it names no resolver (DNS)")
	}
	n.wireguard = wireguard.NewClient(wireguard.ClientConfig{
		File:    n.cfg.WireGuard,
		Servers: n.cfg.Servers,
		Dial:    n.dialPeer,
		Resolve: n.resolve,
		Route:   routeTo,
		Carry:   n.carryPeers,
		Changed: n.tell(),
		Drops:   &n.count.Drops,
	})
	n.supervisor = n.wireguard
}

// dialPeer has the keeper open a socket to an address of a peer, with the mark.
func (n *node) dialPeer(_ context.Context, server netip.AddrPort) (socket link.Link, done func(), err error) {
	own := n.keeper.Attempt()
	conn, err := fast.Dial(transport.UDP, server, n.cfg.Offloads, transport.Options{Drops: &n.count.Drops, Dial: own.DialContext})
	if err != nil {
		own.Close()
		return nil, nil, err
	}
	return n.network(conn), func() { own.Close() }, nil
}

// carryPeers takes the host over, and moves packets between the device and all peers.
func (n *node) carryPeers(ctx context.Context, server netip.AddrPort, peers link.Link, taken func()) error {
	defer peers.Close()
	terms := keeper.TermsOf(n.cfg)
	terms.Server = server
	if err := n.carrier.take(terms, n.cfg.Offloads); err != nil {
		return err
	}
	n.keeper.Changed(n.judgeHost)
	n.judgeHost()
	taken()
	return n.carrier.carry(ctx, peers, n.cfg.Offloads)
}

// judgeHost tells the peers' supervisors what is wrong with the host.
func (n *node) judgeHost() {
	host := n.keeper.State()
	n.wireguard.Judge(host.Reason, host.Cure)
}
