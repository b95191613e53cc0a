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
// bytes, and returns its length. If the stream ends between two packets, the error is
// io.EOF; if it ends inside of one, or of its length, it is io.ErrUnexpectedEOF.
//
//exercise:2
func readFrame(r *bufio.Reader, buf []byte) (int, error) {
	if _, err := io.ReadFull(r, buf[:lengthSize]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	_, err := io.ReadFull(r, buf[:n])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // nothing came behind the length
	}
	return n, err
}

// writeFrames writes the packets of b to w, each behind its length, and flushes once, at
// the end, so that w passes on as many of them at a time as it has room for.
//
//exercise:2
func writeFrames(w *bufio.Writer, b *link.Burst) error {
	for i := range b.Len() {
		p := b.At(i)
		w.WriteByte(byte(len(p) >> 8))
		w.WriteByte(byte(len(p)))
		w.Write(p)
	}
	return w.Flush() // a bufio.Writer keeps its first error
}
