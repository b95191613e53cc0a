package registrar

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/clients"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/keeper"
)

// This file is what adding a client of the WireGuard protocol is, besides adding a client.
//
// Such a client gets no settings from the server, so all that it has to know stands in its file,
// and its addresses are fixed for it in the registry. To the registry, it is a client like others,
// with a pre-shared key of its own.

// A phone is a client to be added that speaks the WireGuard protocol.
type phone struct {
	server  *config.Server
	keyless bool // its file lacks the private key
}

// NoWireGuard returns an error unless the server lets clients of the WireGuard protocol in.
func NoWireGuard(server *config.Server) error {
	switch {
	case server == nil:
		return app.Usage("-wireguard needs the server's settings: name them by -settings")
	case !server.WireGuard:
		return app.Hint(errors.New("the server does not let clients of the WireGuard protocol in"),
			"Write wireguard = true into its settings, and restart it: systemctl restart stepvpn-server")
	}
	return nil
}

// phone checks that such a client can be added, and sets what follows from its protocol.
func (r *Registrar) phone(q control.AddRequest, a *clients.Addition) (*phone, error) {
	if err := NoWireGuard(r.Settings); err != nil {
		return nil, err
	}
	switch {
	case a.Password != nil:
		return nil, app.Usage("-password can't go with -wireguard: that protocol knows no passwords")
	case q.Transport != "" && q.Transport != "udp":
		return nil, app.Usage("-transport can't be %.20s with -wireguard: that protocol goes over UDP only", q.Transport)
	}
	if a.Server != "" {
		checked, err := conf.ReadEndpoint(a.Server)
		if err != nil {
			return nil, app.Usage("-server %w", err)
		}
		a.Server = checked
	}
	key, err := keeper.WireGuardKey(r.Settings)
	if err != nil {
		return nil, err
	}
	a.ServerKey, a.PSK, a.OwnPSK = noise.FormatKey(key.Public()), "", true
	return &phone{r.Settings, q.PublicKey != ""}, nil
}

// addrs chooses free addresses.
func (p *phone) addrs(r *identity.Registry) ([]netip.Addr, error) {
	leases, done, err := leasesOf(p.server)
	if err != nil {
		return nil, fmt.Errorf("choosing a fixed address: %w", err)
	}
	defer done()
	free, err := admission.Next(r, pool.Config{Addrs: p.server.Subnets, State: leases, Grace: pool.DefaultGrace})
	if err != nil {
		return nil, app.Hint(fmt.Errorf("choosing a fixed address: %w", err), "Revoke a client that has gone ('stepvpn clients list' says when each was last there), or enlarge the setting subnets.")
	}
	return free, nil
}

// file returns the text of the client's file.
func (p *phone) file(c *identity.Client, of *identity.Profile) (text string, err error) {
	return p.comments(c.Name, string(p.conf(c.Addrs, of).Text())), nil
}

// conf returns what the client's file says.
func (p *phone) conf(addrs []netip.Addr, of *identity.Profile) *conf.File {
	f := &conf.File{PrivateKey: of.PrivateKey, MTU: cmp.Or(p.server.MTU, conf.MTU)}
	for _, a := range addrs {
		f.Addresses = append(f.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	if p.server.DNS {
		f.DNS, f.Search = resolver.At(p.server.Subnets), p.server.DNSSearch
	}
	f.Peers = []conf.Peer{{
		PublicKey:    of.ServerKey,
		PresharedKey: of.PresharedKey,
		Endpoint:     of.Server,
		AllowedIPs:   throughTunnel(p.server),
		Keepalive:    25 * time.Second,
	}}
	return f
}

// throughTunnel returns which networks the server wants to get packets for. They always include
// its subnets, where the resolver is.
func throughTunnel(s *config.Server) []netip.Prefix {
	if s.Routes.Everything {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	list := slices.Clone(s.Routes.Prefixes)
	for _, own := range s.Subnets {
		if !slices.Contains(list, own.Masked()) {
			list = append(list, own.Masked())
		}
	}
	return list
}

// comments adds to a file what its reader should know.
func (p *phone) comments(name, text string) string {
	const noKey, keepalive = "[Interface]\n", "PersistentKeepalive ="
	head := fmt.Sprintf("# WireGuard file of %s. Anybody who has it can come in: keep it secret.\n", name)
	if p.keyless {
		head = fmt.Sprintf("# WireGuard file of %s, without its private key: the client has made that, and adds it.\n", name)
		text = strings.Replace(text, noKey, noKey+"# PrivateKey = \n", 1)
	}
	return head + strings.Replace(text, keepalive, "# A NAT on the way forgets a client that is silent for long, and then the server can't reach it.\n"+keepalive, 1)
}
