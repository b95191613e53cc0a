#!/usr/bin/env bash
# setup.sh [PROGRAM...]: makes sure that the programs exist; without arguments, all that
# the course uses. Missing ones are installed with apt-get, as root or with a sudo that
# asks for no password; otherwise the command to type is printed and the exit code is 1.
# "tun" stands for the device /dev/net/tun, "wireguard-go" for a program that is built
# from source into .cache/wireguard-go, as distributions have old versions of it or none, and
# "promtool" for a program that is taken out of its package into .cache/promtool.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # an ordinary user's PATH may lack them

lab=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

# build_wireguard_go: builds it, if this version is not there yet. Which version, and what its
# sources' hashes are, says a module of its own, apart from those of the course. Demos and tests
# find it by its path, or put the folder into their PATH, where wg-quick looks for "wireguard-go".
build_wireguard_go() {
	local module=${lab%/lab}/tools/wireguard-go to=${lab%/shared/lab}/.cache/wireguard-go
	cmp -s "$module/go.mod" "$to/version" && return
	echo "setup: building wireguard-go ..." >&2
	mkdir -p "$to"
	if [ -n "${SUDO_UID-}" ]; then chown "$SUDO_UID:${SUDO_GID-}" "${to%/*}" "$to"; fi
	(cd "$module" && GOWORK=off GOFLAGS='' setpriv --pdeathsig TERM go build -buildvcs=false -o "$to/wireguard.$$" golang.zx2c4.com/wireguard) || {
		echo "setup: wireguard-go can't be built: it is fetched from Go's module proxy, see above" >&2
		return 1
	}
	mv -f "$to/wireguard.$$" "$to/wireguard" # two may build it at the same time
	ln -sfn wireguard "$to/wireguard-go"
	cp "$module/go.mod" "$to/version"
}

# take_promtool: takes it out of the package of a server that the installation of the package would start.
take_promtool() {
	local to=${lab%/shared/lab}/.cache/promtool work
	[ ! -x "$to/promtool" ] || return 0
	work=$(mktemp -d)
	chmod 755 "$work" # for apt's own user
	echo "setup: fetching promtool ..." >&2
	if ! (cd "$work" && apt-get -q download prometheus && dpkg-deb -x prometheus_*.deb .) >"$work/log" 2>&1 </dev/null; then
		cat "$work/log" >&2
		echo "setup: promtool can't be had, see above. Where the package lists are missing, type: sudo apt-get update" >&2
		rm -rf "$work"
		return 1
	fi
	mkdir -p "$to"
	if [ -n "${SUDO_UID-}" ]; then chown "$SUDO_UID:${SUDO_GID-}" "${to%/*}" "$to"; fi
	install -m 755 "$work/usr/bin/promtool" "$to/promtool"
	rm -rf "$work"
}

# package PROGRAM: prints the Debian and Ubuntu package that contains it.
package() {
	case $1 in
	ip | tc | ss) echo iproute2 ;;
	ping) echo iputils-ping ;;
	iptables | ip6tables | iptables-save | ip6tables-save) echo iptables ;;
	dig) echo bind9-dnsutils ;;
	unshare | nsenter | setpriv) echo util-linux ;;
	script) echo bsdutils ;;
	gropdf) echo groff ;;
	systemd-nspawn) echo systemd-container ;;
	systemd-analyze) echo systemd ;;
	gcc) echo gcc libc6-dev ;;
	nft) echo nftables ;;
	dnsmasq) echo dnsmasq-base ;;
	tincd) echo tinc ;;
	wg | wg-quick) echo wireguard-tools ;; # which recommends a kernel
	zbarimg) echo zbar-tools ;;
	age | argon2 | chromium | conntrack | curl | dnsperf | fish | iperf3 | lintian | make | oathtool | openssl | openvpn | socat | tcpdump | traceroute | tshark | zsh) echo "$1" ;;
	*)
		echo "setup.sh: which package brings '$1'? Add it to the table in ${BASH_SOURCE[0]}." >&2
		return 2
		;;
	esac
}

# all: the programs that demos, tests and benchmarks use. gcc is for go test -race; some
# tests compare their results with those of nft and argon2.
all=(ip dnsmasq iptables ip6tables nft conntrack ping tcpdump curl dig traceroute iperf3 socat unshare nsenter setpriv script argon2 gcc)

[ $# -gt 0 ] || set -- "${all[@]}"
missing=() packages=()
for program; do
	case $program in
	tun)
		"$lab/tun.sh" || exit
		continue
		;;
	wireguard-go)
		build_wireguard_go || exit
		continue
		;;
	promtool)
		take_promtool || exit
		continue
		;;
	esac
	command -v "$program" >/dev/null && continue
	# shellcheck disable=SC2207 # package names are words
	packages+=($(package "$program")) || exit
	missing+=("$program")
done
[ ${#missing[@]} -gt 0 ] || exit 0

install=(apt-get install -y --no-install-recommends "${packages[@]}")
if [ "$(id -u)" = 0 ]; then
	as_root=(env)
elif sudo -n true 2>/dev/null; then
	as_root=(sudo -n env)
else
	as_root=()
fi
if [ ${#as_root[@]} = 0 ] || ! command -v apt-get >/dev/null; then
	echo "setup: missing: ${missing[*]}. To install it, type:" >&2
	echo "  sudo apt-get update && sudo ${install[*]}" >&2
	exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
	"${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null
}
echo "setup: installing ${packages[*]} (for ${missing[*]}) ..." >&2
# The package lists may be missing or old: then the first attempt fails, and they are
# downloaded before the second.
if ! apt "${install[@]:1}" && ! { apt update && apt "${install[@]:1}"; }; then
	cat "$log" >&2
	echo "setup: apt-get failed, see above. The command was: ${install[*]}" >&2
	exit 1
fi
for program in "${missing[@]}"; do
	hash -r
	command -v "$program" >/dev/null || {
		echo "setup: '$program' is still missing after: ${install[*]}" >&2
		exit 1
	}
done
