package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/rotation"
)

// An item is a file that a backup may have.
type item struct {
	name  string // in the archive
	path  string // on the host
	limit int    // of its size, in bytes
	must  bool   // it is an error if it is missing
}

// A part is a server or a client: its settings, and the files that these name or imply. worker is
// the folder of a server's worker, or "". What is in that is restored as a whole, because its
// files belong to another user.
type part struct {
	kind   string // config.KindServer or config.KindClient
	state  string // the folder of the setting state
	items  []item // the settings come first
	worker string
}

const (
	maxSettings = 64 << 10
	maxSecret   = 4 << 10
	maxList     = 64 << 20 // of the registry and others that have a line for each client
)

// workerFiles are the files in a worker's folder that a backup has. The worker's copy of the
// registry is not among them: the keeper makes it again at each start.
var workerFiles = map[string]string{
	"server/leases": keeper.LeasesName, "server/seen": keeper.SeenName, "server/asked": keeper.AskedName,
	"server/used": keeper.UsedName, // since version 2: without it, everybody has a full quota again
}

// usage is a folder in the worker's folder of which a backup has all files.
const (
	usageName   = "server/usage/"
	usageFolder = "pool/usage"
)

// isUsage reports whether a name in an archive is that of a file in the folder usage.
func isUsage(name string) bool {
	base, is := strings.CutPrefix(name, usageName)
	return is && len(base) > 0 && len(base) <= 64 && base[0] != '.' &&
		!strings.ContainsFunc(base, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
		})
}

// settingsName returns the name of the settings in an archive.
func settingsName(kind string) string { return kind + "/" + kind + ".toml" }

// settingsPath returns the path of the settings in a folder.
func settingsPath(dir, kind string) string { return filepath.Join(dir, kind+".toml") }

// kinds are the parts that an archive may have, in order.
var kinds = []string{config.KindServer, config.KindClient}

// partOf returns the part of a kind whose settings have this text, if they are in the folder dir.
func partOf(kind, dir string, text []byte) (*part, error) {
	file := settingsPath(dir, kind)
	p := &part{kind: kind, items: []item{{settingsName(kind), file, maxSettings, true}}}
	add := func(name, path string, limit int, must bool) {
		if path != "" {
			p.items = append(p.items, item{kind + "/" + name, path, limit, must})
		}
	}
	if kind == config.KindServer {
		s, err := config.ParseServer(file, text)
		if err != nil {
			return nil, err
		}
		p.state, p.worker = s.State, filepath.Join(s.State, keeper.WorkerFolder)
		add("key", s.Key, maxSecret, true)
		add("key.next", s.NextKeyFile(), maxSecret, false)
		add("psk", s.PSK, maxSecret, true)
		add("clients", s.Clients, maxList, true)
		add("clients.psk", keeper.PSKSecretFile(s), maxSecret, false)
		add("wireguard.key", keeper.WireGuardKeyFile(s), maxSecret, false)
		audit := filepath.Join(s.State, control.AuditName)
		add("audit.log", audit, maxList, false)
		add("audit.log"+control.OlderAudit, audit+control.OlderAudit, maxList, false)
		return p, p.check()
	}
	c, err := config.ParseClient(file, text)
	if err != nil {
		return nil, err
	}
	p.state = c.State
	add("key", c.Key, maxSecret, true)
	add("psk", c.PSKFile, maxSecret, true)
	add("login", c.Login, maxSecret, true)
	add("wireguard.conf", c.WireGuardFile, maxSettings, true)
	add("server-keys", rotation.File(c.State), maxSecret, false)
	return p, p.check()
}

// check returns an error if two files of the part would have the same path.
func (p *part) check() error {
	taken := make(map[string]bool)
	for _, i := range p.items {
		path := filepath.Clean(i.path)
		for _, name := range append(asides(path), path, path+draftSuffix) {
			if taken[name] {
				return fmt.Errorf("the settings of the %s give two files the same name: %s", p.kind, i.path)
			}
			taken[name] = true
		}
		if p.worker != "" && within(p.worker, path) {
			return fmt.Errorf("the settings of the %s name %s, which is in the folder of its worker", p.kind, i.path)
		}
	}
	return nil
}

// within reports whether a path is that of a folder, or leads to something in it.
func within(folder, path string) bool {
	rel, err := filepath.Rel(filepath.Clean(folder), filepath.Clean(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// exists reports whether there is anything of that name.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
