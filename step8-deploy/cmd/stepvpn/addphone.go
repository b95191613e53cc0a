package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/further/wireguard/qrcode"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/status"
)

// This file is what 'clients add -wireguard' does besides 'clients add'.
//
// A client of the WireGuard protocol gets no settings from the server, so all that it has to
// know stands in its file, and its addresses are fixed for it in the registry. To the registry, it
// is a client like others, with a pre-shared key of its own.

// An addedPhone is a client to be added that speaks the WireGuard protocol, if the flag says so.
type addedPhone struct {
	is     *bool
	qr     *string
	server *config.Server
	others func(*identity.Client, *identity.Profile) (string, error) // makes the file of any other client

	key     noise.PublicKey // the server's, for such clients
	code    qrcode.Code
	picture string // the file that was made for -qr; "": none
}

// newPhone defines the flags.
func newPhone(others func(*identity.Client, *identity.Profile) (string, error)) *addedPhone {
	return &addedPhone{
		is:     flag.Bool("wireguard", false, "for a phone or another program that speaks the WireGuard protocol: give it a fixed address and a pre-shared key of its own, and make its file in that protocol's form"),
		qr:     flag.String("qr", "", "with -wireguard: draw that file as a QR code into this new `file` (PNG), or on the terminal if it is - (default: if there is a terminal)"),
		others: others,
	}
}

// Flags that can't go with -wireguard, and why.
var notForPhones = map[string]string{
	"password":   "that protocol knows no passwords",
	"psk":        "the client gets a pre-shared key of its own",
	"key":        "the server has a key of its own for that protocol",
	"server-key": "the server has a key of its own for that protocol",
}

// check returns an error unless the server lets such a client in, and the other flags fit. It must be
// called before others fill in flags.
func (p *addedPhone) check(server *config.Server) (err error) {
	if !*p.is {
		if *p.qr != "" {
			return app.Usage("-qr goes with -wireguard only: other clients' files do not come by camera")
		}
		return nil
	}
	p.server = server
	if server == nil {
		return app.Usage("-wireguard needs the server's settings: name them by -settings")
	}
	if !server.WireGuard {
		return app.Hint(errors.New("the server does not let clients of the WireGuard protocol in"),
			"Write wireguard = true into its settings, and restart it: systemctl restart stepvpn-server")
	}
	flag.Visit(func(f *flag.Flag) {
		switch why, is := notForPhones[f.Name]; {
		case is && f.Value.String() != "false":
			err = app.Usage("-%s can't go with -wireguard: %s", f.Name, why)
		case f.Name == "transport" && f.Value.String() != "udp":
			err = app.Usage("-transport can't be %s with -wireguard: that protocol goes over UDP only", f.Value)
		case f.Name == "public-key" && *p.qr != "":
			err = app.Usage("-qr can't go with -public-key: the file lacks the private key, without which no phone takes it")
		}
	})
	return err
}

// fillIn sets the flags that follow from -wireguard.
func (p *addedPhone) fillIn() error {
	if !*p.is {
		return nil
	}
	if at := flag.Lookup("server"); at.Value.String() != "" {
		checked, err := conf.ReadEndpoint(at.Value.String())
		if err != nil {
			return app.Usage("-server %w", err)
		}
		at.Value.Set(checked)
	}
	key, err := keeper.WireGuardKey(p.server)
	if err != nil {
		return err
	}
	p.key = key.Public()
	flag.Set("server-key", noise.FormatKey(p.key))
	flag.Set("own-psk", "true")
	return nil
}

// addrs chooses free addresses.
func (p *addedPhone) addrs(r *identity.Registry) ([]netip.Addr, error) {
	if !*p.is {
		return nil, nil
	}
	free, err := admission.Next(r, pool.Config{Addrs: p.server.Subnets, State: keeper.LeasesFile(p.server), Grace: pool.DefaultGrace})
	if err != nil {
		return nil, app.Hint(fmt.Errorf("choosing a fixed address: %w", err), "Revoke a client that has gone ('stepvpn clients list' says when each was last there), or enlarge the setting subnets.")
	}
	return free, nil
}

// file returns the text of the client's file. For -qr FILE, it makes the picture, too: the client is
// then added only if that has worked.
func (p *addedPhone) file(c *identity.Client, of *identity.Profile) (text string, err error) {
	if !*p.is {
		return p.others(c, of)
	}
	text = string(p.conf(c.Addrs, of).Text())
	if of.PrivateKey != (noise.PrivateKey{}) {
		if p.code, err = qrcode.New(text); err != nil {
			return "", err
		}
	}
	if *p.qr != "" && *p.qr != onTerminal {
		err := atomicfile.Write(*p.qr, p.code.PNG(), atomicfile.Options{Exclusive: true})
		switch {
		case errors.Is(err, fs.ErrExist):
			return "", app.Hint(fmt.Errorf("%s exists already, and is left as it is", *p.qr), "Choose another name with -qr.")
		case err != nil:
			return "", app.Hint(err, "Choose a file for -qr in a folder that exists and that you may write to.")
		}
		p.picture = *p.qr
	}
	return p.comments(c.Name, text), nil
}

// onTerminal is the value of -qr that stands for the terminal.
const onTerminal = "-"

// conf returns what the client's file says.
func (p *addedPhone) conf(addrs []netip.Addr, of *identity.Profile) *conf.File {
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
func (p *addedPhone) comments(name, text string) string {
	const noKey, keepalive = "[Interface]\n", "PersistentKeepalive ="
	head := fmt.Sprintf("# WireGuard file of %s. Anybody who has it can come in: keep it secret.\n", name)
	if flag.Lookup("public-key").Value.String() != "" {
		head = fmt.Sprintf("# WireGuard file of %s, without its private key: the client has made that, and adds it.\n", name)
		text = strings.Replace(text, noKey, noKey+"# PrivateKey = \n", 1)
	}
	return head + strings.Replace(text, keepalive, "# A NAT on the way forgets a client that is silent for long, and then the server can't reach it.\n"+keepalive, 1)
}

// end shows the QR code of a client that was added, or if err is not nil, removes the picture.
func (p *addedPhone) end(ctx context.Context, err error) {
	if *p.is && err == nil && p.server.StatusSocket != "" {
		if now, err := status.Query(ctx, p.server.StatusSocket); err == nil && now.Role == "server" && now.WireGuard != noise.FormatKey(p.key) {
			app.Tell(app.Hint(errors.New("warning: the running server was started before its settings let clients of the WireGuard protocol in"),
				"Restart it: systemctl restart stepvpn-server"))
		}
	}
	switch {
	case err != nil:
		if p.picture != "" {
			os.Remove(p.picture)
		}
	case p.picture != "":
		fmt.Fprintf(os.Stderr, "%s: the QR code of that file, and as secret as the file. Remove it when the phone has read it.\n", p.picture)
	case *p.is && *p.qr == onTerminal:
		fmt.Fprint(os.Stderr, p.code.Terminal())
	case *p.is && p.code != (qrcode.Code{}):
		size, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return // it is no terminal
		}
		if need := p.code.Columns(); size.Col > 0 && int(size.Col) < need {
			fmt.Fprintf(os.Stderr, "The QR code needs %d columns, and this terminal has %d: -qr FILE draws it into a file.\n", need, size.Col)
			return
		}
		fmt.Fprint(os.Stderr, p.code.Terminal())
	}
}
