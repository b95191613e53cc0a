#!/usr/bin/env bash
# snapshot.sh take DIR          writes the settings of this machine that a VPN could change into DIR, a file per kind
# snapshot.sh compare DIR DIR   shows the differences, and exits with 1 if there are any
# snapshot.sh around CMD...     runs CMD, and fails if CMD fails or has changed anything
# snapshot.sh prove             changes one thing after another, and exits with 0 if compare has seen each change
#
# The kinds: links, addresses, routes, rules, firewall, kernel, resolver, names
# (network namespaces), mounts and folders (who may use them). Counters and
# remaining lifetimes are left out.
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
self=$(readlink -f "$0")

# still CMD...: prints CMD's output without the parts that change by themselves.
still() {
	"$@" | sed -E 's/ ?(valid_lft|preferred_lft|expires) [0-9a-z]+//g; s/\[[0-9]+:[0-9]+\]//; s/ (packets|bytes) [0-9]+//g; /^#/d'
}

take() {
	mkdir -p "$1" && cd "$1" || exit
	still ip -oneline link >links
	still ip -oneline address >addresses
	{ still ip -4 route show table all; still ip -6 route show table all; } | sort >routes
	{ ip -4 rule; ip -6 rule; } >rules
	# An ordinary user may not read the machine's firewall.
	if iptables-save >/dev/null 2>&1; then
		{
			still iptables-save
			still ip6tables-save
			if command -v nft >/dev/null; then still nft list ruleset; fi
		} >firewall 2>&1
	fi
	(
		cd /proc/sys/net || exit
		grep -s . ipv4/ip_forward ipv4/conf/*/* ipv6/conf/*/*
	) | grep -v stable_secret >kernel
	{ ls -l /etc/resolv.conf; cat /etc/resolv.conf; } >resolver 2>&1
	ls /run/netns >names 2>/dev/null
	sort /proc/self/mounts >mounts
	stat -c '%A %U:%G %n' / /dev/net/tun /etc /root /run /tmp /var/tmp >folders 2>/dev/null
}

compare() {
	local kind same=0
	for kind in links addresses routes rules firewall kernel resolver names mounts folders; do
		if [ ! -e "$1/$kind" ] && [ ! -e "$2/$kind" ]; then continue; fi
		diff -u --label "$kind before" --label "$kind after" "$1/$kind" "$2/$kind" || same=1
	done
	return $same
}

around() {
	local temp rc=0
	temp=$(mktemp -d) || exit
	("$self" take "$temp/before") || exit
	"$@" || rc=$?
	("$self" take "$temp/after") || exit
	if ! compare "$temp/before" "$temp/after"; then
		echo "$0: the machine is not as it was before: $*" >&2
		[ $rc != 0 ] || rc=1
	fi
	rm -rf "$temp"
	exit $rc
}

# noticed KIND COMMAND: succeeds if compare reports the change that COMMAND makes.
noticed() {
	rm -rf one two
	"$self" take "$PWD/one" && bash -c "$2" && "$self" take "$PWD/two" || return
	! "$self" compare one two >found && grep -q "^+++ $1 after" found
}

prove() {
	# Only enter makes this folder, so this does not change the machine itself.
	cd /run/lab || exit
	local kind change missed=0
	while read -r kind change; do
		if noticed "$kind" "$change"; then
			echo "sees $kind: $change"
		else
			echo "MISSES $kind: $change"
			missed=1
		fi
	done <<-'END'
		links      ip link add one type veth peer two
		links      ip link set one mtu 1400
		addresses  ip address add 192.0.2.9/32 dev lo
		addresses  ip address add 2001:db8::9/128 dev lo
		routes     ip route add unreachable 192.0.2.128/25
		routes     ip route add unreachable 192.0.2.128/25 table 77
		routes     ip -6 route add unreachable 2001:db8:9::/48
		rules      ip rule add priority 77 table 77
		rules      ip -6 rule add priority 77 table 77
		firewall   iptables -t nat -A POSTROUTING -j MASQUERADE
		firewall   ip6tables -P FORWARD DROP
		kernel     echo 1 >/proc/sys/net/ipv4/ip_forward
		kernel     echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		resolver   echo nameserver 192.0.2.53 >resolver && mount --bind resolver /etc/resolv.conf
		names      ip netns add nine
		mounts     mount -t tmpfs nine /mnt
		folders    mount -t tmpfs -o mode=755 nine /tmp
	END
	return $missed
}

case ${1-} in
take) take "$2" ;;
compare) compare "$2" "$3" ;;
around) around "${@:2}" ;;
prove) prove ;;
*) sed -n 's/^# //p; /^set/q' "$0"; exit 2 ;;
esac
