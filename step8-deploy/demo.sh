#!/usr/bin/env bash
# Step 8: a VPN that is installed and configured, and runs by itself.
AFTER="./machine.sh sweep" # after a Ctrl-C, too
. "$(dirname "$0")/../shared/lab/lab.sh"
# shellcheck source-path=SCRIPTDIR source=hosts.sh
. ./hosts.sh

ROAMED4=198.51.100.77  # alice's address in another corner of the cafe
SIZE=15000000          # of a download, in bytes; it takes at least 10 s, as a kill can take seconds on a busy machine

# state HOST: everything that the daemons may change there. unchanged HOST: succeeds if
# that is as it was at the start.
state() {
	at "$1" bash -c '
		cat /etc/resolv.conf; stat -c "%A %U %F" /etc/resolv.conf
		ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip -br link | cut -d" " -f1
		iptables-save | grep -e ^-A -e "^:.* - "; ip6tables-save | grep -e ^-A -e "^:.* - "
		cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding'
}
unchanged() { diff "$LAB/$1.state" <(state "$1"); }

# strays NAME: the packets that alice's network card sent into the cafe and that are not
# for the VPN server. It leaves out those by which a host finds its neighbours (ARP, IPv6
# neighbour discovery, multicast group reports), which never leave the local network.
strays() {
	tcpdump -nn -t -r "$LAB/$1.pcap" "not arp and not (dst $SERVER4 and udp dst port $PORT)
		and not (icmp6 and (ip6[40] >= 133 and ip6[40] <= 136 or ip6[40] = 143))
		and not (ip6 dst net ff02::/16)" 2>/dev/null
}
no_strays() { [ -z "$(strays "$1")" ]; }

# seen_as ADDRESS HOST: succeeds if the web site sees the host at this address, over IPv4.
seen_as() { [ "$(at "$2" curl -4sS --max-time 5 http://web.example/whoami)" = "$1" ]; }
reached() { at "$1" ping -c 1 -W 1 "$WEB4"; }
asked() { grep -ic "from=\($2\) " "$LAB/dns-$1.log" || true; }
visits() { grep -c "from=\($ALICE4\|$ROAMED4\|$ALICE6\) " "$LAB/web.log" || true; }

# restless: from now on alice keeps opening a page over IPv4 and IPv6, and asking the
# cafe's resolver instead of her own. Its log has the answers.
# shellcheck disable=SC2016 # expanded there
restless() {
	start restless alice bash -c 'trap exit INT; while sleep 0.2; do
		curl -sS --max-time 1 "http://$WEB4/whoami"; curl -sS --max-time 1 "http://[$WEB6]/whoami"
		dig +short +tries=1 +time=1 "@$CAFE4" web.example; done'
}

# download NAME: alice begins one. complete NAME: succeeds if all of it is there, and
# correct.
download() {
	start "$1" alice curl -sS --limit-rate 1500k --output "$LAB/$1" "http://$WEB4/file?bytes=$SIZE"
	wait_for 20 "$1 has begun" [ -s "$LAB/$1" ]
}
complete() { [ "$(sha256sum <"$LAB/$1")" = "$SUM  -" ]; }

# pings: alice and bob send a ping every 0.2 s. silence HOST: the longest time without an
# answer, in seconds. shorter HOST SECS: succeeds if that was shorter.
# back: waits until both reach the web site.
pings() { for host in alice bob; do _start ping-$host $host ping -D -n -i 0.2 "$WEB4"; done; }
silence() {
	sed -n 's/^\[\([0-9.]*\)\] .* bytes from .*/\1/p' "$LAB/ping-$1.log" |
		awk '{ if (NR > 1 && $1 - last > most) most = $1 - last; last = $1 } END { printf "%.1f", most }'
}
shorter() { awk -v is="$(silence "$1")" -v limit="$2" 'BEGIN { exit !(is > 0 && is < limit) }'; }
back() { for host in alice bob; do wait_for 60 "$host is back" reached $host; done; }

# move ADDRESS: the cafe gives alice this address in place of the one she has.
move() {
	run alice ip -4 address flush dev eth0
	run alice ip -4 address add "$1/24" dev eth0
	run alice ip -4 route add default via "$CAFE4"
}

