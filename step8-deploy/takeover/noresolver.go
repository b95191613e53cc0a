package takeover

import (
	"stepvpn/step5-nat/policy"
	"stepvpn/step6-dns/guard"
	"stepvpn/step8-deploy/config"
)

// This file is for files of the WireGuard protocol that name no resolver (no line DNS). Programs
// then go on asking the resolvers that the host has, as wg-quick's users expect. But if everything
// goes into the tunnel, queries do, too; what is on the local network can't be asked. If only some
// networks go into the tunnel, names are looked up as before.

// unnamed reports whether the settings name a file that names no resolver.
func unnamed(cfg *config.Client) bool { return cfg.WireGuard != nil && len(cfg.WireGuard.DNS) == 0 }

// asBefore reports whether names are looked up as without the tunnel.
func asBefore(cfg *config.Client) bool { return unnamed(cfg) && !cfg.Routes.Everything }

// through reports whether queries go into the tunnel whichever resolver they are for.
func through(cfg *config.Client) bool { return unnamed(cfg) && guarded(cfg) }

// guardRules returns the policy rules for queries; none if the settings want none.
func (t *taken) guardRules() ([]policy.Rule, error) {
	switch {
	case !guarded(t.cfg):
		return nil, nil
	case through(t.cfg):
		return guard.Through(t.carries), nil
	}
	return guard.Rules(t.terms.Settings.DNS)
}

// guardTable returns the text of the guard's table.
func (t *taken) guardTable(device string) string {
	if through(t.cfg) {
		return guard.RulesetThrough(device)
	}
	return guard.Ruleset(device, t.terms.Settings.DNS)
}

const throughNote = "The WireGuard file names no resolver (DNS), so programs ask those of this host, but through the tunnel: one on the local network does not answer. A line DNS = ADDRESS in its section [Interface] names one"
