#!/usr/bin/env bash
# Measures the VPN against the plain wire, wireguard-go, OpenVPN, tinc, and the earlier
# steps, in the lab. All numbers that it prints come from one run, which alternates
# between them, because a machine's speed drifts. ./bench.sh -help lists the options.
# ./bench.sh soak runs the VPN at full rate for a minute, and checks whether memory grows
# and what is lost.
NEEDS="../step3-tunnel ../step4-crypto ../step7-auth"
cd "$(dirname "$0")" || exit
if [ -z "${STEPVPN_INSIDE-}" ]; then
	# Programs that can't be installed are left out.
	../shared/lab/setup.sh openvpn tincd openssl || true
	../shared/lab/setup.sh wireguard-go || true
fi
. ../shared/lab/lab.sh
_finished=1 # a benchmark checks nothing
export LAB
[ "${1-}" = soak ] || set -- run "$@"
exec bin/bench "$@"
