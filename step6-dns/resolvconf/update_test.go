package resolvconf

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step6-dns/resolvconf/owner"
)

// A client may be updated while it runs, and then be killed: what the program as it was
// before has written down, and set aside, is put back by the one that comes after it. The
// journals are as the first release wrote them.
func TestJournalsOfBefore(t *testing.T) {
	const (
		ours = "# Written by the VPN client while it is connected (lo). The original comes back\nnameserver 10.8.0.1\n"
		head = `{"version":1,"path":%q,"boot":"eda16d40-cab4-4c71-b085-fc36df9cb9c9","device":"lo","index":1,`
		text = `"written":"IyBXcml0dGVuIGJ5IHRoZSBWUE4gY2xpZW50IHdoaWxlIGl0IGlzIGNvbm5lY3RlZCAobG8pLiBUaGUgb3JpZ2luYWwgY29tZXMgYmFjawpuYW1lc2VydmVyIDEwLjguMC4xCg=="}}`
		file = `"file":{"found":{"kind":"file","data":"bmFtZXNlcnZlciAxOTguNTEuMTAwLjEK","mode":416},` + text
	)
	original := "nameserver 198.51.100.1\n"
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o640)) }
	for _, c := range []struct {
		name, journal string
		left, was     func(path string)
	}{
		{"file", file,
			func(path string) { write(path, ours); write(path+".before-stepvpn", original) },
			func(path string) { write(path, original) }},
		{"file, before it was exchanged", file,
			func(path string) { write(path, original); write(path+".before-stepvpn", ours) },
			func(path string) { write(path, original) }},
		{"file, the original lost", file,
			func(path string) { write(path, ours) },
			func(path string) { write(path, original) }},
		{"absent", `"file":{"found":{"kind":"absent"},` + text,
			func(path string) { write(path, ours) },
			func(string) {}},
		{"symlink", `"file":{"found":{"kind":"symlink","target":"/run/none"},` + text,
			func(path string) {
				write(path, ours)
				require.NoError(t, os.Symlink("/run/none", path+".before-stepvpn"))
			},
			func(path string) { require.NoError(t, os.Symlink("/run/none", path)) }},
		{"symlink to the stub", `"file":{"found":{"kind":"symlink","target":"/run/none"},"stub":true}}`,
			func(path string) {
				require.NoError(t, os.Symlink("/run/systemd/resolve/stub-resolv.conf", path))
				require.NoError(t, os.Symlink("/run/none", path+".before-stepvpn"))
			},
			func(path string) { require.NoError(t, os.Symlink("/run/none", path)) }},
		{"in place, half written", `"file":{"inPlace":true,"found":{"kind":"file","data":"bmFtZXNlcnZlciAxOTguNTEuMTAwLjEK","mode":416},` + text,
			func(path string) { write(path, ours[:30]) },
			func(path string) { write(path, original) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := newHost(t)
			c.was(was.path)
			h := newHost(t)
			c.left(h.path)
			require.NoError(t, os.Mkdir(h.state, 0o700))
			journal := fmt.Sprintf(head, h.path) + c.journal
			require.NoError(t, os.WriteFile(filepath.Join(h.state, "resolvconf.json"), []byte(journal), 0o600))
			h.recover(t, true)
			require.Equal(t, contents(t, was), contents(t, h))
			h.clean(t)

			// An older program can read a newer one's, too.
			j, err := parseJournal([]byte(journal))
			require.NoError(t, err)
			again, err := json.Marshal(j)
			require.NoError(t, err)
			require.Equal(t, journal, string(again))
		})
	}

	j, err := parseJournal([]byte(fmt.Sprintf(head, "/x") + `"resolved":true,"openresolv":true}`))
	require.NoError(t, err)
	require.Equal(t, owner.Told{Boot: "eda16d40-cab4-4c71-b085-fc36df9cb9c9", Device: "lo", Index: 1, Resolved: true, Openresolv: true}, j.Told)
}

// contents lists what there is beside the file, by name.
func contents(t *testing.T, h *host) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(filepath.Dir(h.path))
	require.NoError(t, err)
	for _, e := range entries {
		s, err := look(filepath.Join(filepath.Dir(h.path), e.Name()))
		require.NoError(t, err)
		found[e.Name()] = fmt.Sprintf("%v %v %q", s, s.Mode, s.Data)
	}
	return found
}
