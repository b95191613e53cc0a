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

// This file opens this host's own iptables firewall (INPUT) for what clients need of the
// server itself: its port, DNS and ping. (Closed chains of nft are only reported.)

// A wayIn is one tunnel's way through an iptables firewall that by default drops what no
// rule allows: by the policy of INPUT, or by a rule for all packets, which may be in a
// chain of its own ("ufw default reject"). Just before that rule, one more rule leads to a
// chain of ours,
//
//	iptables -A INPUT -j IN-STEPVPN-vpn0
//
// so whatever the firewall's owner refuses with a rule before it stays refused. If such a
// rule names a port, we leave that port to the owner altogether.
type wayIn struct {
	family hostnet.Family
	chain  string
	listed string // what iptables listed when this was last made
}

// A Service says which services of this host itself clients use.
type Service struct {
	Listen     []netip.AddrPort // where clients come in
	Transports []string         // "udp", "tcp" or both
	DNS        bool             // whether it looks up names, at the device's addresses
}

// dnsPort is the port of DNS.
const dnsPort = 53

const wayInPrefix = "IN-STEPVPN-" // unlike the gateway's prefix, so that the gateway does not sweep it

func (o *wayIn) program() string {
	if o.family == hostnet.V6 {
		return "ip6tables"
	}
	return "iptables"
}

// A table is the table "filter" of one family, as iptables -S lists it, line by line.
type table []string

func (o *wayIn) read() (table, error) {
	out, err := command.Run("", o.program(), "-w", "5", "-t", "filter", "-S")
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

// of returns the rules of a chain, without "-A CHAIN ".
func (t table) of(chain string) (rules []string) {
	for _, line := range t {
		if rule, ok := strings.CutPrefix(line, "-A "+chain+" "); ok {
			rules = append(rules, rule)
		}
	}
	return rules
}

// closed reports whether INPUT drops what no rule allows, and the position for a rule that
// allows more; 0 is the end.
func (t table) closed(chain string) (at int, closed bool) {
	rules := slices.DeleteFunc(t.of("INPUT"), func(r string) bool { return r == "-j "+chain })
	for i, r := range rules {
		r = strings.TrimPrefix(r, "! -i lo ") // our clients' packets never come from there
		if refuses(r) {
			return i + 1, true
		}
		if to := forAll.FindStringSubmatch(r); to != nil && t.refuses(to[1]) {
			return i + 1, true
		}
	}
	return 0, slices.ContainsFunc(t, func(l string) bool { return strings.HasPrefix(l, "-P INPUT ") && l != "-P INPUT ACCEPT" })
}

// forAll matches a rule that sends all packets to a chain.
var forAll = regexp.MustCompile(`^-[jg] (\S+)$`)

// refuses reports whether a rule drops or rejects all packets.
func refuses(rule string) bool {
	return rule == "-j DROP" || strings.HasPrefix(rule, "-j REJECT")
}

// refuses reports whether a chain drops or rejects every packet that it does not accept.
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

// names reports whether a rule that is not ours names a port.
func (t table) names(chain, transport string, port uint16) bool {
	about := regexp.MustCompile(fmt.Sprintf(`^-A .*-p %s .*--dports? ([0-9:]*,)*%d(,| |$)`, transport, port))
	return slices.ContainsFunc(t, func(l string) bool { return about.MatchString(l) && !strings.HasPrefix(l, "-A "+chain+" ") })
}

// rules returns the rules for our chain: they accept what clients need.
func (s *Service) rules(t table, o *wayIn, device string, own []netip.Prefix) (rules []string) {
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
		ping := "-p icmp --icmp-type echo-request -j ACCEPT" // clients use it to find out whether packets pass
		if o.family == hostnet.V6 {
			ping = "-p ipv6-icmp --icmpv6-type echo-request -j ACCEPT"
		}
		rules = append(rules, from+ping)
	}
	slices.Sort(rules)
	return slices.Compact(rules) // several addresses may have the same port
}

