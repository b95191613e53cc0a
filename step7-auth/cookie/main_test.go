package cookie

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

var (
	alice = netip.MustParseAddrPort("198.51.100.10:40000")
	bob   = netip.MustParseAddrPort("198.51.100.11:40000")
)

// serverKey returns the public key with the bytes 1, 2, ... 32.
func serverKey() (k noise.PublicKey) {
	for i := range k {
		k[i] = byte(i + 1)
	}
	return k
}

// newInitiation returns an initiation as secure makes it: of IK, without payload.
func newInitiation(sender byte) []byte {
	m := make([]byte, headerLen+2*noise.KeyLen+2*noise.TagLen)
	for i := range m {
		m[i] = byte(rand.Int())
	}
	copy(m, []byte{typeInitiation, 0, 0, 0, 0, 0, 0, sender})
	return m
}

// A wire is a Link that a test writes to and reads from.
type wire struct {
	wrote [][]byte // by WriteBurst
	reads [][][]byte
}

func (w *wire) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		w.wrote = append(w.wrote, bytes.Clone(b.At(i)))
	}
	return nil
}

func (w *wire) ReadBurst(b *link.Burst) error {
	b.Reset()
	for _, m := range w.reads[0] {
		copy(b.Alloc(len(m)), m)
	}
	b.Addr = alice
	w.reads = w.reads[1:]
	return nil
}

func (w *wire) Close() error { return nil }

// sent returns what comes out below when messages are written to a client in one
// burst.
func sent(t testing.TB, c link.Link, messages ...[]byte) [][]byte {
	t.Helper()
	w := c.(*client).lower.(*wire)
	w.wrote = nil
	b := link.NewBurst()
	for i := range b.Free() {
		b.Free()[i] = 0xff // a burst is used again and again
	}
	for _, m := range messages {
		copy(b.Alloc(len(m)), m)
	}
	require.NoError(t, c.WriteBurst(b))
	return w.wrote
}

// received returns what a client reads when messages arrive below, each of them
// in a burst. Something must be left to be read.
func received(t testing.TB, c link.Link, bursts ...[][]byte) (got [][]byte) {
	t.Helper()
	c.(*client).lower.(*wire).reads = bursts
	b := link.NewBurst()
	require.NoError(t, c.ReadBurst(b))
	require.Empty(t, c.(*client).lower.(*wire).reads)
	require.Equal(t, alice, b.Addr)
	for i := range b.Len() {
		got = append(got, bytes.Clone(b.At(i)))
	}
	return got
}

// other is a message that is none of ours.
var other = []byte{4, 0, 0, 0, 'd', 'a', 't', 'a'}

func newClient() (c link.Link, drops *link.Drops) {
	drops = new(link.Drops)
	return Client(new(wire), serverKey(), drops), drops
}

func newServer() (s *Server, drops *link.Drops) {
	drops = new(link.Drops)
	return NewServer(serverKey(), drops), drops
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}
