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
	for _, c := range []struct {
		name string
		r    io.Reader
	}{
		{"whole", bytes.NewReader(stream.Bytes())},
		{"bytes", iotest.OneByteReader(bytes.NewReader(stream.Bytes()))},
		{"half", iotest.HalfReader(bytes.NewReader(stream.Bytes()))},
	} {
		br := bufio.NewReader(c.r)
		buf := make([]byte, link.MaxPacket)
		for i, p := range want {
			n, err := readFrame(br, buf)
			require.NoError(t, err)
			require.True(t, bytes.Equal(p, buf[:n]), "%s, frame %d", c.name, i)
		}
		_, err := readFrame(br, buf)
		require.Equal(t, io.EOF, err)
	}
}

// Both ends agree with one another; this holds them to what the wire is to look like, in both
// directions.
func TestFramesOnTheWire(t *testing.T) {
	b := link.NewBurst()
	copy(b.Alloc(2), "hi")
	b.Alloc(0)
	copy(b.Alloc(300), bytes.Repeat([]byte{'x'}, 300))
	want := append([]byte{0, 2, 'h', 'i', 0, 0, 1, 44}, b.At(2)...)

	var wire bytes.Buffer
	require.NoError(t, writeFrames(bufio.NewWriter(&wire), b))
	require.Equal(t, want[:8], wire.Bytes()[:min(8, wire.Len())], "length, packet, length, length: the upper byte first")
	require.Equal(t, want, wire.Bytes())

	r, buf := bufio.NewReader(bytes.NewReader(want)), make([]byte, link.MaxPacket)
	for i := range b.Len() {
		n, err := readFrame(r, buf)
		require.NoError(t, err)
		require.Equal(t, string(b.At(i)), string(buf[:n]), "packet %d", i)
	}
}

// The longest packet that the length can tell.
func TestTheLongestFrame(t *testing.T) {
	b := link.NewBurst()
	p := b.Alloc(link.MaxPacket)
	p[0], p[len(p)-1] = 'a', 'z'
	var wire bytes.Buffer
	require.NoError(t, writeFrames(bufio.NewWriter(&wire), b))
	buf := make([]byte, link.MaxPacket)
	n, err := readFrame(bufio.NewReader(&wire), buf)
	require.NoError(t, err)
	require.True(t, bytes.Equal(p, buf[:n]), "%d bytes, from %q to %q", n, buf[0], buf[link.MaxPacket-1])
}

// Wherever the connection breaks off, nobody takes a part for the whole.
func TestStreamEndsInsideAPacket(t *testing.T) {
	stream := []byte{0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'd'}
	ends := map[int]bool{0: true, 5: true, 7: true, 10: true} // between two packets
	for cut := range len(stream) + 1 {
		r, buf := bufio.NewReader(bytes.NewReader(stream[:cut])), make([]byte, link.MaxPacket)
		_, err := readFrame(r, buf)
		for n := 0; err == nil && n < len(stream); n++ {
			_, err = readFrame(r, buf)
		}
		want := io.ErrUnexpectedEOF
		if ends[cut] {
			want = io.EOF
		}
		require.Equal(t, want, err, "the stream ends after %d bytes", cut)
	}
}

// counter counts the writes that reach the socket.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c++
	return len(p), nil
}

func TestABurstIsOneWrite(t *testing.T) {
	b := link.NewBurst()
	for range link.MaxBurst {
		b.Alloc(100)
	}
	var writes counter
	require.NoError(t, writeFrames(bufio.NewWriterSize(&writes, streamBuffer), b))
	require.EqualValues(t, 1, writes, "there were %d writes", writes)
}

// broken is a socket that takes nothing any more.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestABrokenConnectionIsSaid(t *testing.T) {
	b := link.NewBurst()
	b.Alloc(10)
	require.ErrorIs(t, writeFrames(bufio.NewWriter(broken{}), b), io.ErrClosedPipe)
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
