package wireguard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

func anyone(noise.PublicKey) bool { return true }

// What is noted is there for the next server, although the first one ended without a word.
func TestTimes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "asked")
	alice, bob := noise.GenerateKey().Public(), noise.GenerateKey().Public()
	a := OpenTimes(name, anyone)
	defer a.Close()
	for at := range uint64(5000) { // the file is written anew in between
		a.Note(alice, at+1)
	}
	a.Note(bob, 7)
	a.Note(bob, 6)
	require.EqualValues(t, 7, a.Newest(bob))
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(2*spareLines*maxTimeLine))
	require.Equal(t, os.FileMode(0o600), info.Mode())

	b := OpenTimes(name, func(k noise.PublicKey) bool { return k != bob })
	require.EqualValues(t, 5000, b.Newest(alice))
	require.Zero(t, b.Newest(bob), "whom the registry does not know any more is forgotten")
	require.NoError(t, b.Close())
}

// A line that was cut off is left out; a damaged file is set aside, and another one begun.
func TestDamagedTimes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "asked")
	alice, bob := noise.GenerateKey().Public(), noise.GenerateKey().Public()
	require.NoError(t, os.WriteFile(name, []byte(timeLine(alice, 5)+strings.TrimSuffix(timeLine(bob, 12345), "\n")), 0o600))
	a := OpenTimes(name, anyone)
	require.EqualValues(t, 5, a.Newest(alice))
	require.Zero(t, a.Newest(bob))
	a.Note(bob, 8) // not behind the rest of the line
	require.NoError(t, a.Close())
	a = OpenTimes(name, anyone)
	require.EqualValues(t, 8, a.Newest(bob))
	require.NoError(t, a.Close())

	for _, damage := range []string{"junk\n", timeLine(alice, 1) + noise.FormatKey(bob) + " -1\n", noise.FormatKey(bob) + "\n"} {
		require.NoError(t, os.WriteFile(name, []byte(damage), 0o600))
		a = OpenTimes(name, anyone)
		require.Zero(t, a.Newest(alice))
		a.Note(alice, 9)
		require.NoError(t, a.Close())
		a = OpenTimes(name, anyone)
		require.EqualValues(t, 9, a.Newest(alice))
		require.NoError(t, a.Close())
	}
	list, err := filepath.Glob(name + "*")
	require.NoError(t, err)
	require.Greater(t, len(list), 1, "the damaged ones are kept")
}

// If the file can't be written, clients come in all the same; when it can again, it is.
func TestTimesThatCantBeSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	name := filepath.Join(dir, "asked")
	alice := noise.GenerateKey().Public()
	a := OpenTimes(name, anyone)
	a.Note(alice, 1)
	require.EqualValues(t, 1, a.Newest(alice))
	require.NoError(t, os.Mkdir(dir, 0o700))
	a.Note(alice, 2)
	require.NoError(t, a.Close())
	a = OpenTimes(name, anyone)
	require.EqualValues(t, 2, a.Newest(alice))
	require.NoError(t, a.Close())
}

func FuzzTimes(f *testing.F) {
	f.Add(timeLine(noise.PublicKey{1}, 5) + timeLine(noise.PublicKey{1}, 4))
	f.Fuzz(func(t *testing.T, text string) {
		times, err := parseTimes(text)
		if err != nil {
			return
		}
		var again strings.Builder
		for key, at := range times {
			again.WriteString(timeLine(key, at))
		}
		read, err := parseTimes(again.String())
		if err != nil || len(read) != len(times) {
			t.Fatalf("%q is read as %v, which is written as %q: %v", text, times, again.String(), err)
		}
		for key, at := range times {
			if read[key] != at {
				t.Fatalf("%v: %d became %d", key, at, read[key])
			}
		}
	})
}
