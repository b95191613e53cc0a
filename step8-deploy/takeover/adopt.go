package takeover

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step8-deploy/keep"
)

// adoptWithin is how long what was adopted stays as it is without a Take.
var adoptWithin = 30 * time.Second

// Adopt is called before Begin by who has the descriptor of the device of a client that
// was killed, and owns it from then on. The host stays as it is, with a worker that goes on
// moving packets, until the first Take: with the same terms that finds that all holds. If
// none comes in time, the host is put back as Begin would have done.
func (h *Host) Adopt(fd int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var r unix.Ifreq
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, &r); err != nil {
		return errors.Join(fmt.Errorf("the device that was handed over: %w", err), unix.Close(fd))
	}
	l, err := netlink.LinkByName(r.Name())
	if err != nil || r.Name() != h.cfg.Device {
		return errors.Join(fmt.Errorf("the device %q that was handed over is not %s: %w", r.Name(), h.cfg.Device, err), unix.Close(fd))
	}
	addrs, err := hostnet.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	h.dev = &device{name: r.Name(), fd: fd, index: l.Attrs().Index}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			ones, _ := a.Mask.Size()
			h.dev.addrs = append(h.dev.addrs, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	h.underlay.adopt()
	return nil
}

// disown puts back what was adopted, if nobody has asked for it.
func (h *Host) disown() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun || h.ended {
		return
	}
	slog.Warn("nobody goes on with the tunnel of the client that was killed: it is put back")
	if err := h.putBackAdopted(); err != nil {
		slog.Error("what a client that was killed has left can't be put back", "error", err)
	}
}

func (h *Host) putBackAdopted() error {
	err := h.dev.remove()
	h.dev = nil
	return errors.Join(err, h.begin())
}

// pass matches the rules that destinations.table has.
var pass = regexp.MustCompile(`(?m)^\s*ip6? daddr (\S+) (udp|tcp) dport (\d+) accept$`)

// adopt goes on with those of a client that was killed: a socket may be in use.
func (d *destinations) adopt() {
	if !keep.Exists(underlayName) {
		return
	}
	text, err := underlayName.List()
	if err != nil {
		return // who is in use is allowed anew, when it connects
	}
	for _, m := range pass.FindAllStringSubmatch(text, maxDestinations) {
		addr, err := netip.ParseAddr(m[1])
		port, err2 := strconv.ParseUint(m[3], 10, 16)
		if err == nil && err2 == nil {
			d.add(destination{m[2], netip.AddrPortFrom(addr, uint16(port))})
		}
	}
}
