package transport

import (
	"bufio"
	"encoding/binary"
	"io"

	"stepvpn/shared/link"
)

// In a TCP stream each packet is a frame: its length, in lengthSize bytes, and the packet.
const lengthSize = 2

// readFrame reads one packet from r into buf, which must hold link.MaxPacket
// bytes, and returns its length. If the stream ends inside a packet, the error is
// io.ErrUnexpectedEOF.
func readFrame(r *bufio.Reader, buf []byte) (int, error) {
	length, err := r.Peek(lengthSize)
	if err != nil {
		if len(length) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(length))
	r.Discard(lengthSize)
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	return n, nil
}

// writeFrames writes the packets of b to w, each behind its length, and flushes.
func writeFrames(w *bufio.Writer, b *link.Burst) error {
	for i := range b.Len() {
		p := b.At(i)
		w.WriteByte(byte(len(p) >> 8))
		w.WriteByte(byte(len(p)))
		w.Write(p)
	}
	return w.Flush() // a bufio.Writer keeps its first error
}
