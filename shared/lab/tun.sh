#!/usr/bin/env bash
# tun.sh: exits with 0 if TUN devices can be made; otherwise it says what to do.

dev=/dev/net/tun
fail() {
	echo "lab: $1." >&2
	echo "  What to do: $2" >&2
	exit 1
}

if [ ! -e $dev ]; then
	if [ -e /.dockerenv ] || [ -e /run/.containerenv ]; then
		fail "$dev is missing in this container" "start it with --device=/dev/net/tun"
	fi
	fail "$dev is missing" \
		"sudo modprobe tun; if it is still missing: sudo mkdir -p /dev/net && sudo mknod -m 666 $dev c 10 200"
fi
# Its mode alone does not tell whether it can be opened: a container may forbid the device.
if ! why=$( (exec 3<>$dev) 2>&1); then
	case $why in
	*ermission*) [ "$(id -u)" = 0 ] || fail "you may not open $dev" "sudo chmod 666 $dev, or run as root: sudo make demo" ;;
	*"o such device"*) fail "$dev is there, but its driver is not" "sudo modprobe tun" ;;
	esac
	fail "$dev cannot be opened: ${why##*: }" "run as root; in a container, start it with --device=/dev/net/tun"
fi
