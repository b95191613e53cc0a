package pathmtu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/secure"
)

func TestMessages(t *testing.T) {
	require.Equal(t, "kept\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00", string(probe{0x01020304, 12, false}.append([]byte("kept"))))
	for _, size := range []int{minProbe, 1400, maxProbe} {
		for _, both := range []bool{false, true} {
			p, ok := parseProbe(probe{7, size, both}.append(nil))
			require.True(t, ok)
			require.Equal(t, probe{7, size, both}, p)
			m := answer(p).append(nil)
			require.Len(t, m, map[bool]int{false: answerLen, true: size}[both])
			a, ok := parseAnswer(m)
			require.True(t, ok)
			require.Equal(t, answer(p), a)
			_, ok = parseAnswer(m[:len(m)-1])
			require.False(t, ok, "cut off")
		}
		f, ok := parseFound(found(size).append(nil))
		require.True(t, ok)
		require.Equal(t, found(size), f)
	}
	for _, size := range []int{0, minProbe - 1, maxProbe + 1} {
		_, ok := parseProbe(make([]byte, size))
		require.False(t, ok, "%d", size)
	}
	for _, size := range []int{0, 1, 3, 5, 7} {
		_, ok := parseAnswer(make([]byte, size))
		require.False(t, ok, "%d", size)
		_, ok = parseFound(make([]byte, size))
		require.False(t, ok, "%d", size)
	}
}

// The hub counts messages that no client of ours sends, and nobody answers them.
func TestServerTakesNothingElse(t *testing.T) {
	n := &network{path: New()}
	for kind, content := range map[byte][]byte{kindProbe: make([]byte, minProbe-1), kindFound: {1}, kindAnswer: make([]byte, answerLen), 99: nil} {
		require.False(t, n.serve(kind, content), "%d", kind)
	}
	require.Empty(t, n.path.answers)
	require.Zero(t, n.mtu)
	require.Empty(t, n.told)
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 5, 0})
	f.Add(make([]byte, minProbe))
	f.Add(probe{1, 100, true}.append(nil))
	f.Add(answer{1, 100, true}.append(nil))
	f.Fuzz(func(t *testing.T, m []byte) {
		if p, ok := parseProbe(m); ok {
			require.Len(t, p.append(nil), len(m))
			if p.both { // it is not padded
				require.Len(t, answer(p).append(nil), len(m))
				return
			}
			padded := (secure.ControlOverhead + len(answer(p).append(nil)) + 15) / 16 * 16
			require.LessOrEqual(t, padded, secure.ControlOverhead+len(m), "the answer is no longer")
		}
		if a, ok := parseAnswer(m); ok {
			require.Len(t, a.append(nil), len(m))
		}
		if s, ok := parseFound(m); ok {
			require.Equal(t, m, s.append(nil))
		}
	})
}
