// Package step8_test tests the programs and scripts of this step.
package step8_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// machine runs machine.sh, and returns its output.
func machine(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command("./machine.sh", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must runs machine.sh, and fails the test if that fails.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := machine(t, args...)
	require.NoError(t, err, "machine.sh %s: %s", strings.Join(args, " "), out)
	return out
}

// A host of the lab becomes a machine with systemd, which is rebooted, loses its power, and is
// shut down. Its files in /etc stay.
func TestMachine(t *testing.T) {
	lab := netlab.New(t)
	if why, err := machine(t, "check"); err != nil {
		require.Contains(t, why, "What to do: ", "if no machine can be booted, the script says why")
		t.Skip(why)
	}
	must(t, "boot", "server")
	t.Cleanup(func() { machine(t, "off", "server") })
	require.Equal(t, "server", must(t, "exec", "server", "hostname"))
	require.Contains(t, must(t, "exec", "server", "ip", "-br", "addr"), lab.Server.V4.String())
	require.Contains(t, must(t, "exec", "server", "systemctl", "is-system-running"), "running")
	lab.Alice.Run(t, "ping", "-c1", "-W5", lab.Server.V4.String())

	// This is what the units need: a service that opens a TUN device, changes the kernel's
	// forwarding, and changes the firewall.
	must(t, "exec", "server", "systemd-run", "--quiet", "--wait", "--pipe", "sh", "-ec",
		"ip tuntap add dev vpn9 mode tun; ip link del vpn9; echo 1 >/proc/sys/net/ipv4/ip_forward; iptables -w -S; touch /etc/stays")
	require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"))

	_, err := machine(t, "boot", "server")
	require.Error(t, err, "it runs already")
	first := must(t, "exec", "server", "cat", "/proc/sys/kernel/random/boot_id")
	must(t, "reboot", "server")
	require.NotEqual(t, first, must(t, "exec", "server", "cat", "/proc/sys/kernel/random/boot_id"))
	must(t, "exec", "server", "test", "-e", "/etc/stays")
	must(t, "kill", "server")
	out, err := machine(t, "exec", "server", "true")
	require.Error(t, err)
	require.Equal(t, "machine: the machine server is not running.", out)
	must(t, "boot", "server")
	must(t, "exec", "server", "test", "-e", "/etc/stays")
	must(t, "off", "server")

	out, err = machine(t, "boot", "nobody")
	require.Error(t, err)
	require.Equal(t, "machine: the lab has no host nobody.", out)
	_, err = machine(t, "dance")
	require.Error(t, err)
}
