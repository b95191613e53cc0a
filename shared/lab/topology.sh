#!/usr/bin/env bash
# The network of all demos, tests and benchmarks: six hosts, each a network
# namespace and a mount namespace. Public addresses come from the ranges that are
# kept for documentation (RFC 5737, RFC 3849).
#
#   alice ──┐
#           cafe ────────── internet ────────── server      (the VPN server)
#   bob   ──┘ the network you don't trust:  │
#             eve captures on br0           └── web         (a site that logs who came,
#                                                            and the known resolver)
#
#   link                  IPv4                                    IPv6
#   cafe's LAN            198.51.100.0/24  cafe .1 (br0)          2001:db8:cafe::/64  ::1
#                                          alice .10 (eth0)                           ::10
#                                          bob .11 (eth0)                             ::11
#   cafe ─ internet       192.0.2.0/30     internet .1 (cafe0)    2001:db8:1::/64     ::1
#                                          cafe .2 (up0)                              ::2
#   internet ─ server     203.0.113.0/28   internet .1 (srv0)     2001:db8:5::/64     ::1
#                                          server .10 (eth0)                          ::10
#   internet ─ web        203.0.113.64/27  internet .65 (web0)    2001:db8:80::/64    ::1
#                                          web .80 (eth0)                             ::80
#
# The cafe is a switch (br0) with a router behind it. It does no NAT, so web
# sees alice's own address. MTU 1500 everywhere.
#
# A host has an /etc, a /var/lib and a /run of its own. /etc and /var/lib start as copies
# of the machine's, except for how names are resolved: by /etc/hosts, then by the resolver
# in /etc/resolv.conf, which is the cafe's for alice and bob, and web for the others. Their
# subfolders are still the machine's. /run has only the folders that all hosts share,
# /run/lab and /run/netns, so no daemon of the machine can be reached from a host.
#
#   network namespace  /run/netns/HOST      mount namespace  /run/mntns/HOST
#
#   topology.sh up      builds it (only inside shared/lab/enter)
#   topology.sh down    deletes it
#   topology.sh show    prints the addresses as NAME=value lines
set -euo pipefail

hosts=(alice bob cafe internet server web)
self=$(readlink -f "$0")

show() {
	cat <<-END
		ALICE4=198.51.100.10
		ALICE6=2001:db8:cafe::10
		BOB4=198.51.100.11
		BOB6=2001:db8:cafe::11
		CAFE4=198.51.100.1
		CAFE6=2001:db8:cafe::1
		INTERNET4=192.0.2.1
		INTERNET6=2001:db8:1::1
		SERVER4=203.0.113.10
		SERVER6=2001:db8:5::10
		WEB4=203.0.113.80
		WEB6=2001:db8:80::80
		PORT=5555
	END
}

# on HOST: runs the "ip" commands of standard input in the host.
on() { ip -netns "$1" -batch -; }

# kernel HOST: sets those settings that a new namespace would inherit from the machine, so
# that a host behaves the same everywhere: it does not forward, and checks a packet's
# source loosely, as Debian and Ubuntu do. An IPv6 address is usable at once, without the
# search for a duplicate, which takes a second.
kernel() {
	nsenter --net="/run/netns/$1" bash -c '
		cd /proc/sys/net
		echo 0 >ipv4/ip_forward
		echo 2 | tee ipv4/conf/{all,default}/rp_filter >/dev/null
		echo 0 | tee ipv6/conf/{all,default}/{disable_ipv6,accept_dad,accept_ra} >/dev/null'
}

# router HOST: makes it forward.
router() {
	nsenter --net="/run/netns/$1" bash -c '
		echo 1 | tee /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding >/dev/null'
}

up() {
	printf 'netns add %s\n' "${hosts[@]}" | ip -batch -
	for h in "${hosts[@]}"; do kernel "$h"; done
	files
	ip -batch - <<-END
		link add eth0  netns alice    type veth peer name alice0 netns cafe
		link add eth0  netns bob      type veth peer name bob0   netns cafe
		link add cafe0 netns internet type veth peer name up0    netns cafe
		link add srv0  netns internet type veth peer name eth0   netns server
		link add web0  netns internet type veth peer name eth0   netns web
	END
	on cafe <<-END
		link add br0 type bridge
		link set alice0 master br0 up
		link set bob0 master br0 up
		addr add 198.51.100.1/24 dev br0
		addr add 2001:db8:cafe::1/64 dev br0
		link set br0 up
		addr add 192.0.2.2/30 dev up0
		addr add 2001:db8:1::2/64 dev up0
		link set up0 up
		link set lo up
		route add default via 192.0.2.1
		route add default via 2001:db8:1::1
	END
	on internet <<-END
		addr add 192.0.2.1/30 dev cafe0
		addr add 2001:db8:1::1/64 dev cafe0
		link set cafe0 up
		addr add 203.0.113.1/28 dev srv0
		addr add 2001:db8:5::1/64 dev srv0
		link set srv0 up
		addr add 203.0.113.65/27 dev web0
		addr add 2001:db8:80::1/64 dev web0
		link set web0 up
		link set lo up
		route add 198.51.100.0/24 via 192.0.2.2
		route add 2001:db8:cafe::/64 via 2001:db8:1::2
	END
	router cafe
	router internet
	end alice 198.51.100.10/24 198.51.100.1 2001:db8:cafe::10/64 2001:db8:cafe::1
	end bob 198.51.100.11/24 198.51.100.1 2001:db8:cafe::11/64 2001:db8:cafe::1
	end server 203.0.113.10/28 203.0.113.1 2001:db8:5::10/64 2001:db8:5::1
	end web 203.0.113.80/27 203.0.113.65 2001:db8:80::80/64 2001:db8:80::1
}

