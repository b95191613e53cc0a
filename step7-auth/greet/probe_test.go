package greet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) {
	p := Probe{ID: 0x01020304, Size: 8}
	m := p.Append([]byte("kept"))
	require.Equal(t, "kept\x01\x02\x03\x04\x00\x00\x00\x00", string(m))
	for _, size := range []int{MinProbe, 1400, MaxProbe} {
		p := Probe{ID: 7, Size: size}
		got, err := ParseProbe(p.Append(nil))
		require.NoError(t, err)
		require.Equal(t, p, got)
		answer, err := ParseProbed(got.Answer().Append(nil))
		require.NoError(t, err)
		require.Equal(t, Probed(p), answer)
	}
	for _, size := range []int{0, MinProbe - 1, MaxProbe + 1} {
		_, err := ParseProbe(make([]byte, size))
		require.ErrorIs(t, err, errFormat, "%d", size)
	}
	for _, size := range []int{0, 5, 7} {
		_, err := ParseProbed(make([]byte, size))
		require.ErrorIs(t, err, errFormat, "%d", size)
	}
}
