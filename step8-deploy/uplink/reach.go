package uplink

import (
	"log/slog"
	"strconv"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/reach"
)

// This file keeps the table of package reach, which says what clients can reach on this host.
// The table is in place before anything is forwarded.

// makeReach makes the table. If this host can't have it (no nft, or an old kernel), that is an
// error only if the settings ask for it: otherwise the clients still get their way out.
func (k *Keeper) makeReach() error {
	c := reach.Config{Device: k.config.Device.Name, Open: k.config.Reach, Flows: reach.Flows(followed(), k.config.MaxClients)}
	for _, a := range k.config.Device.Addrs {
		c.Addrs = append(c.Addrs, a.Addr())
	}
	err := app.Hint(k.tables.Set(c.Table()), "This table of nft closes this host's own services to clients: see reach in server.toml. "+
		"It needs the program nft (sudo apt-get install nftables), and a kernel with nf_tables and nft_connlimit.")
	if err != nil && c.Open == nil {
		slog.Warn("clients can reach this host's loopback, and the credentials that its cloud may give it", "error", err, "cure", app.HintOf(err))
		return nil
	}
	return err
}

// mendReach makes the table again when another program has changed or removed it.
func (k *Keeper) mendReach(now time.Time) error {
	if k.reach.Wait(now) > 0 {
		return nil
	}
	mended, err := k.tables.Mend()
	if len(mended) == 0 {
		k.reach.Held(now)
		return err
	}
	k.reach.Mended(now)
	slog.Warn("the firewall's table of what clients can reach on this host had been removed or changed, and is put back", "table", mended[0])
	return err
}

// followed returns how many connections the kernel tracks at most.
func followed() int {
	const usual = 1 << 16 // the kernel's default on a host with 1 GB of memory
	if n, err := strconv.Atoi(setting("net/netfilter/nf_conntrack_max")); err == nil && n > 0 {
		return n
	}
	return usual
}
