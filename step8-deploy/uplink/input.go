package uplink

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/command"
	"stepvpn/step5-nat/hostnet"
)

// A Service is what clients ask of this host itself.
type Service struct {
	Listen     []netip.AddrPort // where clients come in
	Transports []string         // "udp", "tcp" or both
	DNS        bool             // names are looked up, at the device's addresses
}

// dnsPort is where names are asked for.
const dnsPort = 53

// opening is one tunnel's way through a firewall of iptables that drops what nobody has
// allowed: by its policy, or by a rule of INPUT for all packets, in a chain of its own
// perhaps ("ufw default reject"). One more rule, just in front of that, leads to a chain of
// ours,
//
//	iptables -A INPUT -j IN-STEPVPN-vpn0
//
// so whatever the owner refuses by a rule of its own stays refused. A port that such a rule
// names is the owner's business altogether.
type opening struct {
	family hostnet.Family
	chain  string
	listed string // what iptables listed when it was made last
}

const openingPrefix = "IN-STEPVPN-" // is no name of the gateway's, which would sweep it

func (o *opening) program() string {
	if o.family == hostnet.V6 {
		return "ip6tables"
	}
	return "iptables"
}

// A table is filter, of one family, as iptables -S lists it.
type table []string

func (o *opening) read() (table, error) {
	out, err := command.Run("", o.program(), "-w", "5", "-t", "filter", "-S")
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

// of returns the rules of a chain, as what is behind "-A CHAIN ".
func (t table) of(chain string) (rules []string) {
	for _, line := range t {
		if rule, ok := strings.CutPrefix(line, "-A "+chain+" "); ok {
			rules = append(rules, rule)
		}
	}
	return rules
}

// closed tells whether INPUT drops what nobody has allowed, and where a rule is to stand
// that allows more: 0 is the end.
func (t table) closed(chain string) (at int, closed bool) {
	rules := slices.DeleteFunc(t.of("INPUT"), func(r string) bool { return r == "-j "+chain })
	for i, r := range rules {
		r = strings.TrimPrefix(r, "! -i lo ") // nobody comes from there
		if refuses(r) {
			return i + 1, true
		}
		if to := forAll.FindStringSubmatch(r); to != nil && t.refuses(to[1]) {
			return i + 1, true
		}
	}
	return 0, slices.ContainsFunc(t, func(l string) bool { return strings.HasPrefix(l, "-P INPUT ") && l != "-P INPUT ACCEPT" })
}

// forAll is a rule that sends all packets to a chain.
var forAll = regexp.MustCompile(`^-[jg] (\S+)$`)

// refuses tells whether a rule drops or rejects all packets.
func refuses(rule string) bool {
	return rule == "-j DROP" || strings.HasPrefix(rule, "-j REJECT")
}

// refuses tells whether a chain lets no packet back that it does not accept.
func (t table) refuses(chain string) bool {
	for _, r := range t.of(chain) {
		if refuses(r) {
			return true
		}
		if strings.HasSuffix(r, "-j RETURN") || strings.Contains(r, "-g ") {
			return false
		}
	}
	return false
}

// names tells whether a rule that is not ours is about a port.
func (t table) names(chain, transport string, port uint16) bool {
	about := regexp.MustCompile(fmt.Sprintf(`^-A .*-p %s .*--dports? ([0-9:]*,)*%d(,| |$)`, transport, port))
	return slices.ContainsFunc(t, func(l string) bool { return about.MatchString(l) && !strings.HasPrefix(l, "-A "+chain+" ") })
}

// rules returns what is to be allowed.
func (s *Service) rules(t table, o *opening, device string, own []netip.Prefix) (rules []string) {
	for _, at := range s.Listen {
		to := ""
		if !at.Addr().IsUnspecified() {
			if hostnet.FamilyOf(at.Addr()) != o.family {
				continue
			}
			to = "-d " + at.Addr().WithZone("").String() + " "
		}
		for _, transport := range s.Transports {
			if !t.names(o.chain, transport, at.Port()) {
				rules = append(rules, fmt.Sprintf("%s-p %s --dport %d -j ACCEPT", to, transport, at.Port()))
			}
		}
	}
	for _, a := range own {
		if hostnet.FamilyOf(a.Addr()) != o.family {
			continue
		}
		from := fmt.Sprintf("-i %s -d %v ", device, a.Addr())
		if s.DNS {
			rules = append(rules, from+"-p udp --dport "+strconv.Itoa(dnsPort)+" -j ACCEPT", from+"-p tcp --dport "+strconv.Itoa(dnsPort)+" -j ACCEPT")
		}
		ping := "-p icmp --icmp-type echo-request -j ACCEPT" // by which clients find out whether packets pass
		if o.family == hostnet.V6 {
			ping = "-p ipv6-icmp --icmpv6-type echo-request -j ACCEPT"
		}
		rules = append(rules, from+ping)
	}
	slices.Sort(rules)
	return slices.Compact(rules) // ports may be the same at several addresses
}

// mend makes it, if there is need, takes it away if there is none any more, and removes
// those of devices that are gone. It reports whether it had been changed.
func (o *opening) mend(s *Service, device string, own []netip.Prefix) (changed bool, err error) {
	t, err := o.read()
	if err != nil {
		return false, err
	}
	at, closed := t.closed(o.chain)
	rules := s.rules(t, o, device, own)
	if !closed || len(rules) == 0 {
		o.listed = ""
		return false, o.restore(t.without(o.dead(t, o.chain)))
	}
	now := o.text(t)
	if o.listed != "" && now == o.listed {
		return false, nil
	}
	changed = o.listed != ""
	script := t.without(o.dead(t, ""))
	script = append(script, ":"+o.chain+" - [0:0]")
	for _, r := range rules {
		script = append(script, "-A "+o.chain+" "+r)
	}
	for _, r := range t.of("INPUT") {
		if r == "-j "+o.chain {
			script = append(script, "-D INPUT "+r)
		}
	}
	jump := "-A INPUT -j " + o.chain
	if at > 0 {
		jump = fmt.Sprintf("-I INPUT %d -j %s", at, o.chain)
	}
	if err := o.restore(append(script, jump)); err != nil {
		return changed, err
	}
	if !changed {
		slog.Info(o.program()+": this host's firewall drops what nobody has allowed, so the server's own port and names are (chain "+o.chain+")", "rules", rules)
	}
	if t, err = o.read(); err == nil {
		o.listed = o.text(t)
	}
	return changed, err
}

// text is what there is of it, with its place: what is behind it in INPUT.
func (o *opening) text(t table) string {
	input := t.of("INPUT")
	place := slices.Index(input, "-j "+o.chain)
	if place < 0 {
		return "none"
	}
	return strings.Join(t.of(o.chain), "\n") + "\n\n" + strings.Join(input[place:], "\n")
}

// dead lists the chains of devices that are gone, and one more, as far as they exist.
func (o *opening) dead(t table, also string) (list []string) {
	for _, line := range t {
		name, ok := strings.CutPrefix(line, "-N ")
		device, ours := strings.CutPrefix(name, openingPrefix)
		if !ok || !ours {
			continue
		}
		if _, err := net.InterfaceByName(device); name == also || err != nil && name != o.chain {
			list = append(list, name)
		}
	}
	return list
}

// without is the script that removes chains.
func (t table) without(chains []string) (script []string) {
	for _, c := range chains {
		for _, r := range t.of("INPUT") {
			if r == "-j "+c {
				script = append(script, "-D INPUT "+r)
			}
		}
		script = append(script, "-F "+c, "-X "+c)
	}
	return script
}

// restore carries a script out, all or nothing.
func (o *opening) restore(script []string) error {
	if len(script) == 0 {
		return nil
	}
	_, err := command.Run("*filter\n"+strings.Join(script, "\n")+"\nCOMMIT\n", o.program()+"-restore", "-w", "5", "--noflush")
	return err
}

func (o *opening) remove() error {
	t, err := o.read()
	if err != nil {
		return err
	}
	return o.restore(t.without(o.dead(t, o.chain)))
}

// openings are those of the families that this host has.
func openings(device string) (list []*opening) {
	for _, f := range hostnet.Families {
		if !f.Off() {
			list = append(list, &opening{family: f, chain: openingPrefix + device})
		}
	}
	return list
}

// mendInput keeps the way to this host open. Without it clients may still be served: so
// what fails is a problem, and no more.
func (k *Keeper) mendInput() error {
	var errs []error
	for _, o := range k.openings {
		changed, err := o.mend(&k.config.Service, k.config.Device.Name, k.config.Device.Addrs)
		if err != nil {
			errs = append(errs, app.Hint(fmt.Errorf("the host's firewall may drop what clients ask of this host, and can't be opened: %w", err),
				"Allow it: %s", k.config.Service.commands(o.program()+" -I INPUT", k.config.Device.Name)))
		} else if changed {
			slog.Warn("the firewall's rules that let clients in had been removed or changed, and are put back", "chain", o.chain)
		}
	}
	return errors.Join(errs...)
}

// commands are what the operator would type.
func (s *Service) commands(insert, device string) string {
	var list []string
	for _, at := range s.Listen {
		for _, transport := range s.Transports {
			list = append(list, fmt.Sprintf("%s -p %s --dport %d -j ACCEPT", insert, transport, at.Port()))
		}
	}
	if s.DNS {
		for _, transport := range []string{"udp", "tcp"} {
			list = append(list, fmt.Sprintf("%s -i %s -p %s --dport %d -j ACCEPT", insert, device, transport, dnsPort))
		}
	}
	return strings.Join(list, "; ")
}

// closedByNft names the chains of nft, not of iptables, that drop what nobody has allowed
// and where no rule names what clients need. They are left to their owner: a rule of ours
// would have to stand among the owner's, and go with the next reload.
func (k *Keeper) closedByNft() (list []Problem) {
	s := &k.config.Service
	ruleset, err := command.Run("", "nft", "-n", "-t", "list", "ruleset")
	if err != nil || len(s.Listen) == 0 {
		return nil // without nft there are none
	}
	for _, t := range strings.Split("\n"+ruleset, "\ntable ")[1:] {
		name, body, _ := strings.Cut(t, " {\n")
		if name == "ip filter" || name == "ip6 filter" || strings.Contains(name, "stepvpn") {
			continue
		}
		for _, c := range strings.Split("\n"+body, "\n\tchain ")[1:] {
			chain, rules, _ := strings.Cut(c, " {\n")
			closed := strings.Contains(rules, "hook input ") && strings.Contains(rules, "policy drop;")
			firewalld := name == "inet firewalld" && chain == "filter_INPUT"
			if !closed && !firewalld {
				continue
			}
			var cures []string
			missing := func(transport string, port uint16, from string) {
				// A range or a set of ports may have it.
				if regexp.MustCompile(fmt.Sprintf(`dport [^\n]*(\b%d\b|@|[0-9]-[0-9])`, port)).MatchString(body) {
					return
				}
				if firewalld {
					cures = append(cures, fmt.Sprintf("firewall-cmd --add-port=%d/%s", port, transport))
					return
				}
				cures = append(cures, fmt.Sprintf("nft insert rule %s %s %s%s dport %d accept", name, chain, from, transport, port))
			}
			for _, at := range s.Listen {
				for _, transport := range s.Transports {
					missing(transport, at.Port(), "")
				}
			}
			switch device := k.config.Device.Name; {
			case !s.DNS || strings.Contains(body, fmt.Sprintf("iifname %q", device)):
			case firewalld:
				cures = append(cures, "firewall-cmd --zone=trusted --add-interface="+device)
			default:
				missing("udp", dnsPort, "iifname "+device+" ")
				missing("tcp", dnsPort, "iifname "+device+" ")
			}
			if len(cures) > 0 {
				list = append(list, Problem{
					What: fmt.Sprintf("the host's firewall drops what clients ask of this host (nft: chain %s of table %s)", chain, name),
					Cure: "Allow it: " + strings.Join(cures, "; ") + ".",
				})
			}
		}
	}
	return list
}
