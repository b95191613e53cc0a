#!/usr/bin/env bash
# Measures the VPN beside the plain wire, wireguard-go, OpenVPN, tinc, and the steps
# before, in the lab. All that it prints is of one run, alternating, for a
# machine's speed drifts. ./bench.sh -help lists the options. ./bench.sh soak runs
# the VPN at full rate for a minute, and looks at what grows and what is lost.
NEEDS="../step3-tunnel ../step4-crypto ../step7-auth"
cd "$(dirname "$0")" || exit
if [ -z "${STEPVPN_INSIDE-}" ]; then
	# Those that can't be had are left out.
	../shared/lab/setup.sh openvpn tincd openssl || true
	if [ ! -e ../.cache/wireguard-go/wireguard ]; then
		GOBIN="$(cd .. && pwd)/.cache/wireguard-go" GOWORK=off \
			go install golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446 || true
	fi
fi
. ../shared/lab/lab.sh
_finished=1 # a benchmark checks nothing
export LAB
[ "${1-}" = soak ] || set -- run "$@"
exec bin/bench "$@"