// mend makes the way in if it is needed, removes it if it is not needed any more, and
// removes those of devices that are gone. It reports whether another program had
// changed it.
func (o *wayIn) mend(s *Service, device string, own []netip.Prefix) (changed bool, err error) {
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
		slog.Info(o.program()+": this host's firewall drops what no rule allows, so the server's own port and DNS are allowed now (chain "+o.chain+")", "rules", rules)
	}
	if t, err = o.read(); err == nil {
		o.listed = o.text(t)
	}
	return changed, err
}

// text returns the way in as the table has it: the rules of its chain, and the rules of
// INPUT from its jump on, which show its place.
func (o *wayIn) text(t table) string {
	input := t.of("INPUT")
	place := slices.Index(input, "-j "+o.chain)
	if place < 0 {
		return "none"
	}
	return strings.Join(t.of(o.chain), "\n") + "\n\n" + strings.Join(input[place:], "\n")
}

// dead lists the existing chains of devices that are gone, and the chain also, if it
// exists.
func (o *wayIn) dead(t table, also string) (list []string) {
	for _, line := range t {
		name, ok := strings.CutPrefix(line, "-N ")
		device, ours := strings.CutPrefix(name, wayInPrefix)
		if !ok || !ours {
			continue
		}
		if _, err := net.InterfaceByName(device); name == also || err != nil && name != o.chain {
			list = append(list, name)
		}
	}
	return list
}

// without returns the script that removes chains.
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

// restore carries out all of a script, or nothing.
func (o *wayIn) restore(script []string) error {
	if len(script) == 0 {
		return nil
	}
	_, err := command.Run("*filter\n"+strings.Join(script, "\n")+"\nCOMMIT\n", o.program()+"-restore", "-w", "5", "--noflush")
	return err
}

func (o *wayIn) remove() error {
	t, err := o.read()
	if err != nil {
		return err
	}
	return o.restore(t.without(o.dead(t, o.chain)))
}

// waysIn returns one for each family that this host has.
func waysIn(device string) (list []*wayIn) {
	for _, f := range hostnet.Families {
		if !f.Off() {
			list = append(list, &wayIn{family: f, chain: wayInPrefix + device})
		}
	}
	return list
}

// mendInput keeps the way to this host open. Clients may be served even without it, so a
// failure here is a Problem and does not stop the server.
func (k *Keeper) mendInput() error {
	var errs []error
	for _, o := range k.waysIn {
		changed, err := o.mend(&k.config.Service, k.config.Device.Name, k.config.Device.Addrs)
		if err != nil {
			errs = append(errs, app.Hint(fmt.Errorf("the host's firewall may drop clients' packets to this host, and can't be opened: %w", err),
				"Allow it: %s", k.config.Service.commands(o.program()+" -I INPUT", k.config.Device.Name)))
		} else if changed {
			slog.Warn("the firewall's rules that let clients in had been removed or changed, and are put back", "chain", o.chain)
		}
	}
	return errors.Join(errs...)
}

// commands returns the commands that the operator would type.
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

// closedByNft lists nft's chains (not those of iptables) that drop what no rule allows, and
// in which no rule names what clients need. They are left to their owner: a rule of ours
// would have to stand among the owner's rules, and the next reload would remove it.
func (k *Keeper) closedByNft() (list []Problem) {
	s := &k.config.Service
	ruleset, err := command.Run("", "nft", "-n", "-t", "list", "ruleset")
	if err != nil || len(s.Listen) == 0 {
		return nil // without nft there are no such chains
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
				// A range or a set of ports may include it.
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
					What: fmt.Sprintf("the host's firewall drops clients' packets to this host (nft: chain %s of table %s)", chain, name),
					Cure: "Allow it: " + strings.Join(cures, "; ") + ".",
				})
			}
		}
	}
	return list
}
