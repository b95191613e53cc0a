package usage

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// A frame on the disk: a header of 28 bytes, little-endian, and a body.
//
//	length  u32  of the body, in bytes
//	sum     u32  CRC-32C of the body
//	seq     u64  see frame
//	covers  u64  see frame
//	head    u32  CRC-32C of the header up to here
//
// The body is compressed (RFC 1951). Numbers in it are varints, as package encoding/binary
// writes them:
//
//	clients          how many that this file has not named yet, or names anew
//	  id             their number in this file from now on
//	  key            32 bytes
//	  length, name
//	groups           how many
//	  slot           signed
//	  entries        how many
//	    id           more than that of the entry before (the first: than -1)
//	    mask         a byte: which counts are not 0
//	    counts       these, in the order of Counts.list
const (
	headerSize = 28
	maxBody    = 64 << 20 // bytes
	maxGroups  = 1 << 16  // of a frame
)

// A header is what a frame begins with.
type header struct {
	length, sum uint32
	seq, covers uint64
}

func parseHeader(b []byte) (h header, err error) {
	h.length, h.sum = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	h.seq, h.covers = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	if binary.LittleEndian.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli) || h.length == 0 || h.length > maxBody {
		return h, errHeader
	}
	return h, nil
}

var errHeader = errors.New("the header of a block is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns a frame as it is on the disk. named are the clients, by id, that the file has
// named already; encode names the others.
func (f *frame) encode(named map[uint32]bool) ([]byte, error) {
	var raw []byte
	number := func(n uint64) { raw = binary.AppendUvarint(raw, n) }
	var ids []uint32
	for _, g := range f.groups {
		for _, e := range g.entries {
			if !named[e.id] {
				ids = append(ids, e.id)
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	number(uint64(len(ids)))
	for _, id := range ids {
		who := f.clients.list[id]
		number(uint64(id))
		raw = append(raw, who.Key[:]...)
		number(uint64(len(who.Name)))
		raw = append(raw, who.Name...)
	}
	number(uint64(len(f.groups)))
	for _, g := range f.groups {
		raw = binary.AppendVarint(raw, g.slot)
		number(uint64(len(g.entries)))
		last := int64(-1)
		for _, e := range g.entries {
			number(uint64(int64(e.id) - last))
			last = int64(e.id)
			at := len(raw)
			raw = append(raw, 0)
			for i, n := range e.list() {
				if *n != 0 {
					raw[at] |= 1 << i
					number(*n)
				}
			}
		}
	}

	out := bytes.NewBuffer(make([]byte, headerSize, headerSize+len(raw)/2))
	w, err := flate.NewWriter(out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	w.Write(raw) // to memory
	w.Close()
	b := out.Bytes()
	binary.LittleEndian.PutUint32(b, uint32(len(b)-headerSize))
	binary.LittleEndian.PutUint64(b[8:], f.seq)
	binary.LittleEndian.PutUint64(b[16:], f.covers)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[headerSize:], castagnoli))
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli))
	return b, nil
}

// A decoder reads the bodies of one file's frames, in order.
type decoder struct {
	ring    ring
	clients map[uint32]Client // as this file numbers them
	zip     io.ReadCloser
	in      *bufio.Reader
}

func newDecoder(r ring) *decoder {
	return &decoder{
		ring:    r,
		clients: make(map[uint32]Client),
		zip:     flate.NewReader(bytes.NewReader(nil)),
		in:      bufio.NewReader(nil),
	}
}

var errBody = errors.New("what a block says makes no sense")

// decode reads the body of a frame, and calls each for its entries, in order. If that returns
// false, decode leaves out the rest of the group. The memory that it takes depends only on the number of
// clients.
func (d *decoder) decode(body io.Reader, each func(slot int64, who Client, c Counts) bool) error {
	if err := d.zip.(flate.Resetter).Reset(body, nil); err != nil {
		return err
	}
	d.in.Reset(d.zip)
	named, err := d.number(maxClients)
	if err != nil {
		return err
	}
	for range named {
		if err := d.client(); err != nil {
			return err
		}
	}
	groups, err := d.number(maxGroups)
	if err != nil {
		return err
	}
	for range groups {
		if err := d.group(each); err != nil {
			return err
		}
	}
	if _, err := d.in.ReadByte(); err != io.EOF {
		return errBody
	}
	return nil
}

// number reads a number that is not larger than most.
func (d *decoder) number(most uint64) (uint64, error) {
	n, err := binary.ReadUvarint(d.in)
	if err == nil && n > most {
		err = errBody
	}
	return n, err
}

func (d *decoder) client() error {
	id, err1 := d.number(maxClients - 1)
	var key noise.PublicKey
	_, err2 := io.ReadFull(d.in, key[:])
	length, err3 := d.number(255)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(d.in, name); err != nil {
		return err
	}
	if err := identity.CheckName(string(name)); err != nil {
		return err
	}
	d.clients[uint32(id)] = Client{key, string(name)}
	return nil
}

func (d *decoder) group(each func(slot int64, who Client, c Counts) bool) error {
	slot, err1 := binary.ReadVarint(d.in)
	entries, err2 := d.number(maxClients)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if slot < 0 || slot > maxTime/int64(d.ring.step/time.Second) {
		return errBody
	}
	last, wanted := int64(-1), true
	for range entries {
		more, err := d.number(maxClients)
		if err != nil {
			return err
		}
		last += int64(more)
		who, known := d.clients[uint32(last)]
		mask, err := d.in.ReadByte()
		if err != nil || more == 0 || last >= maxClients || !known || mask>>fields != 0 {
			return errors.Join(err, errBody)
		}
		var c Counts
		for i, n := range c.list() {
			if mask>>i&1 == 0 {
				continue
			}
			if *n, err = binary.ReadUvarint(d.in); err != nil {
				return err
			}
		}
		wanted = wanted && each(slot, who, c)
	}
	return nil
}

// maxTime is the largest time in a file, in seconds since 1970: the year has four digits, as the
// JSON of package time demands.
const maxTime = 253_402_300_799
