package wireguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/supervise"
)

// This file keeps a client's sessions. Each peer has a supervisor of its own (package supervise),
// and sockets of its own: so one that does not answer is asked again and again, with its name
// looked up anew, and the others do not notice. The first session takes the host over. While there
// is any, packets are moved; after the last one they go nowhere or, without a kill switch, the
// host's own way, as with our own protocol.
//
// A server of this protocol answers no probes from inside the tunnel. So nothing more is known of
// a session than how old its keys are: a peer is up while it agrees on new ones in time.
//
// A client of the protocol may follow a server that sends from another address. Ours does not:
// its sockets, which bypass the tunnel, reach nothing but what the file names as Endpoint. A
// server that has moved is found again by its name.

// A ClientConfig is what a Client needs to know. Its functions are called from several
// goroutines.
type ClientConfig struct {
	File    *conf.File
	Servers []config.Endpoint // those of File's peers, in the same order

	// Dial opens a socket to an address of a server, outside of the tunnel. done must be called
	// when the socket is closed.
	Dial func(ctx context.Context, server netip.AddrPort) (socket link.Link, done func(), err error)
	// Resolve and Route are as in a supervise.Config.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	Route   func(server netip.AddrPort) (string, error)
	// Carry takes the host over for a tunnel, to which this address of a server belongs, calls
	// taken, and moves packets between the device and l until ctx ends or that fails. It closes
	// l. One call has returned when the next one begins.
	Carry func(ctx context.Context, server netip.AddrPort, l link.Link, taken func()) error
	// Changed is called with each new status, in order. It must not block.
	Changed func(supervise.Status)

	Drops *link.Drops
}

// A Client keeps sessions with all peers of a file. Its methods are safe for concurrent use; Run
// may be called only once.
type Client struct {
	cfg   ClientConfig
	peers *Peers
	list  []*keptPeer

	telling sync.Mutex       // one call of Changed at a time; guards told
	told    supervise.Status // what Changed was last called with

	mu           sync.Mutex // guards all below
	now          *carriage  // nil while there is no session
	before       *carriage  // the last one that has been let go
	reason, cure string     // what is wrong with the host
}

// A keptPeer is a peer that a supervisor keeps connected.
type keptPeer struct {
	*Peer
	session    secure.Config
	client     *Client
	supervisor *supervise.Supervisor
}

// A carriage moves packets as long as there is a session with any peer.
type carriage struct {
	users  int // sessions; guarded by Client.mu
	cancel context.CancelFunc
	taken  chan struct{} // closed when the host is taken over
	ended  chan struct{} // closed when it has ended
	err    error         // why; set before ended is closed
}

// try is how long an address of a peer is asked: for four initiations, the second of which has
// a cookie if the server is under load.
const try = 20 * time.Second

// lostInterval is how often to check whether a peer still answers.
const lostInterval = time.Second

var errLost = errors.New("the server does not answer any more")

// errSilence stands for supervise.ErrSilence.
var errSilence = app.Hint(errors.New("no answer: the server does not run, does not know this client, or has another key, or a firewall blocks the way"),
	"Check that the server runs and has the public key that belongs to PrivateKey, that PublicKey is the server's, and that its UDP port is open in all firewalls on the way.")

// NewClient returns a Client that does nothing until Run is called. cfg.File must be one that
// package conf has read.
func NewClient(cfg ClientConfig) *Client {
	c := &Client{cfg: cfg}
	var peers []*Peer
	for i, p := range cfg.File.Peers {
		k := &keptPeer{
			Peer:    &Peer{PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs},
			session: sessionConfig(cfg.File, p, cfg.Drops),
			client:  c,
		}
		k.supervisor = supervise.New(supervise.Config{
			Servers: cfg.Servers[i : i+1],
			Resolve: cfg.Resolve,
			Connect: k.connect,
			Route:   cfg.Route,
			Changed: func(supervise.Status) { c.changed() },
			Judged:  true,
			Try:     try,
			Silence: errSilence,
		})
		c.list, peers = append(c.list, k), append(peers, k.Peer)
	}
	c.peers = NewPeers(peers, cfg.Drops)
	return c
}

// sessionConfig returns how to ask a peer for sessions. The peer takes only initiations whose
// timestamp is later than all before. So those of the next session go on from the last one's:
// a clock that is set back does not keep this client out.
func sessionConfig(f *conf.File, p conf.Peer, drops *link.Drops) secure.Config {
	format := *Format
	var last uint64 // used by one session at a time
	format.NextTime = func(before, now uint64) uint64 {
		last = Format.NextTime(max(before, last), now)
		return last
	}
	return secure.Config{
		Handshake: Handshake(f.PrivateKey, &p.PublicKey, p.PresharedKey),
		Format:    &format,
		Drops:     drops,
		Keepalive: cmp.Or(p.Keepalive, -1),
		MTU:       cmp.Or(f.MTU, conf.MTU),
	}
}

// Run keeps the sessions until ctx ends, which is no error.
func (c *Client) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, k := range c.list {
		all.Go(func() { k.supervisor.Run(ctx) }) // its error is nil
	}
	all.Wait()
	return nil
}

// NetworkChanged is as that of a supervise.Supervisor.
func (c *Client) NetworkChanged() {
	for _, k := range c.list {
		k.supervisor.NetworkChanged()
	}
}

// ClockJumped is as that of a supervise.Supervisor.
func (c *Client) ClockJumped() {
	for _, k := range c.list {
		k.supervisor.ClockJumped()
	}
}

