package noise

import "slices"

// A token is one element of a handshake message (section 7.1). "e" and "s" send
// the sender's ephemeral or static public key. "ee", "es", "se" and "ss" mix in
// a Diffie-Hellman result: the first letter names the initiator's key, the
// second the responder's. "psk" mixes in the pre-shared key (section 9.2).
type token string

// A Pattern lists what each message of a handshake carries and which keys it
// mixes in (section 7). It is data, in the specification's own notation; Handshake
// interprets it.
type Pattern struct {
	name string
	// The public keys of each side that the other one knows beforehand ("pre-messages").
	preInitiator, preResponder []token
	// The messages: the initiator's first, then in alternation.
	messages [][]token
}

// NNpsk0 has no static keys: anyone who has the pre-shared key gets in. The ephemeral
// keys give every connection forward secrecy (sections 7.5 and 9.4).
var NNpsk0 = Pattern{
	name: "NNpsk0",
	messages: [][]token{
		{"psk", "e"}, // ->
		{"e", "ee"},  // <-
	},
}

// IK proves to each side who the other one is: the initiator knows the responder's
// static key and sends its own, encrypted, in the first message (section 7.5). It is
// step 7's.
var IK = Pattern{
	name:         "IK",
	preResponder: []token{"s"}, // <- s
	messages: [][]token{
		{"e", "es", "s", "ss"}, // ->
		{"e", "ee", "se"},      // <-
	},
}

// IKpsk2 is IK with a pre-shared key mixed in at the end of the second message
// (section 9.4). Step 8 has
// clients with such a key.
var IKpsk2 = Pattern{
	name:         "IKpsk2",
	preResponder: []token{"s"}, // <- s
	messages: [][]token{
		{"e", "es", "s", "ss"},   // ->
		{"e", "ee", "se", "psk"}, // <-
	},
}

// pre returns the pre-message of one side.
func (p Pattern) pre(initiator bool) []token {
	if initiator {
		return p.preInitiator
	}
	return p.preResponder
}

// sends reports whether t occurs in a message of one side.
func (p Pattern) sends(initiator bool, t token) bool {
	for i, m := range p.messages {
		if (i%2 == 0) == initiator && slices.Contains(m, t) {
			return true
		}
	}
	return false
}

// usesPSK reports whether p has a "psk" token anywhere.
func (p Pattern) usesPSK() bool { return p.sends(true, "psk") || p.sends(false, "psk") }
