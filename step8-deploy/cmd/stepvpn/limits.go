package main

import (
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/further/limits"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/status"
)

// This file is the seam for what a client may use: package limits has the rest. (limit.go is the
// command.)

func limitsOf(given *keeper.Handover, admitted *admission.Controller, drops *link.Drops) *limits.Table {
	return limits.Open(limits.Config{
		Default: given.Server.Limits, Registry: admitted.Registry, State: given.Path(keeper.UsedName), Drops: drops,
	})
}

// control takes the control messages of a session: what the server says to people, and all else
// about its path.
func (n *node) control(path *pathmtu.Path) func(kind byte, content []byte) error {
	return func(kind byte, content []byte) error {
		if n.notice.Control(kind, content) {
			return nil
		}
		return path.Control(kind, content)
	}
}

// reportLimits adds to a server's status what its clients may use, and have used.
func reportLimits(r *status.Report, t *limits.Table, clients []hub.Status) {
	for i, c := range clients {
		p := &r.Peers[i]
		p.LimitDown, p.LimitUp, p.Quota = limitsNow(t, c.Key)
	}
}

// limitsNow returns what a client may use, in bits per second, and has used.
func limitsNow(t *limits.Table, key noise.PublicKey) (down, up int64, quota *status.Quota) {
	c := t.Of(key)
	if c == nil {
		return 0, 0, nil
	}
	now := c.State()
	if now.Quota != 0 {
		quota = &status.Quota{Bytes: uint64(now.Quota), Used: now.Used, Anew: now.Anew, Over: now.Over, Slow: int64(now.Slow)}
	}
	return int64(now.Down), int64(now.Up), quota
}
