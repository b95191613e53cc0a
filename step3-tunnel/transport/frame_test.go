package transport

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

func TestFramesComeBackWhateverTheChunks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var stream bytes.Buffer
	var want [][]byte
	w := bufio.NewWriter(&stream)
	for range 200 {
		b := link.NewBurst()
		p := b.Alloc(random.IntN(3000))
		for i := range p {
			p[i] = byte(random.Int())
		}
		want = append(want, bytes.Clone(p))
		require.NoError(t, writeFrames(w, b))
	}
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(stream.Bytes()),
		"bytes": iotest.OneByteReader(bytes.NewReader(stream.Bytes())),
		"half":  iotest.HalfReader(bytes.NewReader(stream.Bytes())),
	} {
		br := bufio.NewReader(r)
		buf := make([]byte, link.MaxPacket)
		for i, p := range want {
			n, err := readFrame(br, buf)
			require.NoError(t, err)
			require.True(t, bytes.Equal(p, buf[:n]), "%s, frame %d", name, i)
		}
		_, err := readFrame(br, buf)
		require.Equal(t, io.EOF, err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0})
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 1, 7, 0, 0, 255, 255, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReader(bytes.NewReader(stream))
		buf := make([]byte, link.MaxPacket)
		rest := stream
		for {
			n, err := readFrame(r, buf)
			if err != nil {
				// A stream can't be malformed: it can only end too early.
				if (err == io.EOF) != (len(rest) == 0) {
					t.Fatalf("%v with %d bytes left", err, len(rest))
				}
				return
			}
			if n+lengthSize > len(rest) || !bytes.Equal(buf[:n], rest[lengthSize:][:n]) {
				t.Fatalf("frame of %d bytes out of %d", n, len(rest))
			}
			rest = rest[lengthSize+n:]
		}
	})
}
