package lastseen

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func key(n byte) noise.PublicKey { return noise.PublicKey{n} }

var own noise.PublicKey // the server has always had this key

func everybody(noise.PublicKey) bool { return true }

// warned returns what is logged while f runs.
func warned(t *testing.T, do func()) string {
	t.Helper()
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	do()
	return log.String()
}

func TestRemembers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "seen")
	l := Open(name, everybody)
	l.Note(key(1), epoch.Add(time.Millisecond), own)
	l.Note(key(1), epoch.Add(-time.Hour), key(9)) // this one is older
	l.Note(key(3), epoch, own)
	l.Save()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, noise.FormatKey(key(1))+" 2026-01-02T03:04:05Z\n"+noise.FormatKey(key(3))+" 2026-01-02T03:04:05Z\n", string(text))
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	// A client that is no longer in the registry is dropped, also if the file has it.
	l = Open(name, func(k noise.PublicKey) bool { return k == key(3) })
	l.Save()
	times, err := Read(name)
	require.NoError(t, err)
	require.Equal(t, Times{key(3): {At: epoch}}, times)
}

// The file says by which key of the server a client came last, not by which keys it has ever
// come.
func TestByWhichKey(t *testing.T) {
	name := filepath.Join(t.TempDir(), "seen")
	l := Open(name, everybody)
	for _, by := range []noise.PublicKey{own, key(7), key(8), own, key(8)} {
		l.Note(key(1), epoch, by) // in the same second
		l.Save()
		times, err := Read(name)
		require.NoError(t, err)
		require.Equal(t, Times{key(1): {epoch, by}}, times)
		require.Equal(t, times, Open(name, everybody).times)
	}
}

func TestDamaged(t *testing.T) {
	line := noise.FormatKey(key(1)) + " 2026-01-02T03:04:05Z\n"
	for what, damage := range map[string]string{
		"cut":       line[:60],
		"binary":    "\x00\xff",
		"no time":   noise.FormatKey(key(1)) + "\n",
		"bad key":   strings.TrimSuffix(line, "\n") + " " + line[:43] + "\n",
		"two words": strings.TrimSuffix(line, "\n") + " " + line[:44] + " x\n",
		"more":      strings.TrimSuffix(line, "\n") + " x\n",
		"twice":     line + line,
		"too large": strings.Repeat("\n", maxSize+1),
	} {
		name := filepath.Join(t.TempDir(), "seen")
		require.NoError(t, os.WriteFile(name, []byte(damage), 0o600))
		_, err := Read(name)
		require.Error(t, err, what)
		require.Contains(t, warned(t, func() {
			l := Open(name, everybody)
			l.Note(key(1), epoch, own)
			l.Save()
		}), "is damaged and was set aside", what)
		aside, err := os.ReadFile(name + ".damaged")
		require.NoError(t, err)
		require.Equal(t, damage, string(aside))
		times, err := Read(name)
		require.NoError(t, err, what)
		require.Len(t, times, 1)
	}
	// A symbolic link or a folder in the file's place does not lead root elsewhere.
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/secret", []byte("hunter2"), 0o600))
	require.NoError(t, os.Symlink(dir+"/secret", dir+"/seen"))
	_, err := Read(dir + "/seen")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
	warned(t, func() { Open(dir+"/seen", everybody).Save() })
	require.NoError(t, os.Mkdir(dir+"/folder", 0o700))
	require.Contains(t, warned(t, func() { Open(dir+"/folder", everybody) }), "set aside")
}

// The file is written soon after the first news, and then at most once a minute. A write that
// fails is tried again.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		require.NoError(t, os.Mkdir(dir, 0o700))
		name := dir + "/seen"
		l := Open(name, everybody)
		ctx, stop := context.WithCancel(t.Context())
		var there atomic.Pointer[noise.PublicKey]
		go l.Run(ctx, func() {
			if who := there.Load(); who != nil {
				l.Note(*who, time.Now(), own)
			}
		})
		has := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			times, err := Read(name)
			require.NoError(t, err)
			require.Len(t, times, want, when)
		}
		l.Note(key(1), time.Now(), own)
		has(1, "at once")
		l.Note(key(2), time.Now(), own)
		time.Sleep(saveEvery - time.Second)
		has(1, "not yet")
		time.Sleep(time.Second)
		has(2, "a minute later")
		there.Store(new(key(3)))
		time.Sleep(2 * saveEvery)
		has(3, "a connected client is seen")

		require.NoError(t, os.Rename(dir, dir+"2"))
		log := warned(t, func() {
			time.Sleep(5 * saveEvery)
			synctest.Wait()
		})
		require.Equal(t, 1, strings.Count(log, "can't be saved"), log)
		there.Store(new(key(4)))
		time.Sleep(2 * saveEvery)
		require.NoError(t, os.Rename(dir+"2", dir))
		time.Sleep(2 * saveEvery)
		has(4, "mended")
		stop()
		synctest.Wait()
	})
}

func FuzzParse(f *testing.F) {
	f.Add(noise.FormatKey(key(1)) + " 2026-01-02T03:04:05Z\n")
	f.Add(noise.FormatKey(key(1)) + " 2026-01-02T03:04:05Z " + noise.FormatKey(key(2)) + "\n")
	f.Add("\x00\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		times, err := parse(text)
		if err != nil {
			return
		}
		again, err := parse(times.String())
		require.NoError(t, err)
		require.Equal(t, times, again)
	})
}
