#!/usr/bin/env bash
# A machine for the demo: systemd-nspawn, inside shared/lab/enter, boots a systemd on the
# host of the lab that the machine is named for. It has that host's network, the real
# machine's /usr (read-only, unless it is a "debian"), and an /etc, /var and /usr/local of its own, which survive a
# reboot.
#
#   machine.sh check            exits with 0 if machines can be booted here; otherwise says why not
#   machine.sh root NAME        prints the folder that is the machine's /, to install into (DESTDIR)
#   machine.sh debian NAME      before its first boot: packages can be installed on it, as its /usr can be
#                               written to, and its dpkg knows what is installed on the real machine
#   machine.sh boot NAME        boots it, and returns when all its services have been started
#   machine.sh exec NAME CMD... runs a command in it
#   machine.sh reboot NAME      reboots it, and returns when it is up again
#   machine.sh kill NAME        ends it at once, as if its plug had been pulled
#   machine.sh off NAME         shuts it down
#   machine.sh sweep            removes control groups that killed machines have left on the real machine
#
# Only root can boot a machine: an ordinary user's nspawn may not make device files, and
# has no control groups. A boot takes about a second.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

usage() {
	sed -n '7,16s/^# \{0,3\}//p' "$0" >&2
	exit 2
}
fail() {
	echo "machine: $1." >&2
	[ -z "${2-}" ] || echo "  What to do: $2" >&2
	exit 1
}

dir=/run/lab/machines
limit=60 # seconds that a boot or a shutdown may take; usually it takes less than 2

check() {
	# In an ordinary user's "enter", user 0 is not the real machine's root.
	if [ "$(id -u)" != 0 ] || ! grep -qE '^ *0 +0 +4294967295$' /proc/self/uid_map; then
		fail "only root can boot a machine" "sudo make demo"
	fi
	local program
	for program in systemd-nspawn nsenter; do
		command -v "$program" >/dev/null || fail "'$program' is missing" "sudo apt-get install systemd-container util-linux"
	done
	[ -x /usr/lib/systemd/systemd ] || fail "this machine has no systemd in /usr/lib/systemd" "sudo apt-get install systemd"
	[ -L /bin ] || fail "/bin is not a link to /usr/bin here, so /usr alone is not enough for a machine" "sudo apt-get install usrmerge"
	[ -w /sys/fs/cgroup ] || fail "control groups are missing or read-only here, as in most containers" \
		"run it on a real or a virtual machine; Docker needs --privileged --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup"
	[ -e /dev/net/tun ] || fail "/dev/net/tun is missing" "sudo modprobe tun"
}

# root NAME: makes the folder, if it is not there yet.
root() {
	local r=$dir/$1/root link file
	[ -e "/run/mntns/$1" ] || fail "the lab has no host $1"
	if [ ! -d "$r" ]; then
		mkdir -p "$r"/{usr,etc,var,proc,sys,dev,run,tmp,root} "$dir/$1/usr-local"
		# Inside, the real machine's /usr hides this link, and usr-local is mounted on
		# its /usr/local; from the outside, the link leads to the same place.
		ln -s ../../usr-local "$r/usr/local"
		chmod 700 "$r/root"
		for link in bin sbin lib lib32 lib64 libx32; do
			[ ! -L /$link ] || cp -P /$link "$r/"
		done
		echo "$1" >"$r/etc/hostname"
		# Programs such as iptables are links into this folder.
		[ ! -d /etc/alternatives ] || cp -a /etc/alternatives "$r/etc/"
		# With these, the first boot asks for no password and no language.
		printf 'root:x:0:0:root:/root:/bin/bash\n' >"$r/etc/passwd"
		printf 'root:x:0:\n' >"$r/etc/group"
		printf 'LANG=C.UTF-8\n' >"$r/etc/locale.conf"
		: >"$r/etc/machine-id"
		# The machine looks up names as the lab's host does.
		for file in hosts resolv.conf nsswitch.conf; do
			nsenter --mount="/run/mntns/$1" cat "/etc/$file" >"$r/etc/$file"
		done
	fi
	echo "$r"
}

debian() {
	local r
	command -v dpkg >/dev/null || fail "this machine has no dpkg" "run it on Debian or Ubuntu"
	r=$(root "$1")
	mkdir -p "$dir/$1/usr-changes/sbin" "$r/var/lib"
	printf '#!/bin/sh\n' >"$dir/$1/usr-changes/sbin/policy-rc.d" # that of an image for containers says no to services
	chmod 755 "$dir/$1/usr-changes/sbin/policy-rc.d"
	cp -a /var/lib/dpkg "$r/var/lib/"
	rm -f "$r/var/lib/dpkg/statoverride" # its users don't exist here
}

# leader NAME: prints the process that is number 1 inside. Its parent is nspawn, whose
# parent is "machine.sh power".
leader() {
	local power nspawn
	power=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
	nspawn=$(pgrep -P "$power") && pgrep -P "$nspawn" | head -n 1 | grep .
}

inside() {
	local pid
	pid=$(leader "$1") || fail "the machine $1 is not running"
	nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root -- \
		env -i -C / PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin LANG=C.UTF-8 TERM=dumb HOME=/root "${@:2}"
}

