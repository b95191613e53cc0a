#!/usr/bin/env bash
. "$(dirname "$0")/../../../shared/lab/lab.sh"
GO=$PWD/../../../.cache/wireguard-go
act "x" "y"
on server bash -c 'umask 077; mkdir -p /etc/wireguard; wg genkey >/etc/wireguard/key; wg pubkey </etc/wireguard/key >/etc/wireguard/pub'
on bob bash -c 'umask 077; mkdir -p /etc/wireguard; wg genkey >/etc/wireguard/key; wg pubkey </etc/wireguard/key >/run/lab/bobpub'
on server bash -c 'cat /etc/wireguard/pub >/run/lab/serverpub; printf "[Interface]\nPrivateKey = %s\nAddress = 10.8.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = %s\nAllowedIPs=10.8.0.2/32\n" $(cat /etc/wireguard/key) $(cat /run/lab/bobpub) >/etc/wireguard/wg0.conf; cat /etc/wireguard/wg0.conf'
on bob bash -c 'printf "[Interface]\nPrivateKey = %s\nAddress = 10.8.0.2/32\nDNS = 10.8.0.1\n[Peer]\nPublicKey = %s\nAllowedIPs=0.0.0.0/0, ::/0\nEndpoint = 203.0.113.10:51820\n" $(cat /etc/wireguard/key) $(cat /run/lab/serverpub) >/etc/wireguard/wg0.conf'
run server id
run server env PATH="$GO:$PATH" UID=0 wg-quick up wg0 || true
run server wg show || true
run bob bin/wgping -conf /etc/wireguard/wg0.conf -keylog /run/lab/keys || true
run bob env PATH="$GO:$PATH" UID=0 wg-quick up wg0 || true
run bob ping -c 1 10.8.0.1 || true
run bob wg show || true
check "x" true
finish
