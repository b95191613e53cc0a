package main

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/further/wireguard"
)

const (
	ours, theirs = 0x01020304, 0xa1a2a3a4
	now          = 1_700_000_000
)

// begin returns a session, and the server's side of its handshake, which is step 4's own.
func begin(t *testing.T) (*session, *noise.Handshake) {
	client, server := noise.GenerateKey(), noise.GenerateKey()
	public := server.Public()
	handshake := func(cfg noise.Config, initiator bool) *noise.Handshake {
		cfg.Initiator, cfg.Prologue = initiator, []byte(wireguard.Format.Prologue)
		h, err := noise.New(cfg)
		require.NoError(t, err)
		return h
	}
	return &session{handshake: handshake(wireguard.Handshake(client, &public, nil), true), ours: ours},
		handshake(wireguard.Handshake(server, nil, nil), false)
}

// answer reads the session's initiation, and returns the response.
func answer(t *testing.T, s *session, server *noise.Handshake) []byte {
	m, err := s.initiate(time.Unix(now, 0))
	require.NoError(t, err)
	require.Len(t, m, 148-32)
	_, err = server.ReadMessage(nil, m[initiationHeader:])
	require.NoError(t, err)
	m = binary.LittleEndian.AppendUint32([]byte{2, 0, 0, 0}, theirs)
	m, err = server.WriteMessage(binary.LittleEndian.AppendUint32(m, ours), nil)
	require.NoError(t, err)
	require.Len(t, m, 92-32)
	return m
}

// open returns a session whose handshake is over, and the server's two ciphers.
func open(t *testing.T) (s *session, send, receive *noise.Cipher) {
	s, server := begin(t)
	require.True(t, s.respond(answer(t, s, server)), "the server's response is not taken")
	send, receive, err := server.Split()
	require.NoError(t, err)
	return s, send, receive
}

func TestInitiate(t *testing.T) {
	s, server := begin(t)
	m, err := s.initiate(time.Unix(now, 0))
	require.NoError(t, err)
	require.Equal(t, "01000000 04030201", hex(m, 4, 8), "type and index")
	require.Len(t, m, 148-32, "the length, without the codes")
	payload, err := server.ReadMessage(nil, m[initiationHeader:])
	require.NoError(t, err, "the server can't read the initiation")
	require.Equal(t, "400000006553f10a 00000000", hex(payload, 8, 12), "the time")
}

// hex shows m in pieces that end where ends says.
func hex(m []byte, ends ...int) string {
	var b bytes.Buffer
	const digits = "0123456789abcdef"
	for i, c := range m {
		if len(ends) > 0 && i == ends[0] {
			ends = ends[1:]
			if len(ends) == 0 {
				break
			}
			b.WriteByte(' ')
		}
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func TestRespond(t *testing.T) {
	s, server := begin(t)
	m := answer(t, s, server)
	wrong := func(change func(m []byte) []byte) []byte { return change(bytes.Clone(m)) }
	for name, m := range map[string][]byte{
		"nothing":           nil,
		"a header alone":    m[:responseHeader],
		"of another type":   wrong(func(m []byte) []byte { m[0] = 4; return m }),
		"of another client": wrong(func(m []byte) []byte { m[8]++; return m }),
		"a forged one":      wrong(func(m []byte) []byte { m[len(m)-1]++; return m }),
		"a longer one":      wrong(func(m []byte) []byte { return append(m, 0) }),
	} {
		require.False(t, s.respond(m), "a response is taken: %s", name)
	}
	require.True(t, s.respond(m), "the genuine response is not taken, after false ones")
	require.EqualValues(t, uint32(theirs), s.theirs, "the server's index")
}

func TestSeal(t *testing.T) {
	s, _, receive := open(t)
	whole := bytes.Repeat([]byte{7}, 100)
	for i, n := range []int{0, 1, 15, 16, 17, 63, 64} {
		p := whole[:n]
		m := s.seal(uint64(i), p)
		require.Equal(t, "04000000 a4a3a2a1", hex(m, 4, 8), "type and index")
		require.EqualValues(t, i, binary.LittleEndian.Uint64(m[8:]), "the counter")
		require.Equal(t, (n+15)/16*16+32, len(m), "the length of a message with %d bytes", n)
		inside, err := receive.Open(nil, uint64(i), nil, m[dataHeader:])
		require.NoError(t, err, "the server can't open the message")
		require.True(t, bytes.Equal(p, inside[:n]), "the packet")
		require.True(t, bytes.Equal(inside[n:], make([]byte, len(inside)-n)), "the padding is not of zeros")
	}
	require.Equal(t, bytes.Repeat([]byte{7}, 100), whole, "seal has written behind its packet")
}

func TestOpen(t *testing.T) {
	s, send, _ := open(t)
	ping := echo(netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("10.8.0.2"))
	data := func(counter uint64, plaintext []byte) []byte {
		m := binary.LittleEndian.AppendUint32([]byte{4, 0, 0, 0}, ours)
		return send.Seal(binary.LittleEndian.AppendUint64(m, counter), counter, nil, plaintext)
	}
	padded := append(bytes.Clone(ping), 0)
	require.Len(t, padded, 64)
	require.Equal(t, ping, s.open(data(9, padded)), "the packet, without its padding")
	require.Equal(t, ping, s.open(data(10, ping)), "a packet that isn't padded")

	long, v6, other, forged := bytes.Clone(padded), bytes.Clone(padded), data(11, padded), data(12, padded)
	long[3]++
	long[3]++ // it says that it is longer than it is
	v6[0] = 0x60
	other[4]++
	forged[30] ^= 1
	for name, m := range map[string][]byte{
		"nothing":                   nil,
		"a header alone":            data(13, nil)[:dataHeader],
		"a keepalive":               data(14, nil),
		"of another session":        other,
		"a forged one":              forged,
		"of another counter":        append(data(15, padded)[:dataHeader], data(16, padded)[dataHeader:]...),
		"a packet that is cut off":  data(17, long),
		"a packet of 4 bytes":       data(18, ping[:4]),
		"a packet of IP version 6":  data(19, v6),
		"an initiation":             append([]byte{1, 0, 0, 0}, data(20, padded)[4:]...),
		"a length of 0 in a header": data(21, make([]byte, 32)),
	} {
		require.Nil(t, s.open(m), "a packet is taken: %s", name)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte{4, 0, 0, 0}, []byte{0x45, 0, 0, 20})
	f.Fuzz(func(t *testing.T, raw, plaintext []byte) {
		s, send, _ := open(t)
		if s.open(raw) != nil || s.respond(raw) {
			t.Fatal("it is taken")
		}
		m := binary.LittleEndian.AppendUint32([]byte{4, 0, 0, 0}, ours)
		p := s.open(send.Seal(binary.LittleEndian.AppendUint64(m, 0), 0, nil, plaintext))
		if p != nil && !bytes.HasPrefix(plaintext, p) {
			t.Fatalf("%x is opened as %x", plaintext, p)
		}
	})
}
