#!/usr/bin/env bash
# The WireGuard protocol: a phone's own program comes in, and a provider's file works.
. "$(dirname "$0")/../../../shared/lab/lab.sh"

STOCK=$(cd ../../../.cache/wireguard-go && pwd) # setup.sh has built it
STOCKPORT=51820                                 # of the stock server
CAFE_OUTSIDE=192.0.2.2                          # all guests of the cafe have this address outside

# stepvpn HOST ARG...: shows and runs a command of ours. serve, connect: start the services, and
# wait until they are ready.
stepvpn() { run "$1" bin/stepvpn "${@:2}"; }
serve() {
	start server server bin/stepvpn server /etc/stepvpn/server.toml
	wait_for 20 "the server is up" logged server "server is up"
}
connect() { # connect FILE
	start alice alice bin/stepvpn client "$1"
	wait_for 20 "the client is ready" logged alice "client is up"
}

# stock HOST CMD...: shows and runs a command of wg or wg-quick. wg-quick wants to be user 0, which
# an ordinary user is not even in the lab; it asks the variable UID. wireguard-go says in a box that
# kernels are faster, and that is left out.
stock() {
	_echo "$1" "$(_quote "${@:2}")"
	on "$1" env PATH="$LAB/programs:$STOCK:$PATH" UID=0 "${@:2}" 2>&1 </dev/null | grep -v -e '[│┌└]' -e '^\[!\]' | _indent
}

# This wg-quick takes wireguard-go also where the kernel speaks the protocol, so that the demo is
# the same everywhere. It wants a resolvconf(8), which the lab's hosts don't have.
mkdir "$LAB/programs"
# shellcheck disable=SC2016 # wg-quick's own variable
sed -e 's/cmd ip link add "$INTERFACE" type wireguard/false/' -e 's#\[\[ -e /sys/module/wireguard ]] || ##' \
	"$(command -v wg-quick)" >"$LAB/programs/wg-quick"
cat >"$LAB/programs/resolvconf" <<'END'
#!/bin/sh
case $1 in
-a) cp /etc/resolv.conf /etc/resolv.conf.before && cat >/etc/resolv.conf ;;
-d) mv /etc/resolv.conf.before /etc/resolv.conf ;;
esac
END
chmod +x "$LAB"/programs/*

gone() { ! on "$1" ip link show dev "$2"; }
# kill_stock HOST DEVICE: ends the wireguard-go of a host by SIGKILL, and so its device.
kill_stock() {
	local process
	for process in /proc/[0-9]*; do
		if [ "$(readlink "$process/exe")" = "$STOCK/wireguard" ] && [ "$(readlink "$process/ns/net")" = "$(on "$1" readlink /proc/self/ns/net)" ]; then
			_echo "$1" "kill -9 %wireguard-go"
			kill -KILL "${process#/proc/}"
			wait_for 10 "its device is gone" gone "$1" "$2"
			return
		fi
	done
	_fail "no wireguard-go runs on $1"
}

# handshake HOST DEVICE: succeeds if wg knows of one.
handshake() { on "$1" wg show "$2" latest-handshakes | grep -v '	0$'; }
# seen_as ADDRESS HOST: succeeds if the web site sees the host at this address, over IPv4.
seen_as() { [ "$(on "$2" curl -4sS --max-time 5 http://web.example/whoami)" = "$1" ]; }
# packets NAME [FILTER]: what a capture holds.
packets() { tcpdump -nn -t -r "$LAB/$1.pcap" "${2-}" 2>/dev/null; }
captured() { [ -n "$(packets "$@")" ]; }
# callers NAME: who has sent to which port of the server, a line for each address and port of a sender,
# whose ports are left out.
callers() { packets "$1" "dst $SERVER4" | sed -E 's/^IP (.*: )/\1/; s/: .*//' | sort -u | sed -E 's/^([0-9.]*)\.[0-9]+ /\1 /'; }
# asked ADDRESS: how many questions the cafe's resolver got from there.
asked() { grep -c "from=$1 " "$LAB/dns-cafe.log" || true; }
# hidden FILE: shows a file of wg-quick(8), without its secrets.
hidden() { sed 's/^\(PrivateKey\|PresharedKey\) = \(....\).*/\1 = \2.../' "$1" | show; }
# settings: leaves comments and blank lines out.
settings() { grep -v -e '^#' -e '^$'; }
# read_with: tshark reads a capture. It warns root, and an ordinary user is root here.
read_with() { tshark "$@" 2>/dev/null; }

