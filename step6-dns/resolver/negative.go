package resolver

import "github.com/miekg/dns"

// authority returns the SOA record of the zone that name is in, which says how
// long something does not exist, or nil.
func authority(rrs []dns.RR, name string) *dns.SOA {
	for _, rr := range rrs {
		if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Class == dns.ClassINET && dns.IsSubDomain(soa.Hdr.Name, name) {
			return soa
		}
	}
	return nil
}

// proofs are the signed records that say what does not exist.
func proofs(rrs []dns.RR) []dns.RR {
	var kept []dns.RR
	for _, rr := range rrs {
		covers := rr.Header().Rrtype
		if sig, ok := rr.(*dns.RRSIG); ok {
			covers = sig.TypeCovered
		}
		switch {
		case covers == dns.TypeNSEC, covers == dns.TypeNSEC3,
			covers == dns.TypeSOA && rr.Header().Rrtype == dns.TypeRRSIG:
			kept = append(kept, rr)
		}
	}
	return kept
}

func isNS(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNS }
