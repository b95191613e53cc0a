package resolvconf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/step6-dns/resolvconf/owner"
)

// another is what some other program writes.
const another = "# by dhclient\nnameserver 192.0.2.53\n"

// A watcher is a log that is called before each step that is taken.
type watcher struct {
	slog.Handler
	see func(step string)
}

func (w watcher) Enabled(context.Context, slog.Level) bool { return true }
func (w watcher) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelDebug {
		w.see(r.Message)
	}
	return nil
}

// All that happens to the file happens while the journal is there.
func TestJournalFirst(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t)
			k.make(t, h)
			steps := 0
			slog.SetDefault(slog.New(watcher{slog.DiscardHandler, func(step string) {
				if !strings.Contains(step, h.path) {
					return
				}
				steps++
				if journals, _ := filepath.Glob(h.state + "/*.json"); len(journals) != 1 {
					t.Errorf("there is no journal, and this is done: %s", step)
				}
			}}))
			undo := h.use(t)
			require.NotZero(t, steps, "what Use does to the file")
			steps = 0
			undo()
			require.NotZero(t, steps, "what undo does to the file")
		})
	}
}

// If the file can't be taken over, all is as it was, and the next one may try.
func TestTakeOverFails(t *testing.T) {
	defer func() { renameat2 = unix.Renameat2 }()
	h := newHost(t)
	h.write(t, plain)
	before := h.tree(t)
	renameat2 = func(int, string, int, string, uint) error { return unix.EIO }
	_, err := Use(h.config())
	require.ErrorContains(t, err, "taking over "+h.path)
	require.ErrorIs(t, err, unix.EIO)
	require.Equal(t, before, h.tree(t), "as it was before it failed")
	h.clean(t)
	renameat2 = unix.Renameat2
	h.use(t)()
}

// If the file can't be put back, the journal stays until it can.
func TestPutBackFails(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	before := h.tree(t)
	undo, err := Use(h.config())
	require.NoError(t, err)
	require.NoError(t, os.Remove(h.path+aside))
	require.NoError(t, os.MkdirAll(h.path+aside+"/in the way", 0o755))
	require.ErrorContains(t, undo(), h.path+" is not as it was: ")
	require.ErrorContains(t, undo(), h.path+" is not as it was: ", "once more says the same")
	_, err = Recover(h.config())
	require.ErrorContains(t, err, h.path+" is not as it was: ", "what is in the way still is")
	require.NoError(t, os.RemoveAll(h.path+aside))
	h.recover(t, true)
	require.Equal(t, noInodes(before), noInodes(h.tree(t)))
	h.clean(t)
}

// If another program has written the file meanwhile, that stays, and the original is not
// lost.
func TestChangedMeanwhile(t *testing.T) {
	for _, k := range kinds {
		for _, killed := range []bool{false, true} {
			t.Run(k.name, func(t *testing.T) {
				if strings.Contains(k.name, "directory that cannot change") {
					t.Skip("anybody who may change it can: the same as a bind mount")
				}
				h := newHost(t)
				k.make(t, h)
				found, err := look(h.path)
				require.NoError(t, err)
				var undo func()
				if killed {
					h.start(t, "use", allDone)(syscall.SIGKILL)
				} else {
					undo = h.use(t)
				}
				if strings.Contains(k.name, "bind mount") {
					h.write(t, another)
				} else {
					require.NoError(t, os.WriteFile(h.path+".new", []byte(another), 0o644))
					require.NoError(t, os.Rename(h.path+".new", h.path))
				}
				log := logged(func() {
					if killed {
						h.recover(t, true)
					} else {
						undo()
					}
				})
				require.Equal(t, another, h.read(t))
				require.Contains(t, log, "level=WARN")
				require.Contains(t, log, h.path+" was changed by another program meanwhile: left alone. Before, ")
				_, err = os.Lstat(h.path + aside)
				require.ErrorIs(t, err, os.ErrNotExist)
				switch found.Kind {
				case isAbsent:
					require.Contains(t, log, "there was none")
				case isSymlink:
					require.Contains(t, log, `it was a symlink to \"`+found.Target)
				default:
					_, name, _ := strings.Cut(log, "it was as in ")
					name = strings.Trim(strings.Fields(name)[0], `"`)
					require.Equal(t, h.state, filepath.Dir(name))
					kept, err := os.ReadFile(name)
					require.NoError(t, err)
					require.Equal(t, string(found.Data), string(kept))
					require.NoError(t, os.Remove(name))
				}
				h.clean(t)
				h.recover(t, false)
				h.use(t)()
				require.Equal(t, another, h.read(t))
			})
		}
	}
}

// Removed, or something else in its place, is changed too.
func TestRemovedMeanwhile(t *testing.T) {
	for _, put := range []func(path string) error{
		func(string) error { return nil },
		func(path string) error { return os.Mkdir(path, 0o755) },
		func(path string) error { return os.Symlink("/elsewhere", path) },
		func(path string) error { return os.WriteFile(path, make([]byte, 2*maxFile), 0o644) },
	} {
		h := newHost(t)
		h.write(t, plain)
		undo := h.use(t)
		require.NoError(t, os.Remove(h.path))
		require.NoError(t, put(h.path))
		log := logged(undo)
		require.Contains(t, log, "left alone")
		matches, err := filepath.Glob(h.state + "/resolv.conf-*")
		require.NoError(t, err)
		require.Len(t, matches, 1)
	}
}

// The number of copies that are kept for a person to look at is bounded.
func TestKeptAreBounded(t *testing.T) {
	h := newHost(t)
	var log string
	for i := range 2 * maxKept {
		h.write(t, fmt.Sprintf("nameserver 198.51.100.%d\n", i))
		undo := h.use(t)
		require.NoError(t, os.Remove(h.path))
		log = logged(undo)
	}
	kept, err := filepath.Glob(h.state + "/resolv.conf-*")
	require.NoError(t, err)
	require.Len(t, kept, maxKept)
	_, name, _ := strings.Cut(log, "it was as in ")
	require.FileExists(t, strings.Trim(strings.Fields(name)[0], `"`), "the last one is among them")
}

// If the original that was set aside is gone, or something else is there, the journal
// has it.
func TestAsideLost(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t)
			k.make(t, h)
			if strings.Contains(k.name, "attribute") || k.name == "hard link" || strings.Contains(k.name, "directory") {
				return // they go with the inode
			}
			before := noInodes(h.tree(t))
			for _, lose := range []func(name string) error{
				os.Remove,
				func(name string) error { return errors.Join(os.Remove(name), os.Symlink("elsewhere", name)) },
			} {
				undo := h.use(t)
				if _, err := os.Lstat(h.path + aside); err == nil {
					require.NoError(t, lose(h.path+aside))
				}
				undo()
				require.Equal(t, before, noInodes(h.tree(t)))
				h.clean(t)
			}
		})
	}
}

// If the journal is removed while the client runs, the client still knows.
func TestJournalLost(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	before := h.tree(t)
	undo := h.use(t)
	require.NoError(t, os.RemoveAll(h.state))
	undo()
	require.Equal(t, before, h.tree(t))
}

// After a reboot the network has other numbers, the file is as it was.
func TestReboot(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	before := h.tree(t)
	h.start(t, "use", allDone)(syscall.SIGKILL)
	h.edit(t, func(j *journal) { j.Boot, j.Index, j.Device = "another", 4711, "vpn9" })
	h.recover(t, true)
	require.Equal(t, before, h.tree(t))
}

// edit changes the journal.
func (h *host) edit(t *testing.T, change func(*journal)) {
	t.Helper()
	name := h.state + "/resolvconf.json"
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	j, err := parseJournal(data)
	require.NoError(t, err)
	change(j)
	data, err = json.Marshal(j)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, data, 0o600))
}

// A journal that is damaged, or hostile, changes nothing, and stays.
func TestBadJournals(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	h.start(t, "use", allDone)(syscall.SIGKILL)
	name := h.state + "/resolvconf.json"
	good, err := os.ReadFile(name)
	require.NoError(t, err)
	replace := func(from, to string) []byte {
		require.Contains(t, string(good), from)
		return []byte(strings.Replace(string(good), from, to, 1))
	}
	for _, c := range []struct {
		name, says string
		data       []byte
	}{
		{"empty", "it is damaged: unexpected end of JSON input", nil},
		{"truncated", "it is damaged: unexpected end of JSON input", good[:len(good)/2]},
		{"more behind it", "it is damaged: invalid character", append(good[:len(good):len(good)], "{}"...)},
		{"zeros", "it is damaged: invalid character", make([]byte, len(good))},
		{"huge", "it is larger than 262144 bytes", make([]byte, maxJournal+1)},
		{"of the future", "it is of version 2, this program knows 1", replace(`"version":1`, `"version":2,"new":[]`)},
		{"of no version", "it is of version 0, this program knows 1", []byte("{}")},
		{"unknown field", `it is damaged: json: unknown field "more"`, replace(`"version":1`, `"version":1,"more":1`)},
		{"another file", `it is about "/etc/shadow", not ` + h.path, replace(h.path, "/etc/shadow")},
		{"an option for a device", `device "--help" with index 1 cannot be`, replace(`"device":"lo"`, `"device":"--help"`)},
		{"no index", `device "lo" with index -1 cannot be`, replace(`"index":1`, `"index":-1`)},
		{"setuid", "the file's owner or mode cannot be", replace(`"mode":420`, `"mode":8388973`)},
		{"negative owner", "the file's owner or mode cannot be", replace(`},"written"`, `,"uid":-1},"written"`)},
		{"no kind", `a file of kind "" with these properties cannot be`, replace(`"kind":"file"`, `"kind":""`)},
		{"a file with a target", `a file of kind "file" with these properties cannot be`, replace(`"kind":"file"`, `"kind":"file","target":"/etc/shadow"`)},
		{"nothing with content", `a file of kind "absent" with these properties cannot be`, replace(`"kind":"file"`, `"kind":"absent"`)},
		{"symlink without target", `a file of kind "symlink" with these properties cannot be`, replace(`"kind":"file"`, `"kind":"symlink"`)},
		{"nothing written", "the file's content cannot be", replace(`"written":"`, `"written":"","written2":"`)},
		{"null", "it is of version 0", []byte("null")},
		{"a list", "it is damaged: json: cannot unmarshal array", []byte("[1]")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "nothing written" {
				c.data = []byte(`{"version":1,"path":"` + h.path + `","boot":"","device":"lo","index":1,"file":{"found":{"kind":"absent"},"written":""}}`)
			}
			require.NoError(t, os.WriteFile(name, c.data, 0o600))
			before := append(h.tree(t), tree(t, h.state)...)
			_, err := Recover(h.config())
			require.ErrorContains(t, err, "journal "+name+": "+c.says)
			_, err = Use(h.config())
			require.ErrorContains(t, err, "journal "+name+": "+c.says)
			require.NotContains(t, err.Error(), "\n")
			require.Equal(t, before, append(h.tree(t), tree(t, h.state)...))
		})
	}

	require.NoError(t, os.WriteFile(name, good, 0o600))
	require.NoError(t, os.Chmod(name, 0o666))
	_, err = Recover(h.config())
	require.ErrorContains(t, err, "it is not ours alone")
	require.NoError(t, os.Chmod(name, 0o600))
	require.NoError(t, os.Rename(name, name+".other"))
	require.NoError(t, os.Symlink(name+".other", name))
	_, err = Recover(h.config())
	require.ErrorContains(t, err, "too many levels of symbolic links")
	require.NoError(t, os.Rename(name+".other", name))
	h.recover(t, true)
	require.Equal(t, plain, h.read(t))
}

// Whatever is accepted is written the same way again, and about one file.
func FuzzJournal(f *testing.F) {
	for _, j := range []*journal{
		{Version: 1, Path: "/etc/resolv.conf", Told: owner.Told{Device: "vpn0", Index: 7, Resolved: true}},
		{Version: 1, Path: "/x", Told: owner.Told{Device: "vpn0", Index: 7}, File: &fileChange{Found: snapshot{Kind: isAbsent}, Written: []byte("x")}},
		{Version: 1, Path: "/x", Told: owner.Told{Device: "vpn0", Index: 7}, File: &fileChange{Found: snapshot{Kind: isAbsent}, Stub: true}},
		{Version: 1, Path: "/x", Told: owner.Told{Device: "vpn0", Index: 7}, File: &fileChange{Found: snapshot{Kind: isSymlink, Target: "y"}, Written: []byte("x")}},
		{Version: 1, Path: "/x", Told: owner.Told{Device: "vpn0", Index: 7}, File: &fileChange{InPlace: true, Found: snapshot{Kind: isFile, Data: []byte("z"), Mode: 0o644}, Written: []byte("x")}},
	} {
		data, err := json.Marshal(j)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := parseJournal(data)
		if err != nil {
			require.Nil(t, j)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		again, err := json.Marshal(j)
		require.NoError(t, err)
		same, err := parseJournal(again)
		require.NoError(t, err)
		require.Equal(t, j, same)
	})
}