# strays NAME: the packets in a capture that are not for the server's port, and not what a host needs to
# find its neighbours.
strays() {
	packets "$1" "not arp and not (host $SERVER4 and udp port $STOCKPORT)
		and not (icmp6 and (ip6[40] >= 133 and ip6[40] <= 136 or ip6[40] = 143)) and not (ip6 dst net ff02::/16)"
}
no_strays() { [ -z "$(strays "$1")" ]; }

# restless: alice keeps opening a page, by IPv4 and IPv6, and asking the cafe's resolver.
# shellcheck disable=SC2016 # expanded there
restless() {
	_start restless alice bash -c 'trap exit INT; while sleep 0.2; do
		curl -sS --max-time 1 "http://$WEB4/whoami"; curl -sS --max-time 1 "http://[$WEB6]/whoami"
		dig +short +tries=1 +time=1 "@$CAFE4" web.example; done'
}
mac() { on "$1" ip -br link show eth0 | awk '{ print $3 }'; }
# state HOST: what a client may change there.
state() {
	on "$1" bash -c 'cat /etc/resolv.conf; ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all
		ip -br link | cut -d" " -f1; nft list ruleset | sed "s,counter packets .*,,"'
}
unchanged() { diff "$LAB/$1.state" <(state "$1"); }

serve_web
for host in cafe web; do serve_dns $host; done
for host in alice bob; do state $host >"$LAB/$host.state"; done

act "Before: the phone knocks" \
	"Our server runs, as in step 8. Bob has a phone, whose app speaks the WireGuard protocol and nothing else; here the protocol's own programs, wg-quick and wireguard-go, stand for it. Bob enters all that he knows: the server's address and its public key. The cafe gives all guests one address (NAT)." \
	"what does the server answer?" \
	"nothing. The first code is right, since step 7 makes it as the protocol does; but the handshake behind it has another suite and says who it is for in another way, so it does not decrypt."
run cafe iptables -t nat -A POSTROUTING -o up0 -j MASQUERADE
stepvpn server init server
run server sed -i "s/^# dns_upstreams = .*/dns_upstreams = [\"$WEB4\"]/" /etc/stepvpn/server.toml
serve
mkdir -m 700 "$LAB/phone"
(
	umask 077
	cat >"$LAB/phone/guess.conf" <<-END
		[Interface]
		PrivateKey = $(wg genkey)
		Address = 10.8.0.2/32

		[Peer]
		PublicKey = $(on server bin/stepvpn clients public-key)
		AllowedIPs = 10.8.0.0/24
		Endpoint = $SERVER4:$PORT
	END
)
hidden "$LAB/phone/guess.conf"
capture knock server eth0 udp port $PORT
stock bob wg-quick up "$LAB/phone/guess.conf"
on bob ping -c 1 -W 1 10.8.0.1 >/dev/null || true
wait_for 10 "the phone has asked" captured knock "dst $SERVER4"
stock bob wg show
stop knock
packets knock | show
stepvpn server status
check "the phone's initiation arrives" captured knock "dst $SERVER4 and udp[4:2] = 156"
check_not "the server answers nothing" captured knock "src $SERVER4"
check_not "wg knows of no handshake" handshake bob guess
stock bob wg-quick down "$LAB/phone/guess.conf"

act "One line in the settings" \
	"The operator allows it, and adds the phone. The protocol has no settings in band: all that the phone is ever told stands in the file that the command prints. It also fits into a QR code." \
	"our own client's file has three lines: server, server_key and private_key. What must the phone's have besides?" \
	"its address in the tunnel, the resolver, the MTU, and what goes into the tunnel. Our own client learns all that when it connects. So the phone's address is fixed in the registry."
