package fast

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// refusing is a device whose kernel answers some writes with an error.
type refusing struct {
	syscall.RawConn
	w      *tunWriter
	answer func(h vnetHeader) unix.Errno
}

func (r refusing) Write(f func(uintptr) bool) error {
	if r.w.errno = r.answer(readVnet(r.w.header[:])); r.w.errno != 0 {
		return nil
	}
	return r.RawConn.Write(f)
}

// logged returns what slog writes while f runs.
func logged(f func()) string {
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	defer slog.SetDefault(before)
	f()
	return out.String()
}

func packets(list []spec) (packets [][]byte) {
	for _, s := range list {
		packets = append(packets, s.packet())
	}
	return packets
}

// When the kernel refuses super-packets, their packets are sent one by one, and so are later
// packets. That is logged once.
func TestKernelThatDoesNotTakeSuperPackets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, errno := range []unix.Errno{unix.EIO, unix.EINVAL} {
		for _, udp := range []bool{false, true} {
			want := packets(stream(r, spec{udp: udp}, 20, 1000))
			want[19][25] ^= 1 // the last one does not belong to the flow
			a, z := twoDevices(t, TUNOptions{})
			supers := 0
			a.raw = refusing{a.raw, &a.writer, func(h vnetHeader) unix.Errno {
				if h.gsoType == gsoNone {
					return 0
				}
				supers++
				return errno
			}}
			text := logged(func() {
				for range 3 {
					require.NoError(t, a.WriteBurst(burstOf(want...)))
					require.Equal(t, want, readPackets(t, z, len(want)))
				}
			})
			require.Equal(t, 1, supers)
			require.Equal(t, 1, bytes.Count([]byte(text), []byte("\n")), text)
			require.Contains(t, text, "the kernel does not accept large packets")
			require.Equal(t, !udp, a.o.NoGRO)
			require.Equal(t, !udp, a.writer.udp)
		}
	}
}

// A device that is down accepts nothing: that says nothing about super-packets.
func TestDeviceDown(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a, z := twoDevices(t, TUNOptions{})
	answer := unix.EIO
	a.raw = refusing{a.raw, &a.writer, func(vnetHeader) unix.Errno { return answer }}
	want := packets(stream(r, spec{}, 20, 1000))
	require.Empty(t, logged(func() { require.NoError(t, a.WriteBurst(burstOf(want...))) }))
	require.Equal(t, "unreachable 20", a.o.Drops.String())
	require.False(t, a.o.NoGRO)

	answer = 0
	require.NoError(t, a.WriteBurst(burstOf(want...)))
	require.Equal(t, want, readPackets(t, z, len(want)), "the headers are as they were")

	answer = unix.ENXIO
	require.ErrorIs(t, a.WriteBurst(burstOf(want...)), unix.ENXIO)
	require.ErrorIs(t, a.WriteBurst(burstOf(want[0])), unix.ENXIO)
}

// Each offload can be switched off from the start.
func TestNoGRO(t *testing.T) {
	want := packets(stream(rand.New(rand.NewPCG(1, 3)), spec{}, 3, 1000))
	dev, kernel := device(t, TUNOptions{NoGRO: true})
	require.NoError(t, dev.WriteBurst(burstOf(want...)))
	buf := make([]byte, frameRoom)
	for _, p := range want {
		n, err := kernel.Read(buf)
		require.NoError(t, err)
		require.Equal(t, p, buf[vnetLen:n])
	}
}
