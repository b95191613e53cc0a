package resolvconf

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/soak"
)

// enough is more steps than there are.
const enough = 60

// kill -9 before each step of Use and undo, for each kind of file: Recover puts
// everything back.
func TestKilled(t *testing.T) {
	stride := soak.Pick(t, 3, 1) // of the moments
	for first, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t)
			k.make(t, h)
			before := h.tree(t)
			seen := map[string]bool{}
			killed := true
			n := first%stride + 1 - stride
			for killed {
				n += stride
				require.Less(t, n, enough)
				var log string
				log, killed = h.run(t, fmt.Sprintf("use and undo@%d", n))
				now, _ := lookInside(h.path, 0)
				seen[string(now.Data)] = true

				_, err := Recover(h.config())
				require.NoError(t, err)
				require.Equal(t, before, h.tree(t), "step %d, the last of:\n%s", n, log)
				h.clean(t, "step", n)
			}
			require.Greater(t, n, 10)
			// It is ours for a few steps, of which the quick variant may meet none.
			require.True(t, seen[k.text] || stride > 1, "some were killed while the file was ours")
		})
	}
}

// A program that recovers may be killed, too, before each step.
func TestKilledWhileRecovering(t *testing.T) {
	stride := soak.Pick(t, 3, 1) // of the moments
	for first, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t)
			k.make(t, h)
			before := h.tree(t)
			for n := 1 + first%stride; ; n += stride {
				require.Less(t, n, enough)
				h.start(t, "use", allDone)(syscall.SIGKILL)
				log, killed := h.run(t, fmt.Sprintf("recover@%d", n))
				_, err := Recover(h.config()) // there may be nothing left to do
				require.NoError(t, err)
				require.Equal(t, before, h.tree(t), "step %d, the last of:\n%s", n, log)
				h.clean(t, "step", n)
				if !killed {
					require.Greater(t, n, 3)
					return
				}
			}
		})
	}
}

// The next Use recovers as well.
func TestKilledAndStartedAgain(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t)
			k.make(t, h)
			before := h.tree(t)
			for range 3 {
				h.start(t, "use", allDone)(syscall.SIGKILL)
				require.Equal(t, k.text, h.read(t))
			}
			undo := h.use(t)
			require.Equal(t, k.text, h.read(t))
			undo()
			require.Equal(t, before, h.tree(t))
			h.clean(t)
		})
	}
}
