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

// askFor bounds the time that one nameserver has to answer.
const askFor = 3 * time.Second

// A Resolver looks names up in the underlay: it asks the nameservers that the
// host had before the tunnel took its DNS over. The host's own way to look up
// names leads into the tunnel, which is not there while it is looked for.
//
// The file /etc/hosts is believed. A nameserver on this host itself, such as
// systemd-resolved at 127.0.0.53, must not be one that asks through the tunnel: whom it
// asks stands in its place (see names.Underlay).
type Resolver struct {
	// Nameservers are asked in this order, the next one when one does not answer.
	Nameservers []netip.AddrPort

	// Dial connects to one of them, as net.Dialer's DialContext does, which is used
	// if it is nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Lookup returns the addresses of a name. It may be called from any goroutine.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if len(r.Nameservers) == 0 {
		return nil, app.Hint(errors.New("no nameserver is known"), "Connect this host to a network that has one. "+
			"If it is a program of this host itself (127.0.0.1) that asks at the root, or encrypted, and so names none: give the server by its address in the setting 'server'.")
	}
	var failed []string
	for _, ns := range r.Nameservers {
		addrs, err := r.ask(ctx, ns, name)
		if err == nil {
			return addrs, nil
		}
		why := err.Error()
		if e, ok := errors.AsType[*net.DNSError](err); ok {
			why = e.Err // without the server that it names: it means the one of /etc/resolv.conf
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
		// The address is one of /etc/resolv.conf, which is the tunnel's by now.
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, ns.String()) },
	}
	// The dot at the end: the name is whole, nothing is to be put behind it.
	return resolver.LookupNetIP(ctx, "ip", name+".")
}