# end HOST ADDR4 ROUTER4 ADDR6 ROUTER6: configures a host with one interface. The change of
# addrgenmode makes the kernel create the link-local address and its routes now. Otherwise
# it does so up to a second later, and a test that compares routes would see a change. On a busy
# machine, an IPv6 address has no route to itself before it stops being tentative.
end() {
	local tentative
	tentative=$(on "$1" <<-END
		addr add $2 dev eth0
		addr add $4 dev eth0
		link set eth0 up
		link set eth0 addrgenmode none
		link set eth0 addrgenmode eui64
		link set lo up
		route add default via $3
		route add default via $5
		addr show dev eth0 tentative
	END
	)
	while [ -n "$tentative" ]; do
		sleep 0.02
		tentative=$(ip -netns "$1" addr show dev eth0 tentative)
	done
}

# files: makes the mount namespaces. What is mounted in one stays in it. A sleeping process
# keeps each namespace alive, instead of a file that it is bound to, as with a network
# namespace: Linux 6.18 refuses that at random, because it takes the new namespace for an
# older one (mnt_ns_loop) if another CPU has assigned its number.
files() {
	local i h fd pid ready=()
	mkdir -p /run/mntns/run /run/mntns/files
	model /run/mntns/files
	for h in "${hosts[@]}"; do # all at the same time
		exec {fd}< <(unshare --mount --propagation slave "$self" own "$h")
		ready+=("$fd")
	done
	for i in "${!hosts[@]}"; do
		h=${hosts[i]}
		read -r pid <&"${ready[i]}" || { echo "topology.sh: $h has no folders of its own" >&2 && exit 1; }
		ln -s "/proc/$pid/ns/mnt" "/run/mntns/$h"
	done
}

# model FOLDER: puts into FOLDER what each host gets in /etc and /var/lib. Folders of the
# machine become links. Files are copied, because AppArmor would not let programs read
# them through a link to /run; those that the user may not read are left out. The folders
# of a stepvpn that is installed on the machine are left out, too.
model() {
	local dir
	umask 022
	for dir in /etc /var/lib; do
		mkdir -p "$1$dir"
		find $dir -mindepth 1 -maxdepth 1 ! -name stepvpn \
			\( -type d -printf '%p\0' \) -o \
			\( \( -type l -o -type f -readable \) -exec cp -P --preserve=mode -t "$1$dir" {} + \) |
			sed -z 's|^|/run/machine|' | xargs -0 -r ln -s -t "$1$dir"
	done
	cd "$1/etc"
	rm -f resolv.conf hosts nsswitch.conf
	printf '127.0.0.1 localhost\n::1 localhost\n' >hosts
	printf '%s: files\n' passwd group shadow networks protocols services >nsswitch.conf
	echo 'hosts: files dns' >>nsswitch.conf
	# Without it 'ip rule' says "ipproto-17" of UDP. Debian's is in the package netbase.
	[ -e protocols ] || printf '%s\n' 'icmp 1 ICMP' 'tcp 6 TCP' 'udp 17 UDP' 'ipv6-icmp 58 IPv6-ICMP' >protocols
}

# own HOST: gives the host its own folders, inside its mount namespace, prints the process
# id, and sleeps.
own() {
	umask 022
	local run=/run/mntns/run # moved to /run when it is complete
	mount -t tmpfs -o mode=755,size=64m lab $run
	mkdir -p $run/lab $run/netns $run/machine/etc $run/machine/var/lib
	mount --rbind /run/lab $run/lab
	mount --rbind /run/netns $run/netns
	mount --rbind /etc $run/machine/etc
	mount --rbind /var/lib $run/machine/var/lib
	mount -t tmpfs -o mode=755,size=64m lab /etc
	mount -t tmpfs -o mode=755,size=64m lab /var/lib
	cp -dR /run/mntns/files/etc/. /etc
	cp -dR /run/mntns/files/var/lib/. /var/lib
	mount -n --move $run /run
	case $1 in
	alice | bob)
		printf '%s\n' "# The cafe's network gave these (DHCP)." "nameserver $CAFE4" "nameserver $CAFE6" >/etc/resolv.conf
		;;
	*) printf 'nameserver %s\n' "$WEB4" "$WEB6" >/etc/resolv.conf ;;
	esac
	cd /
	echo $$
	exec </dev/null >/dev/null 2>&1
	exec sleep infinity
}

down() {
	for h in "${hosts[@]}"; do
		[ ! -e "/run/netns/$h" ] || ip netns del "$h"
		[ ! -h "/run/mntns/$h" ] || forget "$h"
	done
	rm -rf /run/mntns/run /run/mntns/files
}

eval "$(show)"
# forget HOST: ends the process that keeps the mount namespace alive.
forget() {
	local pid
	pid=$(readlink "/run/mntns/$1")
	pid=${pid//[^0-9]/}
	kill -KILL "$pid" 2>/dev/null || true # it may be dead already
	rm "/run/mntns/$1"
}

case ${1-} in
up)
	# enter made this folder, on a /run of its own.
	[ -d /run/lab ] || { echo "topology.sh: run it with shared/lab/enter, not on the machine itself" >&2; exit 1; }
	up
	;;
own) own "$2" ;;
down) down ;;
show) show ;;
*) echo "Usage: topology.sh up|down|show" >&2; exit 2 ;;
esac
