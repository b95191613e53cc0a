package noise_test

import (
	"fmt"

	"stepvpn/step4-crypto/noise"
)

// Both sides of a handshake, and a message after it.
func Example() {
	var psk [noise.KeyLen]byte // both have it beforehand
	cfg := noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &psk}
	responder, _ := noise.New(cfg)
	cfg.Initiator = true
	initiator, _ := noise.New(cfg)

	message, _ := initiator.WriteMessage(nil, []byte("hello"))
	fmt.Println("initiation:", len(message), "bytes")
	payload, err := responder.ReadMessage(nil, message)
	fmt.Printf("the responder reads %q, error %v\n", payload, err)

	message, _ = responder.WriteMessage(nil, []byte("welcome"))
	fmt.Println("response:", len(message), "bytes")
	payload, err = initiator.ReadMessage(nil, message)
	fmt.Printf("the initiator reads %q, error %v\n", payload, err)

	send, _, _ := initiator.Split()
	_, receive, _ := responder.Split()
	sealed := send.Seal(nil, 0, []byte("header"), []byte("a packet"))
	packet, err := receive.Open(nil, 0, []byte("header"), sealed)
	fmt.Printf("the packet is %q, error %v\n", packet, err)

	sealed[0] ^= 1
	_, err = receive.Open(nil, 0, []byte("header"), sealed)
	fmt.Println(err)

	// Output:
	// initiation: 53 bytes
	// the responder reads "hello", error <nil>
	// response: 55 bytes
	// the initiator reads "welcome", error <nil>
	// the packet is "a packet", error <nil>
	// noise: the message does not authenticate
}