serve_web
for host in cafe web; do serve_dns $host; done
SUM=$(on web curl -sS "http://$WEB4/file.sha256?bytes=$SIZE")
mac=$(on alice ip -br link show eth0 | awk '{ print $3 }')

act "Three machines" \
	"There is a server, and two clients, alice and bob, both in the cafe. So far, only the program and its systemd units are installed on them." \
	"who can see what alice does?" \
	"everyone on the way, and the cafe first of all."
machines
if [ -n "$SYSTEMD" ]; then
	say "Each machine has been booted with a systemd of its own. 'make install DESTDIR=...' has installed these files on it:"
	sed -n 's/^write .*root//p' "$LAB/install.log" | sort -u | show
	type_at alice systemctl list-unit-files --no-legend 'stepvpn-*'
else
	say "No machines can be booted here. So plain processes take their place, and this script does what systemd would do:"
	show <<<"$WHY_NOT"
fi
for host in "${hosts[@]}"; do state "$host" >"$LAB/$host.state"; done
capture before cafe br0 ether src "$mac"
type_at alice curl -4sS http://web.example/whoami
at alice ping -6 -c 1 "$WEB6" >/dev/null
stop before
strays before | head -n 4 | show
check_not "the cafe sees alice's traffic (so the search below can find some)" no_strays before
check "and her DNS queries" grep -q '? web.example' <(queries before)

act "Installed" \
	"The server gets settings, a key, and two registered clients. Each client gets one file. Then the services are enabled: they run now, and after each boot." \
	"how many settings does alice have to write?" \
	"none: the file that the server made for her has all of it."
type_at server stepvpn init server
type_at server sed -i "s/^# dns_upstreams = .*/dns_upstreams = [\"$WEB4\"]/" /etc/stepvpn/server.toml
type_at server stepvpn check /etc/stepvpn/server.toml
type_at server stepvpn clients add alice -server "$SERVER4:$PORT" -out /etc/stepvpn/alice.toml
type_at server stepvpn clients add bob -server "vpn.example:$PORT" -out /etc/stepvpn/bob.toml
enable server server
for host in alice bob; do
	at server cat "/etc/stepvpn/$host.toml" | put "$host" /etc/stepvpn/client.toml
	say "($host.toml is copied to $host:/etc/stepvpn/client.toml)"
	enable "$host" client
done
type_at alice stepvpn check /etc/stepvpn/client.toml
capture eve cafe br0 ether src "$mac"
visits=$(visits) queries=$(asked cafe "$ALICE4\|$ROAMED4\|$ALICE6")
restless
type_at alice curl -4sS http://web.example/whoami
type_at bob curl -4sS http://web.example/whoami
type_at server stepvpn status
check "the web site sees the server's address, not alice's and bob's" eval 'seen_as "$SERVER4" alice && seen_as "$SERVER4" bob'

act "The server's daemon is killed" \
	"Alice downloads a file. In the middle of it, the server's daemon is killed (SIGKILL): all sessions and their keys are lost." \
	"what becomes of the download?" \
	"it goes on. alice's client notices within seconds that the server doesn't know the session any more, and makes a new one; TCP has waited meanwhile."
pings
download file1
sigkill server server
check_not "(the download has not ended)" complete file1
restarted server server
back
wait_for 10 "pings are answered again" eval 'shorter alice 60 && shorter bob 60'
for host in alice bob; do stop ping-$host; done
say "The longest time without an answer: $(silence alice) s for alice, $(silence bob) s for bob."
check "both clients were back within 10 s" eval 'shorter alice 10 && shorter bob 10'
wait_for 60 "the download is complete" complete file1
check "the download went on, and is complete" complete file1

act "Alice's daemon is killed, and can't start" \
	"The same happens on alice. Besides, somebody has made a mistake in her settings, so each new start fails. The tunnel's device is gone, and so are the routes into it. Her programs go on sending." \
	"where do their packets go until the mistake is corrected?" \
	"nowhere. The kill switch is a table of the kernel and a unit of its own, and needs neither the daemon nor its settings."
