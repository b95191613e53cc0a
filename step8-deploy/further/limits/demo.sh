#!/usr/bin/env bash
# Limits: how fast a client may be, and how much it may use in a month.
. "$(dirname "$0")/../../../shared/lab/lab.sh"

# stepvpn HOST ARG...: shows and runs a command of ours. serve, connect: start the services, and
# wait until they are ready.
stepvpn() { run "$1" bin/stepvpn "${@:2}"; }
serve() {
	start server server bin/stepvpn server /etc/stepvpn/server.toml
	wait_for 20 "the server is up" logged server "server is up"
}
connect() { # connect HOST
	start "$1" "$1" bin/stepvpn client "$LAB/$1.toml"
	wait_for 20 "the client is ready" logged "$1" "client is up"
}

# load NAME HOST SECS ARG...: shows and runs iperf3 for some seconds, with a ping beside it, and shows
# what the receiver got. mbits NAME: that, in Mbit/s. slowest NAME: the longest time of a ping, in ms.
load() {
	_start "ping-$1" "$2" ping -n -i 0.2 "$WEB4"
	_echo "$2" "iperf3 -c $WEB4 -t $3 ${*:4}"
	on "$2" iperf3 -J -c "$WEB4" -t "$3" "${@:4}" >"$LAB/$1.json"
	_stop_quietly "ping-$1"
	printf 'receiver: %s Mbit/s; the longest of %s pings meanwhile: %s ms\n' "$(mbits "$1")" "$(grep -c 'time=' "$LAB/ping-$1.log")" "$(slowest "$1")" | show
}
_stop_quietly() {
	kill -INT "${_pid[$1]}"
	wait_for 10 "$1 has ended" _ended "$1"
}
mbits() { sed -n '/"sum_received"/,/}/s/.*"bits_per_second":[^0-9]*\([0-9.e+]*\).*/\1/p' "$LAB/$1.json" | awk '{ printf "%.1f\n", $1 / 1e6 }'; }
slowest() { sed -n 's/.*time=\([0-9.]*\) ms.*/\1/p' "$LAB/ping-$1.log" | sort -n | tail -1; }
# less A B, and more A B, compare numbers.
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'; }
more() { less "$2" "$1"; }

# download HOST BYTES: succeeds if all of it comes within 10 s.
download() { run "$1" curl -sS --max-time 10 -o /dev/null "http://$WEB4/file?bytes=$2"; }
# says HOST TEXT: succeeds if the client's status has that.
says() { on "$1" bin/stepvpn status | grep -F "$2"; }
saved() { on server grep -q . /var/lib/stepvpn/worker/pool/used; }

serve_web
serve_dns web
_start iperf web iperf3 -s --forceflush
wait_for 10 "iperf3 waits" logged iperf "Server listening"

act "Before: one takes it all" \
	"Alice and bob share the server's line. Alice downloads as fast as she can." \
	"how much does she get, and who decides that?" \
	"all that there is. Nobody decides it but the slowest link, or here the slowest processor: bob gets what TCP leaves him."
stepvpn server init server
run server sed -i "s/^# dns_upstreams = .*/dns_upstreams = [\"$WEB4\"]/" /etc/stepvpn/server.toml
serve
for host in alice bob; do
	stepvpn server clients add $host -server "$SERVER4:$PORT" -out "$LAB/$host.toml"
	on $host mkdir -p /run/stepvpn
	connect $host
done
load before alice 3 -R
check "she is faster than 20 Mbit/s" more "$(mbits before)" 20

act "A limit" \
	"The operator gives alice 20 Mbit/s down and 5 Mbit/s up. She stays connected." \
	"when she is at her limit, how long does her ping take?" \
	"hardly longer than before. What is too fast waits in a queue of up to 100 ms, and each of alice's flows has a queue of its own: the ping doesn't stand behind the download."
stepvpn server clients limit alice -down 20Mbit/s -up 5Mbit/s
run server grep alice /etc/stepvpn/clients
load down alice 5 -R -O 1
load up alice 5 -O 1
load bob bob 3 -R
stepvpn server status
check "down: not more than 20 Mbit/s" less "$(mbits down)" 21
check "up: not more than 5 Mbit/s" less "$(mbits up)" 5.25
check "bob has no limit" more "$(mbits bob)" 20
check "what was too much was dropped under its name" eval "on server bin/stepvpn status | grep 'over-limit [0-9]'"

act "Used up" \
	"A quota counts both directions. Alice gets 30 MB a month, no limit, and downloads 100 MB." \
	"what does she see when the 30 MB are used up?" \
	"a sentence. The server closes her session with the reason, and her client's kill switch keeps her packets at home: it doesn't fall back to the cafe's network."
stepvpn server clients limit alice -down none -up none -quota 30MB/month
download alice 100000000 || true
wait_for 20 "her client is told" says alice "is used up"
on alice bin/stepvpn status | grep -e '^client' -e '^problem' | show
show_log server "quota"
check "her client says why, and until when" says alice "your quota of 30 MB for this month is used up; it begins anew on 1 "
check_not "nothing passes" on alice curl -sS --max-time 2 "http://$WEB4/whoami"
check "bob has noticed nothing" download bob 1000000
stop alice
start alice alice bin/stepvpn client "$LAB/alice.toml"
wait_for 20 "she is refused" logged alice "is used up"
check "she is refused with the same sentence when she comes back" says alice "it begins anew on 1 "
stop alice

act "The month is over" \
	"What was used is in a file that outlives the server. Nobody wants to wait until the month is over: we stop the server, and put last month's day into the file." \
	"what does the server do with what was used last month?" \
	"it forgets it, when it looks at the clock; so does a server that runs at midnight. A clock that is set back takes nothing away and gives nothing."
wait_for 20 "it is saved" saved
run server cat /var/lib/stepvpn/worker/pool/used
stop server
run server sed -i -E 's/ [0-9]{4}-[0-9]{2}-01 / 2020-01-01 /' /var/lib/stepvpn/worker/pool/used
serve
connect alice
download alice 1000000
stepvpn server status
check "alice is in again" on alice curl -sS --max-time 5 "http://$WEB4/whoami"

act "Or slower instead" \
	"quota_then = \"slow 1Mbit/s\" in server.toml leaves a client connected when its quota is used up, but slower." \
	"how does alice learn about it, if nothing is closed?" \
	"by a message inside the session, again and again as it may get lost. Her client's status shows it as a note."
run server sed -i 's/^# quota_then = .*/quota_then = "slow 1Mbit\/s"/' /etc/stepvpn/server.toml
stop alice
stop server
serve
connect alice
download alice 40000000 || true
wait_for 20 "her client is told" says alice "slowed down"
on alice bin/stepvpn status | grep -e '^client' -e '^note' | show
load slow alice 4 -R -O 1
check "she is up, and knows why she is slow" says alice "you are slowed down to 1Mbit/s until it begins anew on 1 "
check "what she gets is 1 Mbit/s" less "$(mbits slow)" 1.05
stop alice
stop bob
stop server
finish
