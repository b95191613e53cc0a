package policy

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A host is what changes are made to: it notes what is done, in order.
type host struct{ notes []string }

// change returns a Change that is noted, and that ends as given.
func (h *host) change(name string, do, undo error) Change {
	return Change{
		Command: name,
		Do:      func() error { h.notes = append(h.notes, "do "+name); return do },
		Undo:    func() error { h.notes = append(h.notes, "undo "+name); return undo },
	}
}

func (h *host) log(command string, _ ...any) { h.notes = append(h.notes, "log "+command) }

// Changes are announced and carried out in order, and undone the other way round, once.
func TestCarryOut(t *testing.T) {
	var h host
	undo, err := CarryOut([]Change{h.change("a", nil, nil), h.change("b", nil, nil), h.change("c", nil, nil)}, h.log)
	require.NoError(t, err)
	require.Equal(t, []string{"log a", "do a", "log b", "do b", "log c", "do c"}, h.notes)
	h.notes = nil
	for range 2 {
		require.NoError(t, undo())
		require.Equal(t, []string{"undo c", "undo b", "undo a"}, h.notes)
	}
}

// If a change fails, those before it are undone, and it is not: it may be somebody else's.
func TestHalfWay(t *testing.T) {
	var h host
	undo, err := CarryOut([]Change{
		h.change("a", nil, nil), h.change("b", nil, nil), h.change("c", unix.EEXIST, nil), h.change("d", nil, nil),
	}, h.log)
	require.EqualError(t, err, "c: it exists already")
	require.Nil(t, undo, "there is nothing to undo any more")
	require.Equal(t, []string{"log a", "do a", "log b", "do b", "log c", "do c", "undo b", "undo a"}, h.notes)

	h.notes = nil
	_, err = CarryOut([]Change{h.change("a", errors.New("no"), nil)}, h.log)
	require.EqualError(t, err, "a: no")
	require.Equal(t, []string{"log a", "do a"}, h.notes)
}

// An error while undoing ends nothing, and each one is told, under the command's name.
func TestUndoingGoesOnAfterAnError(t *testing.T) {
	var h host
	list := []Change{h.change("a", nil, errors.New("first")), h.change("b", nil, nil), h.change("c", nil, errors.New("third"))}
	undo, err := CarryOut(list, h.log)
	require.NoError(t, err)
	h.notes = nil
	for range 2 { // the second time says the same
		require.EqualError(t, undo(), "c: third\na: first")
		require.Equal(t, []string{"undo c", "undo b", "undo a"}, h.notes)
	}

	h.notes = nil
	_, err = CarryOut(append(list, h.change("d", errors.New("no"), nil)), h.log)
	require.EqualError(t, err, "d: no\nc: third\na: first", "all that went wrong, and what is left behind")
	require.Equal(t, []string{"undo c", "undo b", "undo a"}, h.notes[len(h.notes)-3:])
}

// A route vanishes with its device, and a person may remove a rule: there is nothing to undo then.
func TestWhatIsGoneIsUndone(t *testing.T) {
	for _, gone := range []error{unix.ENOENT, unix.ESRCH, unix.ENODEV} {
		var h host
		undo, err := CarryOut([]Change{h.change("a", nil, nil), h.change("b", nil, fmt.Errorf("netlink: %w", gone))}, h.log)
		require.NoError(t, err)
		require.NoError(t, undo())
		require.Equal(t, "undo a", h.notes[len(h.notes)-1])
	}
}
