package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/clients"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/qrcode"
	"stepvpn/step8-deploy/registrar"
)

// clientsAdd is the command that adds a client. Whoever makes the change makes the client's file, too; the
// command writes or prints it, and draws a QR code of it.
var clientsAdd = app.Command{
	Name: "clients add", Args: "NAME",
	About: "Add lets a client in: it makes a key, and prints the client's file.",
	Setup: func() func(context.Context, []string) error {
		a := new(addition)
		a.Flags(clients.Defaults{Registry: defaultDir + "/clients", Key: defaultDir + "/server.key"})
		a.office = newOffice(&a.Addition)
		flag.BoolVar(&a.password, "password", false, "ask for a password, which the client must then give as well")
		flag.StringVar(&a.out, "out", "", "write the client's file to this new `file`, instead of printing it")
		flag.BoolVar(&a.OwnPSK, "own-psk", false, "give it a pre-shared key of its own, which no other client has")
		flag.StringVar(&a.transport, "transport", "udp", "have the client's packets carried by `udp` or tcp")
		flag.BoolVar(&a.wireguard, "wireguard", false, "for a phone or another program that speaks the WireGuard protocol: give it a fixed address and a pre-shared key of its own, and make its file in that protocol's form")
		flag.StringVar(&a.qr, "qr", "", "with -wireguard: draw that file as a QR code into this new `file` (PNG), or on the terminal if it is - (default: if there is a terminal)")
		return func(ctx context.Context, args []string) error { return a.run(ctx, args[0]) }
	},
}

// An addition is one run of 'clients add'.
type addition struct {
	clients.Addition
	*office
	password  bool
	out       string
	transport string
	wireguard bool
	qr        string

	made    []string    // files that were made
	code    qrcode.Code // of a client of the WireGuard protocol whose private key is known
	drawn   bool        // there is a code
	asked   control.AddRequest
	changes registrar.Changes
}

func (a *addition) run(ctx context.Context, name string) (err error) {
	if a.qr != "" && !a.wireguard {
		return app.Usage("-qr goes with -wireguard only: other clients' files do not come by camera")
	}
	if a.changes, err = a.open(ctx); err != nil {
		return err
	}
	if a.cause != nil && !a.runs {
		return a.cause
	}
	if a.wireguard {
		if err := a.checkPhone(); err != nil {
			return err
		}
	}
	a.asked = control.AddRequest{
		Name: name, Server: a.Server, PublicKey: a.PublicKey, Addresses: a.Addrs, Expires: a.Expires, OwnPSK: a.OwnPSK, WireGuard: a.wireguard,
	}
	if given("transport") {
		a.asked.Transport = a.transport
	}
	if a.password {
		if err := a.free(name); err != nil {
			return err
		}
		hash, err := clients.NewPassword(ctx, name)
		if err != nil {
			return err
		}
		a.asked.PasswordHash = hash.String()
	}
	c, err := a.changes.Add(a.asked, a.handOut)
	if err != nil {
		for _, file := range a.made {
			os.Remove(file)
		}
		return err
	}
	clients.SayWhere(a.out, name)
	if a.wireguard {
		a.warnOfOldServer(ctx)
		a.show()
	}
	return a.untilInForce(ctx, a.changes, c)
}

// free returns an error if it is already clear that the client can't be added, so that nobody
// chooses a password in vain.
func (a *addition) free(name string) error {
	if err := identity.CheckName(name); err != nil {
		return app.Usage("%w", err)
	}
	if a.out != "" {
		if err := identity.CheckNewProfile(a.out); err != nil {
			return err
		}
	}
	if _, err := a.changes.Look(name); err == nil {
		return app.Hint(fmt.Errorf("there is a client %s already", name), "Choose another name. To give %s a new key, type 'stepvpn clients revoke %[1]s' first.", name)
	}
	return nil
}

// handOut writes or prints the client's file, and draws the QR code. The client is added only if that
// has worked.
func (a *addition) handOut(text string) error {
	if a.wireguard && a.PublicKey == "" {
		f, err := conf.Parse("", []byte(text))
		if err != nil {
			return err
		}
		if a.code, err = qrcode.New(string(f.Text())); err != nil {
			return err
		}
		a.drawn = true
	}
	if a.qr != "" && a.qr != onTerminal {
		err := atomicfile.Write(a.qr, a.code.PNG(), atomicfile.Options{Exclusive: true})
		switch {
		case errors.Is(err, fs.ErrExist):
			return app.Hint(fmt.Errorf("%s exists already, and is left as it is", a.qr), "Choose another name with -qr.")
		case err != nil:
			return app.Hint(err, "Choose a file for -qr in a folder that exists and that you may write to.")
		}
		a.made = append(a.made, a.qr)
	}
	made, err := clients.HandOut(text, a.out)
	if made {
		a.made = append(a.made, a.out)
	}
	return err
}

// onTerminal is the value of -qr that stands for the terminal.
const onTerminal = "-"

// Flags that can't go with -wireguard, and why.
var notForPhones = []struct{ flag, why string }{
	{"psk", "the client gets a pre-shared key of its own"},
	{"key", "the server has a key of its own for that protocol"},
	{"server-key", "the server has a key of its own for that protocol"},
}

// checkPhone returns an error unless the server lets a client of the WireGuard protocol in, and the
// other flags fit.
func (a *addition) checkPhone() error {
	if !a.runs { // else the server says so itself
		if err := registrar.NoWireGuard(a.server); err != nil {
			return err
		}
	}
	for _, not := range notForPhones {
		if given(not.flag) {
			return app.Usage("-%s can't go with -wireguard: %s", not.flag, not.why)
		}
	}
	switch {
	case a.password:
		return app.Usage("-password can't go with -wireguard: that protocol knows no passwords")
	case a.PublicKey != "" && a.qr != "":
		return app.Usage("-qr can't go with -public-key: the file lacks the private key, without which no phone takes it")
	}
	return nil
}

// warnOfOldServer says so if a server that runs was started before its settings let such clients in.
func (a *addition) warnOfOldServer(ctx context.Context) {
	if a.runs || a.server.StatusSocket == "" {
		return
	}
	key, err := keeper.WireGuardKey(a.server)
	if err != nil {
		return
	}
	if now, err := control.QueryStatus(ctx, a.server.StatusSocket); err == nil && now.Role == "server" && now.WireGuard != noise.FormatKey(key.Public()) {
		app.Tell(app.Hint(errors.New("warning: the running server was started before its settings let clients of the WireGuard protocol in"),
			"Restart it: systemctl restart stepvpn-server"))
	}
}

// show shows the QR code, or says where it is.
func (a *addition) show() {
	switch {
	case a.qr == onTerminal:
		fmt.Fprint(os.Stderr, a.code.Terminal())
	case a.qr != "":
		fmt.Fprintf(os.Stderr, "%s: the QR code of that file, and as secret as the file. Remove it when the phone has read it.\n", a.qr)
	case a.drawn:
		size, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return // it is no terminal
		}
		if need := a.code.Columns(); size.Col > 0 && int(size.Col) < need {
			fmt.Fprintf(os.Stderr, "The QR code needs %d columns, and this terminal has %d: -qr FILE draws it into a file.\n", need, size.Col)
			return
		}
		fmt.Fprint(os.Stderr, a.code.Terminal())
	}
}
