package health

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Names returns a function that sends a DNS query to one of the resolvers, from a socket like
// that of any program, for a name that does not exist and that no cache has: to answer, a
// resolver must reach others. Nobody owns the top-level domain "test", and resolvers know that
// (RFC 6761, section 6.2). If a resolver has not answered, the next call asks the next one. The
// function is not safe for concurrent use.
func Names(resolvers []netip.Addr) func(context.Context) Answer {
	return names(resolvers, 53, answerIn)
}

func names(resolvers []netip.Addr, port uint16, limit time.Duration) func(context.Context) Answer {
	turn := 0
	return func(ctx context.Context) Answer {
		found := ask(ctx, netip.AddrPortFrom(resolvers[turn%len(resolvers)], port), limit)
		if found != Found {
			turn++
		}
		return found
	}
}

// ask asks a resolver, which must answer within limit.
func ask(ctx context.Context, resolver netip.AddrPort, limit time.Duration) Answer {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "udp", resolver.String())
	if err != nil {
		return Silence
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	var label [8]byte
	rand.Read(label[:])
	query := new(dns.Msg).SetQuestion(hex.EncodeToString(label[:])+".test.", dns.TypeA)
	wire, err := query.Pack()
	if err != nil {
		return Silence
	}
	if !repeat(ctx, conn, wire) {
		return Silence
	}
	for buf := make([]byte, maxAnswer); ; {
		n, err := conn.Read(buf)
		if errors.Is(err, unix.ECONNREFUSED) { // its host says that no program listens there
			return Failure
		} else if err != nil {
			return Silence
		}
		answer := new(dns.Msg)
		if answer.Unpack(buf[:n]) != nil || !answer.Response || answer.Id != query.Id {
			continue
		}
		if answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError {
			return Found
		}
		return Failure
	}
}

// answerIn is how long a resolver may take. The tunnel's answers SERVFAIL after 4.5 s.
const answerIn = 5 * time.Second

// maxAnswer is the length of the longest answer, in bytes, as no option of the query allows
// a longer one (RFC 1035, section 4.2.1).
const maxAnswer = 512