download file2
type_at alice sed -i 's/^server_key/sever_key/' /etc/stepvpn/client.toml
sigkill alice client
type_at alice stepvpn check /etc/stepvpn/client.toml || true
type_at alice curl -4sS --max-time 1 "http://$WEB4/whoami" || true
type_at alice curl -4sS --max-time 1 --interface eth0 "http://$WEB4/whoami" || true
type_at alice dig +short +tries=1 +time=1 "@$CAFE4" web.example || true
type_at alice ip -4 rule show priority 22511
say "22511 is the priority of the kill switch's last rule: it refuses what no earlier rule has sent on. 'proto 87' says which program made the rule, as in step 5."
check_not "alice can't reach the internet: the kill switch needs neither the daemon nor its settings" at alice curl -4sS --max-time 1 "http://$WEB4/whoami"
type_at alice sed -i 's/^sever_key/server_key/' /etc/stepvpn/client.toml
restarted alice client
wait_for 60 "the download is complete" complete file2
check "the download went on, and is complete" complete file2

act "Alice moves" \
	"Alice goes to another corner of the cafe, where she gets another address." \
	"does the server have to be told?" \
	"no. The next packet that proves to be alice's comes from the new address, and the server answers there."
download file3
move $ROAMED4
check_not "(the download has not ended)" complete file3
wait_for 60 "the download is complete" complete file3
type_at server stepvpn status
check "the download went on, and is complete" complete file3
check "the server knows the new address" grep -qF "$ROAMED4:" <(at server stepvpn status -json)
say "Alice moves back."
move "$ALICE4"
wait_for 30 "alice is back" reached alice

act "The server is rebooted" \
	"Nobody logs in to start anything." \
	"what do alice and bob do meanwhile?" \
	"they try again, at growing distances, and let nothing out in the meantime."
began=$SECONDS
reboot server server
back
say "Both clients are back after $((SECONDS - began)) s, including the server's boot."
check "both clients have come back by themselves" eval 'seen_as "$SERVER4" alice && seen_as "$SERVER4" bob'
type_at alice stepvpn status

act "What the cafe saw" \
	"Ever since the tunnel first came up, alice's programs have opened a page and asked the cafe's resolver, several times per second, whatever happened." \
	"which of alice's packets did eve capture that were not for the VPN server?" \
	"none, except what the local network needs."
stop restless
stop eve
keep "$LAB/eve.pcap"
say "This is what her programs got, and how often:"
sed 's/ after [0-9]* ms//' "$LAB/restless.log" | grep -v '^$' | sort | uniq -c | sort -rn | head -n 8 | show
say "Packets from alice that eve captured: $(tcpdump -nn -r "$LAB/eve.pcap" 2>/dev/null | wc -l). Of these, not for the VPN server: $(strays eve | wc -l)."
strays eve | head -n 5 | show
check "nothing ever left alice outside of the tunnel" no_strays eve
check "(eve did listen: she captured the tunnel's packets)" [ -n "$(tcpdump -nn -r "$LAB/eve.pcap" -c 1 "udp dst port $PORT" 2>/dev/null)" ]
check "the web site never saw alice's own address" [ "$(visits)" = "$visits" ]
check "the cafe's resolver got no query from alice" [ "$(asked cafe "$ALICE4\|$ROAMED4\|$ALICE6")" = "$queries" ]
check "bob asked it only for the server's name" [ -z "$(grep "from=\($BOB4\|$BOB6\) " "$LAB/dns-cafe.log" | grep -vi 'question="\?vpn\.example\.')" ]

act "Stopped" \
	"Only stopping the service opens the kill switch and puts the host back as it was." \
	"which address does the web site see when alice comes now?" \
	"her own, 198.51.100.10: there is no tunnel any more."
check_not "(while the service runs, alice's host is changed)" unchanged alice
for host in alice bob; do disable $host client; done
disable server server
type_at alice curl -4sS http://web.example/whoami
check "alice is in the clear again, because she asked for it" seen_as "$ALICE4" alice
for host in "${hosts[@]}"; do
	check "$host is as before: names, routes, rules, firewall, forwarding" unchanged "$host"
done
machines_off
finish
