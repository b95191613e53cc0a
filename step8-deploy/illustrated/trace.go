package illustrated

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// A trace does the calculations of a Noise handshake, for both sides at once, and writes down
// each result with the JavaScript that calculates it. It is written after the specification
// (revision 34, section 5) and uses nothing of package noise, which keeps its state to itself.
type trace struct {
	name   string // in front of all names, such as "nn"
	values map[string][]byte
	groups []Group // the last one is at work
	step   *Step   // likewise

	h, ck, k    []byte
	hs, cks, ks int // how many there were
	n           uint64
	message     []byte // of this message, so far
	parts       int    // ciphertexts in all messages so far
}

// set names a value, for the snippets; it is no result.
func (t *trace) set(name string, b []byte) string {
	name = t.name + "." + name
	t.values[name] = b
	return name
}

// result notes a result of the present step.
func (t *trace) result(name, what string, b []byte, code string) string {
	name = t.set(name, b)
	t.step.Values = append(t.step.Values, Value{name, what, b, code})
	return name
}

// given notes a value that nobody calculates.
func (t *trace) given(name, what string, b []byte) { t.result(name, what, b, "") }

// next begins a group, and a message.
func (t *trace) next(title string) {
	t.groups = append(t.groups, Group{Title: title})
	t.message = nil
}

// begin begins a step of the group.
func (t *trace) begin(token, text string) {
	group := &t.groups[len(t.groups)-1]
	group.Steps = append(group.Steps, Step{Token: token, Text: words(text)})
	t.step = &group.Steps[len(group.Steps)-1]
}

func (t *trace) hName() string  { return fmt.Sprintf("%s.h%d", t.name, t.hs) }
func (t *trace) ckName() string { return fmt.Sprintf("%s.ck%d", t.name, t.cks) }
func (t *trace) kName() string  { return fmt.Sprintf("%s.k%d", t.name, t.ks) }

// initialize is InitializeSymmetric.
func (t *trace) initialize(protocol string) {
	t.h = make([]byte, 32)
	copy(t.h, protocol)
	t.ck = t.h
	code := fmt.Sprintf("return pad(ascii(%q), 32)", protocol)
	t.result("h0", "the hash begins as the protocol's name", t.h, code)
	t.result("ck0", "so does the chaining key", t.ck, code)
}

// mixHash mixes bytes that have a name into h.
func (t *trace) mixHash(name string, data []byte) {
	code := fmt.Sprintf("return sha256(cat(%s, %s))", t.hName(), name)
	sum := sha256.Sum256(append(append([]byte(nil), t.h...), data...))
	t.h = sum[:]
	t.hs++
	t.result(fmt.Sprintf("h%d", t.hs), "the hash of everything so far", t.h, code)
}

// mixKey mixes bytes that have a name into ck, and makes a new key.
func (t *trace) mixKey(name string, secret []byte) {
	out := expand(t.ck, secret, 2)
	code := fmt.Sprintf("const [ck, k] = await hkdf(%s, %s, 2)\nreturn ", t.ckName(), name)
	t.cks++
	t.ks++
	t.ck, t.k, t.n = out[0], out[1], 0
	t.result(fmt.Sprintf("ck%d", t.cks), "the chaining key, made from everything mixed into it so far", t.ck, code+"ck")
	t.result(fmt.Sprintf("k%d", t.ks), "the key for the next encrypted part", t.k, code+"k")
}

// mixKeyAndHash does the same with a pre-shared key.
func (t *trace) mixKeyAndHash(name string, psk []byte) {
	out := expand(t.ck, psk, 3)
	code := fmt.Sprintf("const [ck, extra, k] = await hkdf(%s, %s, 3)\nreturn ", t.ckName(), name)
	t.cks++
	t.ck = out[0]
	t.result(fmt.Sprintf("ck%d", t.cks), "the chaining key, made from everything mixed into it so far", t.ck, code+"ck")
	extra := t.result("extra", "a second result, for the hash", out[1], code+"extra")
	t.mixHash(extra, out[1])
	t.ks++
	t.k, t.n = out[2], 0
	t.result(fmt.Sprintf("k%d", t.ks), "the key for the next encrypted part", t.k, code+"k")
}