run server sed -i 's/^# wireguard = .*/wireguard = true/' /etc/stepvpn/server.toml
stop server
serve
stepvpn server clients add phone -wireguard -server "$SERVER4:$PORT" -out "$LAB/phone/phone.conf" -qr "$LAB/phone/phone.png"
hidden "$LAB/phone/phone.conf"
run server grep phone /etc/stepvpn/clients
check "another program reads the same from the QR code" diff <(zbarimg -q --raw "$LAB/phone/phone.png" 2>/dev/null | settings) <(settings <"$LAB/phone/phone.conf")

act "One ping, message by message" \
	"Before the app does, a program of one page (cmd/wgping) plays the phone: one handshake, one ping. It writes down its keys, and eve captures. Then tshark, which is Wireshark without windows, reads the capture: first as eve, then with the keys." \
	"what can eve tell without the keys?" \
	"which protocol it is, who talks to whom, when, how much, and the index of each session. Not what the packets are, and not which client it is."
capture eve cafe br0 udp port $PORT
run bob bin/wgping -conf "$LAB/phone/phone.conf" -keylog "$LAB/phone/wg.keys"
stop eve
keep "$LAB/eve.pcap"
keep "$LAB/phone/wg.keys"
say "What eve reads:"
read_with -r "$LAB/eve.pcap" | show
say "And with the keys:"
read_with -o "wg.keylog_file:$LAB/phone/wg.keys" -r "$LAB/eve.pcap" | show
check "with the keys, tshark reads the ping" grep -q 'ICMP.*Echo' <(read_with -o "wg.keylog_file:$LAB/phone/wg.keys" -r "$LAB/eve.pcap")
check_not "without them, it doesn't" grep -q 'ICMP' <(read_with -r "$LAB/eve.pcap")
check_not "and the ping's text is nowhere in the capture" grep -qa 'Whoever has the keys' "$LAB/eve.pcap"

act "The phone and alice at once" \
	"Now the app, with that file; and alice with our own client. Both use the server's one port." \
	"how does the server tell them apart?" \
	"by the first code of the initiation (mac1), whose key is made of the server's public key: it has one for each protocol. After that by the index, which it has given out itself."
stepvpn server clients add alice -server "$SERVER4:$PORT" -out "$LAB/alice.toml"
capture port server eth0 udp and host "$CAFE_OUTSIDE"
connect "$LAB/alice.toml"
queries=$(asked "$BOB4")
stock bob wg-quick up "$LAB/phone/phone.conf"
run bob curl -4sS http://web.example/whoami
run bob curl -6sS http://web.example/whoami
run alice curl -4sS http://web.example/whoami
stock bob wg show
stepvpn server status
stop port
check "the web site sees the server's address for both, at the same time" eval 'seen_as "$SERVER4" bob && seen_as "$SERVER4" alice'
check "the phone's names are asked inside the tunnel" [ "$(asked "$BOB4")" = "$queries" ]
check "wg knows of a handshake" handshake bob phone
check "both came from the cafe's one address, to one port" diff <(callers port) <(printf "$CAFE_OUTSIDE > $SERVER4.$PORT\n%.0s" alice phone)

act "Revoked" \
	"Bob loses his phone. He tells the operator." \
	"what does the app say when the phone is cut off?" \
	"nothing: the protocol has no word for it. Its packets are no longer answered, and neither are its initiations. Ours is told why."
stepvpn server clients revoke phone
wait_for 10 "the server has cut it off" logged server revoked
show_log server "phone"
run bob curl -4sS --max-time 2 "http://$WEB4/whoami" || true
check_not "the phone gets nothing any more" on bob curl -4sS --max-time 2 "http://$WEB4/whoami"
check "alice has noticed nothing" seen_as "$SERVER4" alice
stock bob wg-quick down "$LAB/phone/phone.conf"
check "(and without the tunnel bob reaches the web site)" seen_as "$CAFE_OUTSIDE" bob
stop alice
stop server

act "The other way: a provider's server" \
	"The server is now a stock one: wireguard-go, set up by wg-quick. Its operator has sent files of wg-quick's form to bob and to alice. Bob uses it with the stock program. That is killed." \
	"where do bob's packets go then?" \
	"out by the cafe, in the clear: the device is gone, and its routes with it."
mkdir -m 700 "$LAB/provider"
# A key pair each.
for name in server alice bob; do
	(umask 077 && wg genkey >"$LAB/provider/$name.key")
	wg pubkey <"$LAB/provider/$name.key" >"$LAB/provider/$name.pub"