// Judge says what is wrong with the host although there are sessions, and what to do about it;
// reason is "" if nothing is.
func (c *Client) Judge(reason, cure string) {
	c.mu.Lock()
	c.reason, c.cure = reason, cure
	c.mu.Unlock()
	for _, k := range c.list {
		k.supervisor.Judge(reason, cure)
	}
}

// connect opens a session with the peer, and returns when it has ended.
func (k *keptPeer) connect(ctx context.Context, server netip.AddrPort, up func()) error {
	c := k.client
	socket, done, err := c.cfg.Dial(ctx, server)
	if err != nil {
		return err
	}
	defer done()
	session, err := secure.Client(ctx, cookie.ClientBothWays(socket, k.PublicKey, c.cfg.File.PrivateKey.Public(), c.cfg.Drops), k.session)
	if err != nil {
		return err
	}
	carried, err := c.enter(ctx, server)
	if err != nil {
		session.Close()
		return err
	}
	defer c.leave(carried)
	up()
	c.mu.Lock()
	reason, cure := c.reason, c.cure
	c.mu.Unlock()
	k.supervisor.Judge(reason, cure)

	using, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watching sync.WaitGroup
	watching.Go(func() { watch(using, session, carried, cancel) })
	err = c.peers.Use(using, k.Peer, session)
	if err == nil {
		err = context.Cause(using)
	}
	cancel(nil)
	watching.Wait()
	return err
}

// watch ends a session whose server does not answer any more, or whose packets nobody moves.
func watch(ctx context.Context, session *secure.Conn, carried *carriage, end context.CancelCauseFunc) {
	tick := time.NewTicker(lostInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-carried.ended:
			end(carried.err)
			return
		case <-tick.C:
			// A server that is heard is there, even if the path loses its answers to handshakes.
			if now := session.Status(); now.Lost && time.Since(now.Heard) >= Format.SilenceLimit {
				end(errLost)
				return
			}
		}
	}
}

// enter has the packets of one more session moved, and returns when the host is taken over. Call
// leave when the session has ended.
func (c *Client) enter(ctx context.Context, server netip.AddrPort) (*carriage, error) {
	c.mu.Lock()
	if c.now == nil {
		c.now = c.begin(server)
	}
	now := c.now
	now.users++
	c.mu.Unlock()
	select {
	case <-now.taken:
		return now, nil
	case <-now.ended:
		c.leave(now)
		return nil, now.err
	case <-ctx.Done():
		c.leave(now)
		return nil, context.Cause(ctx)
	}
}

// begin begins to move packets. c.mu is locked.
func (c *Client) begin(server netip.AddrPort) *carriage {
	ctx, cancel := context.WithCancel(context.Background())
	now := &carriage{cancel: cancel, taken: make(chan struct{}), ended: make(chan struct{})}
	before := c.before
	c.before = now
	go func() {
		defer close(now.ended)
		if before != nil {
			<-before.ended
		}
		now.err = c.cfg.Carry(ctx, server, c.peers.Open(), sync.OnceFunc(func() { close(now.taken) }))
		if now.err == nil {
			now.err = errors.New("the tunnel has ended")
		}
		c.mu.Lock()
		if c.now == now { // the next session begins anew
			c.now = nil
		}
		c.mu.Unlock()
	}()
	return now
}

// leave is called once for each call of enter, when that session has ended. After the last one
// it returns when the host is given back.
func (c *Client) leave(from *carriage) {
	c.mu.Lock()
	from.users--
	last := from.users == 0
	if last && c.now == from {
		c.now = nil
	}
	c.mu.Unlock()
	if last {
		from.cancel()
		<-from.ended
	}
}

// changed passes the status on, if it is another one.
func (c *Client) changed() {
	c.telling.Lock()
	defer c.telling.Unlock()
	if now := c.Status(); !reflect.DeepEqual(now, c.told) {
		c.told = now
		c.cfg.Changed(now)
	}
}

// Status returns one status for all peers: that of the first one that has a session, or of the
// first of all if none has. If only some have one, it is degraded, and says which have not.
func (c *Client) Status() (all supervise.Status) {
	var missing []supervise.Status
	for i, k := range c.list {
		now := k.supervisor.Status()
		if i == 0 || all.Session.IsZero() && !now.Session.IsZero() || now.State == supervise.Degraded && all.State == supervise.Up {
			all = now
		}
		if now.Session.IsZero() {
			missing = append(missing, now)
		}
	}
	if len(missing) > 0 && !all.Session.IsZero() {
		m := missing[0]
		all.State = supervise.Degraded
		all.Reason = fmt.Sprintf("%d of %d peers have no session: %s", len(missing), len(c.list), cmp.Or(m.Reason, m.String()))
		all.Cure = cmp.Or(m.Cure, "There is nothing to do: the client goes on asking.")
	}
	return all
}

// Report returns the peers, for 'stepvpn status'.
func (c *Client) Report() (list []status.Peer) {
	for _, k := range c.list {
		now := k.supervisor.Status()
		p := status.Peer{
			Name: noise.FormatKey(k.PublicKey), AllowedIPs: k.AllowedIPs, State: now.State.String(), Reason: now.Reason, Since: now.Session,
			Sent:     status.Flow{Packets: k.Sent.Packets(), Bytes: k.Sent.Bytes()},
			Received: status.Flow{Packets: k.Received.Packets(), Bytes: k.Received.Bytes()},
		}
		if now.Addr.IsValid() {
			p.Endpoint = now.Addr
		}
		if s, _ := k.Peer.now(); s != nil {
			p.Handshake = s.conn.Status().Since
		}
		list = append(list, p)
	}
	return list
}
