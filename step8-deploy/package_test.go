package step8_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/netlab"
)

// deb builds the package of a version, "" for that of the changelog, and returns its path.
func deb(t *testing.T, version, arch string) string {
	t.Helper()
	return debIn(t, ".", arch, "VERSION="+version)
}

// debIn builds a package in a copy of this step's folder.
func debIn(t *testing.T, step, arch string, env ...string) string {
	t.Helper()
	cmd := exec.Command("package/build.sh", arch)
	cmd.Dir = step
	cmd.Env = append(append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=", "OUT="+t.TempDir()), env...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, "%s%s", out, problems.String())
	return strings.TrimSpace(string(out))
}

// unpacked returns the folder into which a package was unpacked.
func unpacked(t *testing.T, file string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deb")
	out, err := exec.Command("dpkg-deb", "-R", file, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// files returns the names of all files below a folder that keep tells, in order.
func files(t *testing.T, dir string, keep func(name string) bool) (list []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err == nil && !d.IsDir() && keep(name) {
			list = append(list, name)
		}
		return err
	}))
	return list
}

// The packages are as Debian wants them, for both processors; the same source gives the same
// bytes, wherever it is; and they have the files of 'make install'.
func TestDeb(t *testing.T) {
	takesLong(t)
	for _, program := range []string{"dpkg-deb", "lintian"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("it needs dpkg-deb and lintian: shared/lab/setup.sh lintian")
		}
	}
	amd64, arm64 := deb(t, "", "amd64"), deb(t, "", "arm64")
	for file, machine := range map[string]elf.Machine{amd64: elf.EM_X86_64, arm64: elf.EM_AARCH64} {
		out, err := exec.Command("lintian", "--fail-on", "error,warning", "--allow-root", file).CombinedOutput()
		require.NoError(t, err, "%s", out)
		program, err := elf.Open(filepath.Join(unpacked(t, file), "usr/bin/stepvpn"))
		require.NoError(t, err)
		require.Equal(t, machine, program.Machine)
		require.Nil(t, program.Section(".interp"), "it needs no libraries")
		require.NoError(t, program.Close())
	}

	// The detector finds a mistake.
	bad := unpacked(t, amd64)
	require.NoError(t, os.Chmod(filepath.Join(bad, "usr/bin/stepvpn"), 0o777))
	out, err := exec.Command("sh", "-ec", `dpkg-deb --root-owner-group -b "$0" "$0.deb"; lintian --fail-on error,warning --allow-root "$0.deb"`, bad).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "non-standard-executable-perm")

	// What is in it is what 'make install' installs, and what Debian wants besides.
	dest := filepath.Join(t.TempDir(), "dest")
	cmd := exec.Command("make", "--silent", "install", "DESTDIR="+dest)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	base := func(list []string) (names []string) {
		for _, name := range list {
			names = append(names, strings.TrimSuffix(filepath.Base(name), ".gz"))
		}
		slices.Sort(names)
		return names
	}
	everything := func(string) bool { return true }
	require.Equal(t, base(files(t, dest, everything)), base(files(t, unpacked(t, amd64), func(name string) bool {
		return !strings.HasPrefix(name, "DEBIAN/") && !strings.Contains(name, "/lintian/") && !strings.HasSuffix(name, "/copyright") && !strings.HasSuffix(name, "/changelog.gz")
	})))

	// Another copy of the course, at another time, by somebody else.
	elsewhere := filepath.Join(t.TempDir(), "a copy")
	out, err = exec.Command("sh", "-ec", `mkdir "$0"; cd ..; tar -c --exclude=.git --exclude=.cache --exclude=bin --exclude=out . | tar -x -m -C "$0"`, elsewhere).CombinedOutput()
	require.NoError(t, err, "%s", out)
	again := debIn(t, filepath.Join(elsewhere, "step8-deploy"), "amd64", "TZ=Asia/Tokyo", "LC_ALL=C", "USER=somebody", "VERSION=")
	one, err := os.ReadFile(amd64)
	require.NoError(t, err)
	two, err := os.ReadFile(again)
	require.NoError(t, err)
	require.True(t, bytes.Equal(one, two), "the packages differ")
}