done
member() { # member NAME N: the file of a client, with address 10.66.0.N
	cat <<-END
		[Interface]
		PrivateKey = $(<"$LAB/provider/$1.key")
		Address = 10.66.0.$2/32, fd00:66::$2/128
		DNS = $WEB4

		[Peer]
		PublicKey = $(<"$LAB/provider/server.pub")
		AllowedIPs = 0.0.0.0/0, ::/0
		Endpoint = $SERVER4:$STOCKPORT
	END
}
(
	umask 077
	member bob 3 >"$LAB/provider/wgbob.conf"
	member alice 2 >"$LAB/provider/wgalice.conf"
	cat >"$LAB/provider/wg0.conf" <<-END
		[Interface]
		PrivateKey = $(<"$LAB/provider/server.key")
		Address = 10.66.0.1/24, fd00:66::1/64
		ListenPort = $STOCKPORT
		PostUp = sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE; ip6tables -t nat -A POSTROUTING -o eth0 -j MASQUERADE

		[Peer]
		PublicKey = $(<"$LAB/provider/alice.pub")
		AllowedIPs = 10.66.0.2/32, fd00:66::2/128

		[Peer]
		PublicKey = $(<"$LAB/provider/bob.pub")
		AllowedIPs = 10.66.0.3/32, fd00:66::3/128
	END
)
stock server wg-quick up "$LAB/provider/wg0.conf"
stock bob wg-quick up "$LAB/provider/wgbob.conf"
run bob curl -4sS http://web.example/whoami
capture control cafe br0 ether src "$(mac bob)"
kill_stock bob wgbob
run bob curl -4sS "http://$WEB4/whoami" || true
stop control
strays control | head -n 3 | show
check_not "with the stock client killed, bob's packets leave in the clear (so the search below can find some)" no_strays control

act "Behind our kill switch" \
	"Alice has the same kind of file, and our client. Her programs never rest. First the server is killed, then her client, by SIGKILL." \
	"what does eve capture of alice that is not for the server?" \
	"nothing. The kill switch is step 8's, and does not care which protocol the tunnel speaks."
capture leak cafe br0 ether src "$(mac alice)"
hidden "$LAB/provider/wgalice.conf"
connect "$LAB/provider/wgalice.conf"
wait_for 30 "alice is in" seen_as "$SERVER4" alice
say "From now on, alice opens a page again and again, by IPv4 and IPv6, and asks the cafe's resolver."
restless
run alice curl -4sS http://web.example/whoami
stepvpn alice status
kill_stock server wg0
run alice curl -4sS --max-time 2 "http://$WEB4/whoami" || true
stock server wg-quick up "$LAB/provider/wg0.conf"
began=$SECONDS
wait_for 60 "alice is back" seen_as "$SERVER4" alice
say "Alice is back after $((SECONDS - began)) s. The new server knows no session and can't say so; a client that has sent and heard nothing for 15 s asks for new keys."
kill9 alice
run alice curl -4sS --max-time 1 "http://$WEB4/whoami" || true
check_not "with her client killed, alice is silent" on alice curl -4sS --max-time 1 "http://$WEB4/whoami"
connect "$LAB/provider/wgalice.conf"
wait_for 60 "alice is back" seen_as "$SERVER4" alice
stock server wg show
stop restless
stop leak
say "Packets from alice that eve captured: $(packets leak | wc -l). Of these, not for the server: $(strays leak | wc -l)."
strays leak | head -n 5 | show
check "the stock server serves alice" handshake server wg0
check "nothing ever left alice outside of the tunnel" no_strays leak
check "(eve did listen: she captured the tunnel's packets)" captured leak "udp dst port $STOCKPORT"

act "Stopped" \
	"The client is stopped by Ctrl-C." \
	"what is left on alice?" \
	"nothing: her host is as it was."
check_not "(while the client runs, alice's host is changed)" unchanged alice
stop alice
run alice curl -4sS http://web.example/whoami
check "alice is in the clear again, because she asked for it" seen_as "$CAFE_OUTSIDE" alice
check "alice's host is as before: names, routes, rules, firewall" unchanged alice
finish
