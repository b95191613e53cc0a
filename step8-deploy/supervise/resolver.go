package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"stepvpn/shared/app"
)

// A Resolver looks up names in the underlay: it asks the nameservers that the host had
// before the tunnel took over its DNS. The host's usual lookups go into the tunnel, which is
// down while the client looks for its server.
//
// It uses /etc/hosts. Nameservers must not include one on this host itself, such as
// systemd-resolved at 127.0.0.53, that asks through the tunnel, but the nameservers that it
// would ask in turn (see names.Underlay).
type Resolver struct {
	// Nameservers are asked in this order: the next one if one does not answer.
	Nameservers []netip.AddrPort

	// Dial connects to one of them. If it is nil, net.Dialer's DialContext is used.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// askFor bounds the time that one nameserver has to answer.
const askFor = 3 * time.Second

// Lookup returns the addresses of a name. It is safe for concurrent use.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if len(r.Nameservers) == 0 {
		return nil, app.Hint(errors.New("no nameserver is known"), "Connect this host to a network that has one. "+
			"If a program on this host itself (127.0.0.1) resolves names from the root, or over an encrypted protocol, it names none: then put the server's address instead of its name into the setting 'server'.")
	}
	var failed []string
	for _, ns := range r.Nameservers {
		addrs, err := r.ask(ctx, ns, name)
		if err == nil {
			return addrs, nil
		}
		why := err.Error()
		if e, ok := errors.AsType[*net.DNSError](err); ok {
			why = e.Err // without the server in e, which is the one of /etc/resolv.conf
			if e.IsNotFound {
				return nil, fmt.Errorf("%v says that there is no such name", ns.Addr())
			}
			if e.IsTimeout {
				why = "no answer"
			}
		}
		failed = append(failed, fmt.Sprintf("%v: %s", ns.Addr(), why))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.New(strings.Join(failed, "; "))
}

// ask asks one nameserver.
func (r *Resolver) ask(ctx context.Context, ns netip.AddrPort, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	resolver := net.Resolver{
		PreferGo: true,
		// Ignore address: it is from /etc/resolv.conf, which is the tunnel's by now.
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, ns.String()) },
	}
	// The dot at the end says that the name is complete: no search domain is appended.
	return resolver.LookupNetIP(ctx, "ip", name+".")
}