// A debian is a host of the lab as a machine with systemd on which packages can be installed.
type debian struct {
	t    *testing.T
	name string
	root string // where its files are, seen from outside
}

func newDebian(t *testing.T, name string) *debian {
	t.Helper()
	clean := func() { require.NoError(t, os.RemoveAll("/run/lab/machines/"+name)) }
	clean() // what another test has left
	must(t, "debian", name)
	d := &debian{t, name, must(t, "root", name)}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := machine(t, "exec", name, "journalctl", "--no-pager", "-o", "short-precise", "-u", "stepvpn-*", "-n", "150")
			t.Logf("%s's journal:\n%s", name, log)
		}
		machine(t, "off", name)
		clean()
	})
	must(t, "boot", name)
	return d
}

func (d *debian) path(name string) string { return filepath.Join(d.root, name) }

// try runs a command line, for two minutes at most.
func (d *debian) try(line string) (string, error) {
	return machine(d.t, "exec", d.name, "timeout", "120", "sh", "-ec", line)
}

func (d *debian) run(line string) string {
	d.t.Helper()
	out, err := d.try(line)
	require.NoError(d.t, err, "%s: %s", line, out)
	return out
}

// install installs a package, for the first time or as an upgrade.
func (d *debian) install(file string) string {
	d.t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(d.t, err)
	require.NoError(d.t, os.WriteFile(d.path("root/stepvpn.deb"), text, 0o600))
	return d.run("dpkg --no-triggers -i /root/stepvpn.deb")
}

