// Package pcap writes packets to a file that Wireshark and tcpdump open.
//
// Introduced in step 2.
//
// The format is the classic one of libpcap
// (https://www.tcpdump.org/manpages/pcap-savefile.5.html): a file header of 24
// bytes, then a header of 16 bytes and the bytes of each packet.
package pcap

import (
	"encoding/binary"
	"io"
	"os"
	"time"
)

// The values in the file header.
const (
	magic       = 0xa1b2c3d4 // times are in microseconds
	major       = 2
	minor       = 4
	maxLen      = 65535 // the most bytes kept of a packet: enough for any IP packet
	linkTypeRaw = 101   // no Ethernet header: packets start with the IP header

	recordHeaderLen = 16
)

// A Writer writes one file. It is not safe for concurrent use.
type Writer struct {
	file *os.File
	size int64  // of the file, up to its last whole packet
	buf  []byte // of one record
}

// Create starts a file; an existing one of that name is replaced.
func Create(name string) (*Writer, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file, buf: make([]byte, 0, recordHeaderLen+maxLen)}

	// The magic number tells the reader in which byte order the rest is.
	h := binary.LittleEndian.AppendUint32(w.buf, magic)
	h = binary.LittleEndian.AppendUint16(h, major)
	h = binary.LittleEndian.AppendUint16(h, minor)
	h = binary.LittleEndian.AppendUint32(h, 0) // time zone: all times are UTC
	h = binary.LittleEndian.AppendUint32(h, 0) // accuracy of the times: always 0
	h = binary.LittleEndian.AppendUint32(h, maxLen)
	h = binary.LittleEndian.AppendUint32(h, linkTypeRaw)
	if err := w.append(h); err != nil {
		file.Close()
		return nil, err
	}
	return w, nil
}

// Write appends a packet that was seen at time t. The packet is in the file when
// Write returns, so that another program can read along. A packet of more than 65535
// bytes is cut off there, as tcpdump does. After an error, the file ends with the
// last packet that was written whole.
func (w *Writer) Write(t time.Time, packet []byte) error {
	kept := packet[:min(len(packet), maxLen)]
	r := binary.LittleEndian.AppendUint32(w.buf, uint32(t.Unix()))
	r = binary.LittleEndian.AppendUint32(r, uint32(t.Nanosecond()/1000))
	r = binary.LittleEndian.AppendUint32(r, uint32(len(kept)))
	r = binary.LittleEndian.AppendUint32(r, uint32(len(packet)))
	return w.append(append(r, kept...))
}

// append writes b at the end of the file, whole or not at all.
func (w *Writer) append(b []byte) error {
	if _, err := w.file.Write(b); err != nil {
		// Take back the part that was written. With a pipe that fails, but err is
		// the error to report.
		w.file.Truncate(w.size)
		w.file.Seek(w.size, io.SeekStart)
		return err
	}
	w.size += int64(len(b))
	return nil
}

// Close closes the file.
func (w *Writer) Close() error { return w.file.Close() }