# wait_until WHAT CMD...
wait_until() {
	local end=$((SECONDS + limit)) what=$1
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "waited $limit s: $what"
		sleep 0.1
	done
}
# is_up NAME [NOT]: succeeds if the services have been started, by a leader other than NOT.
is_up() {
	local now state
	now=$(leader "$1") && [ "$now" != "${2-}" ] || return
	state=$(inside "$1" systemctl is-system-running 2>/dev/null) || true
	[ "$state" = running ] || [ "$state" = degraded ]
}
is_off() { ! kill -0 "$1" 2>/dev/null; }

boot() {
	local r
	! leader "$1" >/dev/null || fail "the machine $1 is running"
	r=$(root "$1")
	sweep
	setsid "$0" power "$1" "$r" </dev/null >"$dir/$1/console.log" 2>&1 &
	echo $! >"$dir/$1/pid"
	wait_until "$1 is up" is_up "$1"
}

# power NAME ROOT: runs the machine until it is switched off. nspawn ends with exit code
# 133 when the machine reboots.
#
# API_VFS_WRITABLE: /proc/sys/net belongs to the lab's host, so the machine may write it.
# CAP_NET_ADMIN: nspawn drops it unless it has made the network itself.
# --keep-unit, --register=no: the lab has no systemd that would register machines.
# setup-dev is masked, since it would change the mode of the real machine's /dev/net/tun.
power() {
	local status=133 usr=--bind-ro=/usr changes=${2%/*}/usr-changes
	[ ! -d "$changes" ] || usr=--overlay=/usr:$changes:/usr
	alone own_cgroup "$1"
	while [ $status = 133 ]; do
		status=0
		SYSTEMD_NSPAWN_API_VFS_WRITABLE=network systemd-nspawn --quiet --directory="$2" "$usr" \
			--bind="${2%/*}/usr-local:/usr/local" --machine="$1" --network-namespace-path="/run/netns/$1" \
			--bind=/dev/net/tun --capability=CAP_NET_ADMIN --resolv-conf=off --timezone=off --link-journal=no --keep-unit --register=no \
			--console=pipe --kill-signal=SIGRTMIN+3 \
			/usr/lib/systemd/systemd systemd.firstboot=off systemd.mask=systemd-firstboot.service \
			systemd.mask=systemd-tmpfiles-setup-dev.service || status=$?
	done
}

# cgroups: prints those control groups of this process that a systemd uses: that of
# version 2, and, on a machine with both versions, also the one named systemd.
cgroups() {
	local id name path
	while IFS=: read -r id name path; do
		case $id:$name in
		0:) name=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET) ;;
		*:name=systemd) name=/sys/fs/cgroup/systemd ;;
		*) continue ;;
		esac
		[ ! -d "$name$path" ] || echo "$name${path%/}"
	done </proc/self/cgroup
}

# alone CMD...: runs it under a lock, so that meanwhile no other run makes or removes
# control groups for its machines.
alone() {
	{
		flock 9
		"$@" 9<&-
	} 9</sys/fs/cgroup
}

# own_cgroup NAME: moves this process into control groups of its own, below which nspawn
# makes the machine's. Otherwise two machines would share theirs, and ending a service in
# one of them would end the service of the same name in the other.
own_cgroup() {
	local group name
	name=$(mktemp --dry-run "stepvpn-$1-XXXXXX") # a name that no other run has
	for group in $(cgroups); do
		mkdir "$group/$name"
		echo $$ >"$group/$name/cgroup.procs"
	done
}

# sweep: removes the control groups of machines that are off, including those that a
# killed run has left.
sweep() { alone sweep_alone; }
sweep_alone() {
	local group name
	for group in $(cgroups); do
		for name in "$group"/stepvpn-*-??????; do
			name=${name##*/}
			populated "$name" || find "$group/$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
		done
	done
}

# populated NAME: succeeds if there are processes in the control groups. Only those of
# version 2 say so.
populated() {
	local group
	for group in $(cgroups); do
		! grep -qs 'populated 1' "$group/$1/cgroup.events" || return 0
	done
	return 1
}

reboot() {
	local before
	before=$(leader "$1") || fail "the machine $1 is not running"
	inside "$1" systemctl reboot 2>/dev/null || true # it may be gone before it has answered
	wait_until "$1 is up again" is_up "$1" "$before"
}

off() {
	local pid
	pid=$(cat "$dir/$1/pid" 2>/dev/null) || return 0
	is_off "$pid" || inside "$1" systemctl poweroff 2>/dev/null || true # it may be gone before it has answered
	wait_until "$1 is off" is_off "$pid"
	rm "$dir/$1/pid"
	sweep
}

cut() {
	local leader
	leader=$(leader "$1") || fail "the machine $1 is not running"
	kill -KILL "$(cat "$dir/$1/pid")" # first, so that it is not started again
	kill -KILL "$leader"              # the kernel ends all that is inside
	wait_until "$1 is off" is_off "$leader"
	rm "$dir/$1/pid"
	sweep
}

[ $# -ge 1 ] || usage
command=$1
shift
case $command in
check) check ;;
root | debian | boot | reboot | off) [ $# = 1 ] || usage; [ "$command" = root ] || check; "$command" "$1" ;;
power) "$command" "$@" ;; # for boot
kill) [ $# = 1 ] || usage; cut "$1" ;;
sweep) sweep ;;
exec) [ $# -ge 2 ] || usage; inside "$@" ;;
*) usage ;;
esac