// Server and client are installed by a package, upgraded while a download runs, removed,
// purged, and installed again. Nothing leaves in the clear meanwhile; and what is removed leaves the host
// as it was.
func TestPackage(t *testing.T) {
	takesLong(t)
	if why, err := machine(t, "check"); err != nil {
		require.Contains(t, why, "What to do: ", "if no machine can be booted, the script says why")
		t.Skip(why)
	}
	first, second := deb(t, "0.1.0", "amd64"), deb(t, "0.2.0", "amd64")
	lab := netlab.New(t)
	w := &world{lab, lab.Web.ServeSite(t), lab.Web.ServeDNS(t), t.TempDir()}
	server, alice := newDebian(t, "server"), newDebian(t, "alice")
	before := state(t, w.Alice)
	for _, d := range []*debian{server, alice} {
		d.install(first)
		require.Equal(t, "inactive\ninactive", d.run("systemctl is-active stepvpn-server stepvpn-client || true"), "there are no settings")
		require.Contains(t, d.run("stepvpn version"), "stepvpn 0.1.0 ")
	}

	server.run("stepvpn init server; stepvpn clients add alice -server " + w.Server.V4.String() + " -out /root/alice.toml")
	server.run(fmt.Sprintf(`sed -i 's/^# dns_upstreams = .*/dns_upstreams = ["%v"]/' /etc/stepvpn/server.toml`, w.Web.V4))
	server.run("systemctl --quiet enable --now stepvpn-server")
	text, err := os.ReadFile(server.path("root/alice.toml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(alice.path("etc/stepvpn/client.toml"), text, 0o600))
	eyes := w.watch(t, "before there is a VPN", true)
	eyes.more(20)
	alice.run("systemctl --quiet enable --now stepvpn-client; stepvpn wait-online")
	eyes.phase("connected", false)
	w.seenAs(t, w.Server.V4.String())

	// upgrade upgrades one of them, and returns when the new version has run.
	upgrade := func(of *debian, unit string) {
		t.Helper()
		eyes.phase("upgrade of "+of.name, false)
		main := func() string { return of.run("systemctl show --property=MainPID --value " + unit) }
		was := main()
		of.install(second)
		require.Contains(t, of.run("stepvpn version"), "stepvpn 0.2.0 ")
		require.NotEqual(t, was, main(), "what runs is the new version")
	}

	// The client's and the server's, while a download runs, which goes on. The client's host stays silent.
	const size = 200_000_000
	rest := w.path("rest")
	file := w.Alice.Start(t, "bash", "-c", fmt.Sprintf(`{ curl -sS "http://%v/file?bytes=%d"; echo "all has come" >&2; } |
		{ while [ ! -e %s ]; do head -c 65536; echo more >&2; sleep 0.1; done; cat; } | sha256sum`, w.Web.V4, size, rest))
	slow := download{file}
	slow.goesOn(t, "has begun")
	upgrade(alice, "stepvpn-client")
	slow.goesOn(t, "goes on after an upgrade of the client")
	upgrade(server, "stepvpn-server")
	slow.goesOn(t, "goes on after an upgrade of the server")
	w.seenAs(t, w.Server.V4.String())
	require.NotContains(t, file.Log(), "all has come")
	require.NoError(t, os.WriteFile(rest, nil, 0o600))
	require.Zero(t, file.Wait(t))
	require.Contains(t, file.Log(), site.Hash(size))
	eyes.more(20)

	// Removed, the host is online as before.
	eyes.phase("removed", true)
	alice.run("dpkg --no-triggers -r stepvpn")
	w.seenAs(t, w.Alice.V4.String())
	eyes.more(20)
	require.Equal(t, before, state(t, w.Alice))
	require.FileExists(t, alice.path("etc/stepvpn/client.toml"))

	// Installed again, it is as it was.
	alice.install(second)
	alice.run("systemctl start stepvpn-client")
	eyes.phase("installed again", false)
	w.seenAs(t, w.Server.V4.String())
	alice.run("stepvpn-web init -server " + w.Server.V4.String() + " >/dev/null; systemctl --quiet enable --now stepvpn-web")
	const users = "getent passwd; getent group"
	for _, name := range []string{"stepvpn-client", "stepvpn-server", "stepvpn-web", "stepvpn-status", "stepvpn-admin"} {
		require.Contains(t, alice.run(users), "\n"+name+":")
	}
	eyes.phase("removed again", true)
	alice.run("dpkg --no-triggers -P stepvpn")
	w.seenAs(t, w.Alice.V4.String())
	eyes.more(20)
	require.Equal(t, before, state(t, w.Alice))
	left := alice.run(`find /etc /var /usr /run -name '*stepvpn*' ! -path '/run/systemd/*'`)
	require.Empty(t, left)
	require.NotContains(t, alice.run(users), "stepvpn")
	eyes.verdict()
}

// Where policy-rc.d says that packages start nothing, as in images for containers, an installation starts
// nothing, and an upgrade leaves running what runs, and says so.
func TestPackageThatMayStartNothing(t *testing.T) {
	takesLong(t)
	if why, err := machine(t, "check"); err != nil {
		require.Contains(t, why, "What to do: ", "if no machine can be booted, the script says why")
		t.Skip(why)
	}
	first, second := deb(t, "0.1.0", "amd64"), deb(t, "0.2.0", "amd64")
	netlab.New(t)
	server := newDebian(t, "server")
	policy := func(code int) {
		server.run(fmt.Sprintf(`printf '#!/bin/sh\nexit %d\n' >/usr/sbin/policy-rc.d`, code))
	}
	main := func() string { return server.run("systemctl show --property=MainPID --value stepvpn-server") }

	// What is enabled beforehand starts with the machine, and not with the package.
	policy(101)
	server.install(first)
	server.run("stepvpn init server; systemctl --quiet enable stepvpn-server")
	server.run("dpkg --no-triggers -r stepvpn")
	server.install(first)
	require.Equal(t, "enabled\ninactive", server.run("systemctl is-enabled stepvpn-server; systemctl is-active stepvpn-server || true"))

	server.run("systemctl start stepvpn-server")
	was := main()
	says := server.install(second)
	require.Contains(t, says, "stepvpn: stepvpn-server.service was not restarted, because /usr/sbin/policy-rc.d says no: the version from before runs on.\n  Type, when it may be: systemctl restart stepvpn-server.service")
	require.NotContains(t, says, "stepvpn-client", "only what runs is worth a word")
	require.Equal(t, was, main())
	require.Contains(t, server.run("stepvpn version"), "stepvpn 0.2.0 ")
	require.NotContains(t, server.run("nft list tables"), "stepvpn_upgrade")

	policy(0)
	require.NotContains(t, server.install(first), "not restarted")
	require.NotEqual(t, was, main(), "the detector sees a restart")
}
