package identity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var colour = NewOption("colour", func(value string) error {
	if value != "red" && value != "blue" {
		return errors.New("it is neither red nor blue")
	}
	return nil
})

// Another package's option is read, checked, changed and removed as our own are; all else in
// the line stays.
func TestNewOption(t *testing.T) {
	const text = "alice hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo= colour=red addr=10.8.0.7  # her phone\n"
	d := &Draft{file: "clients"}
	require.NoError(t, d.set(text))
	of := func() string {
		c, err := d.Find("alice")
		require.NoError(t, err)
		return colour.Of(c)
	}
	require.Equal(t, "red", of())
	before := d.Registry
	require.NoError(t, d.Set("alice", colour, "blue"))
	require.Equal(t, "blue", of())
	require.Equal(t, strings.Replace(text, "red", "blue", 1), d.text)
	require.Len(t, Diff(before, time.Now(), d.Registry, time.Now()).Updated, 1)
	require.ErrorContains(t, d.Set("alice", colour, "green"), "clients:1: colour=: it is neither red nor blue")
	require.Equal(t, "blue", of())
	require.NoError(t, d.Set("alice", colour, ""))
	require.Empty(t, of())
	require.Equal(t, strings.Replace(text, " colour=red", "", 1), d.text)
	require.NoError(t, d.Set("alice", colour, ""))
	require.NoError(t, d.Set("alice", colour, "red"))
	require.Contains(t, d.text, "addr=10.8.0.7 colour=red  # her phone\n")
	require.ErrorContains(t, d.Set("bob", colour, "red"), `no client "bob"`)

	// A client's whole line keeps it, as when the client is added once more.
	c, err := d.Find("alice")
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(c.text(), " addr=10.8.0.7 colour=red"), c.text())

	_, err = Parse("clients", strings.Replace(text, "colour", "shape", 1))
	require.ErrorContains(t, err, `"shape" is not an option: those are addr=, expires=, psk=, password= and colour=`)
	require.Error(t, colour.Check("green"))
	require.NoError(t, colour.Check("red"))
	require.Panics(t, func() { NewOption("colour", nil) })
	require.Panics(t, func() { NewOption("addr", nil) })
}