// ephemeral is the token "e": the public key goes into the message.
func (t *trace) ephemeral(who string, private []byte, psk bool) {
	owner := map[string]string{"alice": "alice's", "server": "the server's"}[who]
	t.given(who+"_e_private", owner+" ephemeral private key: 32 random bytes", private)
	t.public(who+"_e", "its public half, which goes into the message", private)
	public := t.values[t.name+"."+who+"_e"]
	t.message = append(t.message, public...)
	t.mixHash(t.name+"."+who+"_e", public)
	if psk {
		t.mixKey(t.name+"."+who+"_e", public)
	}
}

// public notes the public half of a private key.
func (t *trace) public(name, what string, private []byte) {
	key, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		panic(err) // only for a wrong length
	}
	t.result(name, what, key.PublicKey().Bytes(), fmt.Sprintf("return x25519(%s.%s_private, basepoint)", t.name, name))
}

// secret is a token that names two keys: the Diffie-Hellman result is mixed in.
func (t *trace) secret(token, private, public string) {
	key, err := ecdh.X25519().NewPrivateKey(t.values[t.name+"."+private])
	if err != nil {
		panic(err)
	}
	other, err := ecdh.X25519().NewPublicKey(t.values[t.name+"."+public])
	if err != nil {
		panic(err)
	}
	secret, err := key.ECDH(other)
	if err != nil {
		panic(err) // only for keys of low order
	}
	name := t.result(token, "what both sides calculate, and nobody else can", secret, fmt.Sprintf("return x25519(%s.%s, %s.%s)", t.name, private, t.name, public))
	t.mixKey(name, secret)
}

// A part is a ciphertext in a message of a handshake.
type part struct {
	plain   string // the names of the plaintext,
	key, h  string // the key, and the hash that the tag covers
	counter uint64
}

// encrypt is EncryptAndHash: a plaintext with a name becomes a part of the message.
func (t *trace) encrypt(name string, plaintext []byte) part {
	p := part{t.set(name, plaintext), t.kName(), t.hName(), t.n}
	sealed := seal(t.k, t.n, t.h, plaintext)
	t.n++
	t.parts++
	code := fmt.Sprintf("return seal(%s, %d, %s, %s)", p.key, p.counter, p.h, p.plain)
	sealedName := t.result(fmt.Sprintf("part%d", t.parts), "the ciphertext and its tag; they go into the message", sealed, code)
	t.message = append(t.message, sealed...)
	t.mixHash(sealedName, sealed)
	return p
}

// payload is encrypt for the payload of the course's own message: what is left of it.
func (t *trace) payload(name string, sealed []byte) part {
	plaintext := must(open(t.k, t.n, t.h, sealed))
	t.given(name, "the plaintext", plaintext)
	return t.encrypt(name, plaintext)
}

// split makes the keys for the packets.
func (t *trace) split() {
	out := expand(t.ck, nil, 2)
	code := fmt.Sprintf("const [alice, server] = await hkdf(%s, [], 2)\nreturn ", t.ckName())
	t.result("key_alice", "the key of all that alice sends", out[0], code+"alice")
	t.result("key_server", "the key of all that the server sends", out[1], code+"server")
}

// expand is Noise's HKDF (section 4.3): RFC 5869 with ck as the salt.
func expand(ck, secret []byte, n int) [][]byte {
	b, err := hkdf.Key(sha256.New, secret, ck, "", 32*n)
	if err != nil {
		panic(err) // only for a wrong length
	}
	var out [][]byte
	for range n {
		out, b = append(out, b[:32:32]), b[32:]
	}
	return out
}

// seal encrypts with AES-256-GCM.
func seal(key []byte, counter uint64, ad, plaintext []byte) []byte {
	gcm, err := newGCM(key)
	if err != nil {
		panic(err) // only for a wrong length
	}
	return gcm.Seal(nil, nonce(counter), plaintext, ad)
}

// open is the inverse of seal.
func open(key []byte, counter uint64, ad, sealed []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce(counter), sealed, ad)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonce is 4 zero bytes and the counter, big-endian (section 12.3).
func nonce(counter uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 4), counter) }
