package illustrated

import (
	"encoding/hex"
	"fmt"
	"html/template"
	"net"
	"net/netip"
	"time"
)

// A Run is what passed between a client and a server that had known keys.
type Run struct {
	// What eve records: initiation, response, alice's keepalive, the server's, the ping.
	Initiation, Response, FirstFromAlice, FirstFromServer, Ping []byte
	// Packet is the ping inside: what alice's kernel gave to the tunnel.
	Packet []byte

	// Ephemeral are the private keys that each side made for this handshake.
	AliceE, ServerE [32]byte
	PSK             [32]byte // of step 4
	AliceS, ServerS [32]byte // private keys, of step 8
}

// The hosts of the lab, with addresses of the documentation ranges (RFC 5737).
var (
	alice        = end{mac("02:00:00:00:00:0a"), netip.MustParseAddrPort("198.51.100.10:41641")}
	cafe         = end{mac: mac("02:00:00:00:00:01")}
	serverWAN    = end{mac: mac("02:00:00:00:00:05")}
	serverAddr   = netip.MustParseAddrPort("203.0.113.10:5555")
	internet     = end{mac: mac("02:00:00:00:00:02")}
	tunnelAlice  = netip.MustParseAddr("10.8.0.2")
	tunnelServer = netip.MustParseAddr("10.8.0.1")
	web          = netip.MustParseAddr("203.0.113.80")
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// New returns the page about a run of step 4 and one of step 8.
func New(step4, step8 Run) Page {
	p := Page{Values: map[string][]byte{}}
	p.Chapters = []Chapter{p.step4(step4), p.step8(step8)}
	return p
}

// toServer and toAlice return the frame that eve records in the cafe.
func toServer(id uint16, m []byte) []byte {
	return frame(alice, end{cafe.mac, serverAddr}, 64, id, m)
}

func toAlice(id uint16, m []byte) []byte {
	return frame(end{cafe.mac, serverAddr}, alice, 62, id, m)
}

// frame notes the bytes of a frame, and returns a reader of them.
func (p *Page) frame(id string, b []byte) *reader {
	p.Values["frames."+id] = b
	return &reader{name: "frames." + id, b: b}
}

// outside describes the headers that eve reads, whoever has sent the frame.
func (r *reader) outside(fromAlice bool) []Layer {
	to, from := "This is the cafe's router, the next hop.", "This is alice's network card."
	ttl := "Alice's kernel begins with 64, and each router subtracts one. Eve sits in the cafe, before the first router."
	src, dst := "This is alice's address in the cafe's network.", "This is the VPN server. So eve knows which VPN alice uses, but not whom alice talks to through it."
	if !fromAlice {
		to, from = "This is alice's network card.", "This is the cafe's router, the last hop."
		ttl = "The server began with 64, and two routers lay on the way."
		src, dst = "This is the VPN server.", "This is alice's address in the cafe's network."
	}
	layers := []Layer{
		r.ethernet(to, from),
		r.ipv4("IPv4, outside", "ip", "It counts the header itself, and all that follows.", ttl, src, dst),
	}
	return append(layers, r.udp())
}

// dataHeader describes the header of a data message.
func (r *reader) dataHeader() Layer {
	fields := r.header(4, "data", "The message carries an encrypted packet.", true)
	fields = append(fields, r.field(4, "receiver index", "wg.receiver", fmt.Sprintf("0x%08x", r.uint32()),
		`The receiver chose this number in the handshake, for these keys. It finds the session by this number, whatever address the message comes from: so
		alice may move from the cafe's network to another one. The number is little-endian, like the counter and the time.`))
	fields = append(fields, r.field(8, "counter", "wg.counter", fmt.Sprint(r.uint64()),
		`The counter counts alice's messages under this key, from 0; at the end of the handshake she sent an empty one with 0. It is the nonce of the encryption, a number that must never
		repeat under one key. If eve changes it, the tag doesn't fit any more. And the receiver accepts each value only once, so eve can't send this message again.`))
	return Layer{Name: "data header", Kind: "header", Fields: fields}
}

// tag describes the 16 bytes behind a ciphertext.
func (r *reader) tag(code, what, tshark string) Layer {
	f := r.field(16, "tag", tshark, short(r.b[r.at:r.at+16]), `The tag is a checksum that nobody can make without the key, over the ciphertext and over `+what+`.
		If one bit of either is changed, the receiver's own calculation differs, and it drops the message.`)
	f.Code = code
	return Layer{Name: "tag", Kind: "tag", Fields: []Field{f}}
}

// cipher describes a ciphertext of n bytes.
func (r *reader) cipher(n int, code, text, tshark string) Layer {
	f := r.field(n, "ciphertext", tshark, short(r.b[r.at:r.at+n]), text)
	f.Code = code
	return Layer{Name: "encrypted", Kind: "cipher", Fields: []Field{f}}
}

// dataMessage describes a frame with a ping in a data message.
func (p *Page) dataMessage(id, names string, b []byte, run Run, src, dst string) []Layer {
	r := p.frame(id, b)
	layers := append(r.outside(true), r.dataHeader())
	const header = headersLen + 16
	n := len(b) - header - 16
	plain := make([]byte, n)
	copy(plain, run.Packet)
	plainName := names + ".ping"
	p.Values[plainName] = plain
	ad := r.slice(headersLen, header)
	sealed := fmt.Sprintf("const sealed = await seal(%s.key_alice, 1, %s, %s)\nreturn ", names, ad, plainName)
	cipher := r.cipher(n, sealed+"sealed.slice(0, -16)", `This is the packet, encrypted with AES-256-GCM under the key that alice sends with. The ciphertext is as long as the packet with its padding,
		so eve learns the packet's length to within 16 bytes. The button above shows it decrypted.`, "wg.encrypted_packet")
	inside := &reader{name: plainName, b: plain, base: header}
	packetLayers := []Layer{
		inside.ipv4("IPv4, inside", "inner", "The packet has 84 bytes. What follows is padding.",
			"Alice's kernel begins with 64. The tunnel is one hop for it, however many routers the datagram around it passes.", src, dst),
		inside.icmp(),
		{Name: "padding", Kind: "padding", Fields: []Field{inside.field(n-len(run.Packet), "padding", "", "zeros",
			`Zeros fill the 84 bytes up to 96, a multiple of 16, so that the length says less. The receiver cuts them off, as the packet's own header says how long it is.`)}},
	}
	cipher.Inside, cipher.Plaintext = packetLayers, plain
	cipher.Open = fmt.Sprintf("return open(%s.key_alice, 1, %s, %s)", names, ad, r.slice(header, len(b)))
	return append(layers, cipher, r.tag(sealed+"sealed.slice(-16)", "the data header, which is readable, but not to be changed", "wg.encrypted_packet"))
}

// handshakeMessage describes a frame with a message of a handshake, which has these ciphertexts.
func (p *Page) handshakeMessage(id, names string, b []byte, fromAlice bool, secrets ...secret) []Layer {
	r := p.frame(id, b)
	layers := r.outside(fromAlice)
	var header []Field
	if fromAlice {
		header = r.header(1, "initiation", "Alice asks for keys.", false)
		header = append(header, r.field(4, "sender index", "", fmt.Sprintf("0x%08x", r.uint32()),
			"Alice chooses this random number for the keys to come. The server puts it into each message to her."))
	} else {
		header = r.header(2, "response", "The server answers.", false)
		header = append(header, r.field(4, "sender index", "", fmt.Sprintf("0x%08x", r.uint32()), "The server chooses this number. Alice puts it into each message to the server."))
		header = append(header, r.field(4, "receiver index", "", fmt.Sprintf("0x%08x", r.uint32()), "This is alice's number, from the initiation."))
	}
	who := "server"
	if fromAlice {
		who = "alice"
	}
	e := r.field(32, "e, an ephemeral public key", "", short(r.b[r.at:]), `This is the public half of a key that was made for this handshake only. Its owner forgets the private half as soon as the handshake is over,
		so somebody who steals a key file later can't calculate the session's keys.`)
	e.Code = fmt.Sprintf("return x25519(%s.%s_e_private, basepoint)", names, who)
	layers = append(layers,
		Layer{Name: "header", Kind: "header", Fields: header},
		Layer{Name: "e", Kind: "public", Fields: []Field{e}})
	for _, c := range secrets {
		plain := p.Values[c.plain]
		seal := fmt.Sprintf("const sealed = await seal(%s, %d, %s, %s)\nreturn ", c.key, c.counter, c.h, c.plain)
		start := r.at
		layer := r.cipher(len(plain), seal+"sealed.slice(0, -16)", c.text, "")
		layer.Open = fmt.Sprintf("return open(%s, %d, %s, %s)", c.key, c.counter, c.h, r.slice(start, start+len(plain)+16))
		layer.Plaintext = plain
		layer.Inside = []Layer{c.inside(&reader{name: c.plain, b: plain, base: start})}
		layers = append(layers, layer, r.tag(seal+"sealed.slice(-16)", "the hash of all that was exchanged before", ""))
	}
	if r.at < len(r.b) { // mac1 and mac2
		start := r.at
		mac1 := r.field(16, "mac1", "", short(r.b[r.at:]), `Everybody who knows the server's public key can make this code. It costs little to check: the server drops a message without it before any
			calculation with keys. So somebody who only scans the internet doesn't learn that there is a VPN.`)
		mac1.Code = fmt.Sprintf("const key = blake2s(cat(ascii(\"mac1----\"), %s.server_s), 32)\nreturn blake2s(%s, 16, key)", names, r.slice(headersLen, start))
		mac2 := r.field(16, "mac2", "", "zeros", `Here is room for a second code. A server under load answers with a cookie first, and goes on only when the client comes back with a mac2 that was made from the cookie: so it
			knows that the client's address is real.`)
		layers = append(layers, Layer{Name: "codes", Kind: "mac", Fields: []Field{mac1, mac2}})
	}
	return layers
}

// A secret is a ciphertext in a message of a handshake, and what is in it.
type secret struct {
	part
	text   string
	inside func(*reader) Layer
}

// captured lists what eve has recorded.
func captured(run Run, ids ...string) []Datagram {
	return []Datagram{
		{"alice", "server", len(run.Initiation), "initiation", ids[0]},
		{"server", "alice", len(run.Response), "response", ids[1]},
		{"alice", "server", len(run.FirstFromAlice), "data 0, without a packet: alice has the keys", ""},
		{"server", "alice", len(run.FirstFromServer), "data 0, without a packet: the server has them, too", ""},
		{"alice", "server", len(run.Ping), "data 1: the ping", ids[2]},
	}
}

func (r *reader) time(pick string) Field {
	at := time.Unix(0, int64(r.uint64())).UTC()
	return r.field(8, "time", "", at.Format("2006-01-02 15:04:05 UTC"), `This is the time of alice's clock, in nanoseconds since 1970. The server accepts an initiation only if its time is later than that of the last one. So eve can't use an initiation again that she
		has recorded. `+pick)
}

func (p *Page) step4(run Run) Chapter {
	t := &trace{name: "nn", values: p.Values}
	t.next("Before the first message")
	t.begin("start", `Both sides begin with the name of the protocol, which says what is exchanged and with which algorithms. The name has exactly 32 characters, the length of a hash, so it is used as it is.`)
	t.initialize("Noise_NNpsk0_25519_AESGCM_SHA256")
	t.begin("prologue", `Both sides must agree on this text, the version of the course's protocol. So they mix it into the hash.`)
	t.mixHash(`ascii("stepvpn secure 3")`, []byte("stepvpn secure 3"))

	t.next("→ Alice makes the initiation: psk, e")
	t.begin("psk", `psk stands for pre-shared key: the one that both have in a file. It is mixed into the chaining key. Somebody without it calculates other keys from here on, so nothing that they send decrypts.`)
	t.given("psk", "the pre-shared key", run.PSK[:])
	t.mixKeyAndHash("nn.psk", run.PSK[:])
	t.begin("e", `Alice makes a key for this handshake only, and puts its public half into the message. Because there is a pre-shared key, "e" also makes a new k: otherwise the first message of every handshake would be encrypted under the same key and nonce, which breaks AES-GCM (section 9.2 of the
		specification).`)
	t.ephemeral("alice", run.AliceE[:], true)
	t.begin("payload", `The payload is what the message carries. It is encrypted with k, and the tag also covers h. So if eve has changed anything before it, the payload doesn't decrypt. The arguments of "seal" are the key, the
		nonce, what else the tag covers, and the plaintext.`)
	first := secret{t.payload("request", run.Initiation[8+32:]), `This is what alice says about herself; here it is just the time. So far k depends on no other secret than the pre-shared key: somebody who steals
		that key later can read this part, but nothing of what follows.`, func(r *reader) Layer {
		return Layer{Name: "time", Kind: "inner", Fields: []Field{r.time("")}}
	}}
	initiation := t.message

	t.next("← The server makes the response: e, ee")
	t.begin("e", `The server makes an ephemeral key, too: one for this handshake only.`)
	t.ephemeral("server", run.ServerE[:], true)
	t.begin("ee", `Both calculate the same secret, each from its own private key and the other's public key: X25519, the Diffie-Hellman function of RFC 7748. Nobody who has only seen the public halves can. So somebody who steals the pre-shared key later can't open
		what follows, even if eve has recorded it. That is called forward secrecy.`)
	t.secret("ee", "server_e_private", "alice_e")
	t.begin("payload", `The answer is encrypted. When alice can decrypt it, she knows that the server has the pre-shared key, and has just now made its part: a recorded answer would not fit her "e".`)
	second := secret{t.payload("answer", run.Response[12+32:]), `This is the server's answer.`, func(r *reader) Layer {
		return Layer{Name: "answer", Kind: "inner", Fields: []Field{r.field(1, "kind", "", "0, accepted", `The server accepts alice, and both have keys now. It could also say that alice's clock is behind, or why she isn't let in. From step 6 on, the DNS settings follow here.`)}}
	}}
	responseMessage := t.message

	t.next("Both: the keys")
	t.begin("split", `Two keys come out of the chaining key, one for each direction; so the two sides never use one key and counter for two packets. Both forget their private ephemeral keys now.`)
	t.split()
	mustEqual(run.Initiation[8:], initiation)
	mustEqual(run.Response[12:], responseMessage)

	init := Frame{ID: "initiation4", Title: "The initiation", Bytes: toServer(0x1a01, run.Initiation),
		Intro: words(`Alice sends her half of the key exchange, and the time.`)}
	init.Layers = p.handshakeMessage(init.ID, "nn", init.Bytes, true, first)
	resp := Frame{ID: "response4", Title: "The response", Bytes: toAlice(0x2b01, run.Response),
		Intro: words(`This is the server's only handshake message.`)}
	resp.Layers = p.handshakeMessage(resp.ID, "nn", resp.Bytes, false, second)
	echo := Frame{ID: "ping4", Title: "The ping, in the cafe", Bytes: toServer(0x1a03, run.Ping),
		Intro: words(`Alice types ` + code("ping 10.8.0.1") + `. Her kernel makes a packet of 84 bytes and sends it to vpn0, a network interface without hardware: the client program reads every packet that goes there. This frame is what leaves her network card, ` +
			fmt.Sprint(headersLen+len(run.Ping)) + ` bytes: the 128 of the message, and 42 in front of it. Touch a byte, or click it and go on with the arrow keys.`)}
	echo.Layers = p.dataMessage(echo.ID, "nn", echo.Bytes, run, "This is alice's address in the tunnel.", "This is the server's address in the tunnel.")

	return Chapter{
		ID: "step4", Title: "Step 4: one key for both",
		Intro: []template.HTML{
			words(`Client and server share a key of 32 bytes. These five messages pass when alice's client connects and she sends one ping to the server; the answer to the ping isn't shown. "Bytes" is the length of the
				message itself, without the headers of Ethernet, IP and UDP. A message without a packet has 32: a header of 16, and a tag of 16.`),
		},
		Captured: captured(run, init.ID, resp.ID, echo.ID),
		Ping:     []Frame{echo},
		Handshake: Handshake{
			Name: "Noise_NNpsk0_25519_AESGCM_SHA256",
			Intro: []template.HTML{
				words(`The keys come from two messages. They follow a pattern of the <a href="https://noiseprotocol.org/noise.html">Noise framework</a>. A pattern is a list of <em>tokens</em>, and each token says what to put into the
				message, or what to mix into the keys. Keys for one handshake are called ephemeral, and keys that last are called static.`),
				`<pre class="pattern">NNpsk0:
  → psk, e
  ← e, ee</pre>`,
				words(`Each side keeps three things while it goes through the tokens. <code class="h">h</code> is a hash of everything that was sent or agreed on so far. Mixing into it needs no secret: it only shows whether somebody has changed anything, as the next part doesn't
				decrypt if the two sides have a different h. <code class="ck">ck</code>, the chaining key, collects the secrets: mixing into it changes all keys that come later. <code class="k">k</code> is the key for the next encrypted part; a function called HKDF makes both from the
				old ck and a new secret. Under each value is its calculation: run it, or change it and see what happens.`),
			},
			Frames: []Frame{init, resp},
			Groups: t.groups,
		},
	}
}

func (p *Page) step8(run Run) Chapter {
	t := &trace{name: "ik", values: p.Values}
	t.next("Before the first message")
	t.begin("start", `This is another pattern, so it has another name. The name is shorter than a hash, so zeros are added.`)
	t.initialize("Noise_IK_25519_AESGCM_SHA256")
	t.begin("prologue", `This is the version of the course's protocol, as in step 4.`)
	t.mixHash(`ascii("stepvpn secure 3")`, []byte("stepvpn secure 3"))
	t.begin("← s", `Alice has the server's public key in her file, so nobody sends it. Both mix it into the hash: with a server that has another key, nothing that follows decrypts.`)
	t.given("server_s_private", "the server's private key, in its file", run.ServerS[:])
	t.public("server_s", "its public half, which alice has in her file", run.ServerS[:])
	t.mixHash("ik.server_s", p.Values["ik.server_s"])

	t.next("→ Alice makes the initiation: e, es, s, ss")
	t.begin("e", `Alice makes a key for this handshake only.`)
	t.ephemeral("alice", run.AliceE[:], false)
	t.begin("es", `The secret is made from alice's ephemeral key and the server's static one: apart from her, only the server can calculate it. So what follows is encrypted for the server.`)
	t.secret("es", "alice_e_private", "server_s")
	t.begin("s", `Alice's own public key goes into the message, encrypted. So eve doesn't learn who is connecting. (Somebody who steals the server's private key later can find out.)`)
	t.given("alice_s_private", "alice's private key, in her file", run.AliceS[:])
	t.public("alice_s", "its public half", run.AliceS[:])
	static := secret{t.encrypt("alice_s", p.Values["ik.alice_s"]), `This is alice's public key, encrypted for the server. By it the server finds her in its registry.`, func(r *reader) Layer {
		f := r.field(32, "s, alice's public key", "", short(r.b), `This key stands in the server's registry beside her name. The next part shows that she also has its private half, as its key depends on that.`)
		f.Code = "return x25519(ik.alice_s_private, basepoint)"
		return Layer{Name: "s", Kind: "inner", Fields: []Field{f}}
	}}
	t.begin("ss", `The secret is made from the static keys of both: only alice and the server can calculate it. So only one of them can have made what follows. It may still be an old recording, which is why it has the time in it.`)
	t.secret("ss", "alice_s_private", "server_s")
	t.begin("payload", `Alice encrypts the time and the instance.`)
	payload := secret{t.payload("request", run.Initiation[8+32+48:len(run.Initiation)-32]), `This is what alice's program says. It has no forward secrecy yet, so it says little; a password comes later, in the session.`, func(r *reader) Layer {
		return Layer{Name: "request", Kind: "inner", Fields: []Field{
			r.time("The server remembers the last one of each client."),
			r.field(1, "version", "", "2", "This is the version of the part that follows."),
			r.field(8, "instance", "", short(r.b[r.at:r.at+8]), "This is a random number of this run of the client. If it changes, the program was started anew, or another machine has alice's key."),
		}}
	}}
	initiation := t.message

	t.next("← The server makes the response: e, ee, se")
	t.begin("e", `The server makes a key for this handshake only.`)
	t.ephemeral("server", run.ServerE[:], false)
	t.begin("ee", `The secret of the two ephemeral keys gives forward secrecy, as in step 4.`)
	t.secret("ee", "server_e_private", "alice_e")
	t.begin("se", `The secret is made from the server's ephemeral key and alice's static one: only the genuine alice can read the answer. So somebody who has recorded her initiation and sends it again gains nothing.`)
	t.secret("se", "server_e_private", "alice_s")
	t.begin("payload", `The server encrypts the addresses and settings for alice.`)
	welcome := secret{t.payload("answer", run.Response[12+32:]), `This is the server's answer: what alice needs to set up her host.`, (*reader).welcome}
	response := t.message

	t.next("Both: the keys")
	t.begin("split", `There is one key for each direction, as in step 4.`)
	t.split()
	mustEqual(run.Initiation[8:len(run.Initiation)-32], initiation)
	mustEqual(run.Response[12:], response)

	init := Frame{ID: "initiation8", Title: "The initiation", Bytes: toServer(0x1a11, run.Initiation),
		Intro: words(`It says who alice is, which only the server can read, and ends with two codes that protect a server under attack.`)}
	init.Layers = p.handshakeMessage(init.ID, "ik", init.Bytes, true, static, payload)
	resp := Frame{ID: "response8", Title: "The response", Bytes: toAlice(0x2b11, run.Response),
		Intro: words(`The server hands out an address, and its resolver.`)}
	resp.Layers = p.handshakeMessage(resp.ID, "ik", resp.Bytes, false, welcome)
	echo := Frame{ID: "ping8", Title: "The ping, in the cafe", Bytes: toServer(0x1a13, run.Ping),
		Intro: words(`Alice types ` + code("ping 203.0.113.80") + `: a web site, not the server. All of her traffic goes through the tunnel since step 5, so this goes there, too. Eve learns no more than in step 4: she sees the same fields, with other numbers.`)}
	echo.Layers = p.dataMessage(echo.ID, "ik", echo.Bytes, run, "This is the address in the tunnel that the server has given to alice. It drops each packet of hers with another source.", "This is the web site. Eve can't see it; the server can.")

	out := Frame{ID: "out8", Title: "The ping, behind the server",
		Bytes: ethernet(serverWAN, internet, forwarded(run.Packet, serverAddr.Addr())),
		Intro: words(`The server has decrypted the packet, looked up whose keys these are, and checked that the source is alice's address. The server's kernel forwards it, and puts the server's address in the place of alice's, which is called masquerading. This
			frame leaves its network card. Three fields differ from the packet inside: the time to live, the source, and therefore the checksum. A VPN hides alice's destination from the cafe; anybody on this path can still read it.`)}
	r := p.frame(out.ID, out.Bytes)
	out.Layers = []Layer{
		r.ethernet("This is the server's router.", "This is the server's network card."),
		r.ipv4("IPv4", "inner", "The packet has 84 bytes again, as alice's kernel made it: the tunnel's header, padding and tag are gone.", "It is one less than inside: the server is a router for alice's packet.",
			"The server's address has taken the place of 10.8.0.2, so that the site's answer finds the way back. The kernel remembers whose packet it was.", "This is the web site."),
		r.icmp(),
	}
	return Chapter{
		ID: "step8", Title: "Step 8: a key for each",
		Intro: []template.HTML{
			words(`From step 7 on each client has a key pair of its own, and the server has one: no secret key is stored in two places any more. Here a client connects, and then alice sends one ping to a web site. Step 8's programs use the protocol of step 7, so these are the bytes of both.`),
		},
		Captured: captured(run, init.ID, resp.ID, echo.ID),
		Ping:     []Frame{echo, out},
		Handshake: Handshake{
			Name: "Noise_IK_25519_AESGCM_SHA256",
			Intro: []template.HTML{
				words(`Now each side must know who the other one is. The pattern has a new token for that: "s" is a static public key. "es", "ss", "ee" and "se" are Diffie-Hellman results: the first letter names
				alice's key, the second one the server's. <code class="h">h</code>, <code class="ck">ck</code> and <code class="k">k</code> are what they were in step 4.`),
				`<pre class="pattern">IK:
  ← s            (known beforehand)
  → e, es, s, ss
  ← e, ee, se</pre>`,
			},
			Frames: []Frame{init, resp},
			Groups: t.groups,
		},
	}
}

// welcome describes what the server hands out: see packages protocol and push.
func (r *reader) welcome() Layer {
	return Layer{Name: "answer", Kind: "inner", Fields: []Field{
		r.field(1, "kind", "", "0, accepted", "The server accepts alice, and both have keys now."),
		r.field(1, "version", "", "2", "This is the version of the part that follows."),
		r.field(1, "login", "", "0", "1 would mean that alice must send a password first."),
		r.field(1, "addresses", "", fmt.Sprint(r.b[r.at]), "This many addresses follow."),
		r.field(1, "family", "", "4", "What follows is an IPv4 address."),
		r.field(4, "address", "", netip.AddrFrom4([4]byte(r.b[r.at:])).String(), "This is alice's address in the tunnel. The server accepts packets from her with this source, and no other."),
		r.field(1, "prefix length", "", fmt.Sprint(r.b[r.at]), "The tunnel's network is 10.8.0.0/24."),
		r.field(1, "settings' version", "", "1", "Since step 6 the server hands out settings."),
		r.field(1, "type", "", "1, a resolver", "Each setting has a type, a length and a value. A client skips what it doesn't know."),
		r.field(1, "length", "", "4", "The value has four bytes."),
		r.field(4, "resolver", "", netip.AddrFrom4([4]byte(r.b[r.at:])).String(), "Alice asks here for names from now on: at the server, inside the tunnel."),
	}}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(fmt.Sprintf("illustrated: the trace and the course's code have come apart: %v", err))
	}
	return b
}

func mustEqual(want, got []byte) {
	if string(want) != string(got) {
		panic(fmt.Sprintf("illustrated: the trace and the course's code have come apart:\n%s\n%s", hex.EncodeToString(want), hex.EncodeToString(got)))
	}
}
