package pcap

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The content of the file, byte by byte.
func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "test.pcap")
	require.NoError(t, os.WriteFile(name, []byte("an older file, longer than the one that replaces it ..."), 0o600))
	w, err := Create(name)
	require.NoError(t, err)

	read := func() string {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		return hex.EncodeToString(b)
	}
	header := "d4c3b2a1" + "0200" + "0400" + "00000000" + "00000000" + "ffff0000" + "65000000"
	require.Equal(t, header, read())

	// Each packet is there when Write returns.
	require.NoError(t, w.Write(time.Unix(0x01020304, 0x000a0b0c*1000+999), []byte{0x45, 0, 1}))
	first := "04030201" + "0c0b0a00" + "03000000" + "03000000" + "450001"
	require.Equal(t, header+first, read())
	require.NoError(t, w.Write(time.Unix(1, 0), nil))
	second := "01000000" + "00000000" + "00000000" + "00000000"
	require.Equal(t, header+first+second, read())
	require.NoError(t, w.Close())
	require.ErrorIs(t, w.Write(time.Unix(1, 0), nil), os.ErrClosed)
	require.Equal(t, header+first+second, read())
}

func TestLongPacketIsCut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "test.pcap")
	w, err := Create(name)
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, w.Write(time.Unix(1, 0), make([]byte, 70000)))
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Len(t, b, 24+16+65535)
	require.Equal(t, "ffff0000"+"70110100", hex.EncodeToString(b[24+8:24+16]))
}

// A full disk: the packet that does not fit is not there in part.
func TestFullDisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "test.pcap")
	w, err := Create(name)
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, w.Write(time.Unix(1, 0), make([]byte, 1000)))

	// A limit on the size of files stands in for the disk.
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = 1500
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	err = w.Write(time.Unix(2, 0), make([]byte, 1000))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	require.ErrorIs(t, err, syscall.EFBIG)

	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, int64(24+16+1000), info.Size())
	require.NoError(t, w.Write(time.Unix(3, 0), make([]byte, 1000)))
	info, err = os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, int64(24+2*(16+1000)), info.Size())
}

func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "no", "such.pcap"), ""} {
		_, err := Create(name)
		require.ErrorContains(t, err, strings.TrimSuffix("open "+name, "/"))
	}
	_, err := Create("/dev/full") // opens, and takes no byte
	require.ErrorIs(t, err, syscall.ENOSPC)
}

func TestWriteAllocatesNothing(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "test.pcap"))
	require.NoError(t, err)
	defer w.Close()
	p := make([]byte, 1400)
	now := time.Unix(1, 0)
	require.Zero(t, testing.AllocsPerRun(100, func() { w.Write(now, p) }))
}
