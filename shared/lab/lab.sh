# shellcheck shell=bash
# The language of the demos and benchmarks. A script starts with
#
#   . "$(dirname "$0")/../shared/lab/lab.sh"
#
# which builds the step's programs (and those of the steps in the folders $NEEDS, if
# set), starts the script again inside private namespaces (see enter), and builds
# the six hosts (see topology.sh). From there on the working folder is the step's, $LAB is
# a folder that vanishes with the run, and the addresses are in $SERVER4, $ALICE6 and so
# on. $AFTER, if set, is a shell command that runs in the step's folder on the machine
# itself, after everything inside has ended. There are these functions:
#
#   act TITLE TEXT [QUESTION [ANSWER]]   a new act; make walk stops here, asks for a prediction, waits for Enter, and
#                               says the answer when the act is over
#   say TEXT                    a sentence
#   show                        shows standard input, as the output of a command
#   on HOST CMD...              runs CMD on the host, in silence; output goes to the caller
#   run HOST CMD...             the same, shown: "alice# CMD" and the output below it
#   start NAME HOST CMD...      runs CMD in the background; output goes to $LAB/NAME.log
#   logged NAME TEXT            succeeds if that log has the text
#   show_log NAME [REGEXP]      shows the log, or its lines that match
#   stop NAME                   Ctrl-C (SIGINT), waits for the end; $STATUS is its exit code
#   kill9 NAME                  SIGKILL, waits for the end
#   signal NAME SIG             any other signal
#   wait_for SECS WHAT CMD...   repeats CMD until it succeeds; ends the demo after SECS seconds
#   check TEXT CMD...           a promise: passed if CMD succeeds
#   check_not TEXT CMD...       a promise: passed if CMD fails
#   capture NAME HOST IF [FILTER...]  tcpdump to $LAB/NAME.pcap, from when it returns until "stop NAME"
#   queries NAME [HOST]         prints the packets to port 53 in a capture, one per line; only those from HOST, if given
#   serve_web [HOST]            starts the web site (see site), on host web or another; the log is web.log or web-HOST.log
#   serve_dns HOST              starts the lab's DNS server (see zone) on the host; it logs each question in dns-HOST.log
#   keep FILE                   puts a copy of the file into out/ when the demo ends
#   finish                      how many checks have passed, and which have not; exits with 0 if all have
#
# A command that fails ends the demo with exit code 1, unless it stands in a
# condition. A command of "run" and "on" may take $LIMIT seconds.

set -eEuo pipefail
_lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The script may already have changed to its own folder.
_step=$(cd "$(dirname "$0")" 2>/dev/null && pwd) || _step=$PWD
_script=$_step/${0##*/}
PATH=$PATH:/usr/sbin:/sbin
LIMIT=60

# Outside: start again inside. A session of its own keeps Ctrl-C away from all processes
# inside: enter ends them, so no program sees the signal (or fails because another did).
if [ "${STEPVPN_INSIDE-}" != "$(readlink /proc/self/ns/net)" ]; then
	# shellcheck disable=SC2016 # expanded inside
	exec "$_lab/enter" --before "$(printf '%q ' "$_lab/prepare.sh" --whole "$_step" ${NEEDS-})" --after "${AFTER:+cd $(printf %q "$_step") && $AFTER}" \
		bash -c 'STEPVPN_INSIDE=$(readlink /proc/self/ns/net) exec "$@"' enter setsid bash "$_script" "$@"
fi

cd "$_step"
exec {_out}>&1 # failures are reported here, wherever output goes at that moment
LAB=/run/lab
set -a
eval "$("$_lab/topology.sh" show)"
set +a
"$_lab/topology.sh" up

declare -A _pid _host _job
_names=() _failed=() _keep=()
_passes=0 _finished='' _where=''
_text=$LAB/.transcript

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	_bold=$'\e[1m' _command=$'\e[36m' _good=$'\e[32m' _bad=$'\e[31m' _plain=$'\e[0m'
else
	_bold='' _command='' _good='' _bad='' _plain=''
fi

# _tell COLOUR TEXT: prints a line on the terminal, and adds it without colour to the
# transcript.
_tell() {
	printf '%s%s%s\n' "$1" "$2" "${1:+$_plain}"
	printf '%s\n' "$2" >>"$_text"
}

# _indent: shows standard input as the output of a command.
_indent() { sed -u 's/^/    /' | tee -a "$_text"; }

show() { _indent; }

# _quote WORD...: prints the command line as one would type it.
_quote() {
	local word line=
	for word; do
		[[ $word =~ ^[A-Za-z0-9_./:=,@%+^-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
		line+=" $word"
	done
	printf '%s' "${line# }"
}

_echo() { _tell "$_command" "$1# $2"; }

# act TITLE TEXT [QUESTION [ANSWER]]
act() {
	_answer
	_expected=${4-}
	_tell '' ''
	_tell "$_bold" "== $1"
	say "$2"
	[ -z "${3-}" ] || _tell '' "   Predict: $3"
	if [ "${WALK-}" = 1 ]; then
		if [ -t 0 ]; then
			printf '%s   [Enter] %s' "$_bold" "$_plain"
			read -r || echo
		else
			printf '   (standard input is no terminal: not waiting for Enter)\n'
		fi
	fi
	_tell '' ''
}

# _answer: says what should have been predicted for the act that ends here. Only make walk does, so that no transcript
# gives it away.
_expected=
_answer() {
	[ "${WALK-}" != 1 ] || [ -z "$_expected" ] || { echo && _fold "Answer: $_expected"; }
}

# say TEXT
say() {
	local line
	while IFS= read -r line; do _tell '' "$line"; done < <(_fold "$1")
}
_fold() { fold -s -w 85 <<<"$1" | sed 's/ *$//; s/^/   /'; }

# on HOST CMD...
on() {
	local host=$1
	shift
	timeout --foreground -k 5 "$LIMIT" "${_nsenter[@]//HOST/$host}" env --chdir="$PWD" "$@"
}

# A mount namespace is entered at its root folder.
_nsenter=(nsenter --net=/run/netns/HOST --mount=/run/mntns/HOST)

# run HOST CMD...
run() {
	_echo "$1" "$(_quote "${@:2}")"
	on "$@" 2>&1 </dev/null | _indent
}

# start NAME HOST CMD...
start() {
	_echo "$2" "$(_quote "${@:3}") &"
	_start "$@"
}

# _start: as start, in silence. Bash makes background processes ignore SIGINT; env undoes
# that. The commands that end the program name it %PROGRAM, which is bash's name for a job.
_start() {
	local name=$1 host=$2
	shift 2
	_running "$name" && _fail "'$name' already runs"
	: >"$LAB/$name.log" # now, not when the background process starts
	"${_nsenter[@]//HOST/$host}" env --chdir="$PWD" --default-signal=INT,QUIT "$@" >"$LAB/$name.log" 2>&1 </dev/null &
	_pid[$name]=$! _host[$name]=$host _job[$name]=%$1
	[[ " ${_names[*]} " == *" $name "* ]] || _names+=("$name")
}

_running() { [ -n "${_pid[$1]-}" ] && kill -0 "${_pid[$1]}" 2>/dev/null; }
_ended() { ! _running "$1"; }

# _reap NAME: waits until the program has ended; $STATUS is its exit code.
_reap() {
	wait_for 10 "$1 has ended" _ended "$1"
	STATUS=0
	# shellcheck disable=SC2034 # for the script
	wait "${_pid[$1]}" || STATUS=$?
	unset "_pid[$1]"
}

# stop NAME
stop() {
	[ -n "${_pid[$1]-}" ] || _fail "stop: '$1' was not started"
	if [ -n "${_capture[$1]-}" ]; then
		_flush "$1"
	else
		_echo "${_host[$1]}" "kill -INT ${_job[$1]}    (Ctrl-C)"
	fi
	kill -INT "${_pid[$1]}" 2>/dev/null || true # it may have ended by itself
	_reap "$1"
}

# kill9 NAME
kill9() {
	_echo "${_host[$1]}" "kill -9 ${_job[$1]}"
	kill -KILL "${_pid[$1]}"
	_reap "$1" 2>/dev/null # bash reports killed jobs
}

# signal NAME SIG
signal() {
	_echo "${_host[$1]}" "kill -$2 ${_job[$1]}"
	kill "-$2" "${_pid[$1]}"
}

# logged NAME TEXT
logged() { grep -qF -e "$2" "$LAB/$1.log"; }

# show_log NAME [REGEXP]
show_log() {
	_tell '' "   $1 logged:"
	{ grep -E -e "${2-}" "$LAB/$1.log" || echo "(nothing)"; } | _indent
}

# wait_for SECS WHAT CMD...
wait_for() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || _fail "waited too long: $what ($(_quote "$@"))"
		sleep 0.05
	done
}

# check TEXT CMD...
check() { if _try "${@:2}"; then _passed "$1"; else _broken "$1" "${@:2}"; fi; }

# check_not TEXT CMD...
check_not() { if _try "${@:2}"; then _broken "$1" '!' "${@:2}"; else _passed "$1"; fi; }

_try() { "$@" >"$LAB/.check" 2>&1; }

_passed() {
	_passes=$((_passes + 1))
	_tell "$_good" "   [passed] $1"
}

_broken() {
	_failed+=("$1")
	_tell "$_bad" "   [FAILED] $1"
	_tell '' "   the check was: $(_quote "${@:2}"); its output:"
	tail -n 10 "$LAB/.check" | _indent
}

declare -A _capture
# capture NAME HOST IF [FILTER...]
#
# tcpdump stays root (-Z), or it could not write into $LAB. -B is a buffer of 64 MiB for
# the packets that a busy tcpdump has not read yet. --immediate-mode would limit the buffer
# to 512 packets of any size, and a burst would be lost.
capture() {
	local name=$1 host=$2 interface=$3
	shift 3
	_echo "$host" "tcpdump -i $interface -w $name.pcap $* &"
	_capture[$name]=1
	_start "$name" "$host" tcpdump -Z root -U -B 65536 -n -i "$interface" -w "$LAB/$name.pcap" "$@"
	wait_for 10 "tcpdump captures" logged "$name" "listening on"
}

# _flush NAME: waits until tcpdump has written all packets that the kernel has received. On
# SIGUSR1 it prints "2 packets captured, 3 packets received by filter, 0 packets
# dropped by kernel": here one is still on the way. The kernel hands packets over
# in blocks, at least once a second. If the numbers still differ after 3 s, the rest are
# packets that came before the kernel had the filter, and that do not match it.
_flush() {
	local log=$LAB/$1.log reports target='' unfiltered began=$SECONDS
	reports=$(grep -c 'dropped by kernel' "$log") || true
	kill -USR1 "${_pid[$1]}"
	wait_for 10 "tcpdump has written all packets" _flushed "${_pid[$1]}" "$log" "$reports"
}
_flushed() {
	local line
	line=$(grep 'dropped by kernel' "$2" | tail -n +$(($3 + 1)) | tail -n 1)
	[[ $line =~ ([0-9]+)\ packets?\ captured.*\ ([0-9]+)\ packets?\ received.*\ ([0-9]+)\ packets?\ dropped ]] || return
	[ "${BASH_REMATCH[3]}" = 0 ] || _fail "a capture lost ${BASH_REMATCH[3]} packets: a check of it would prove nothing"
	local missing=$((BASH_REMATCH[2] - BASH_REMATCH[1]))
	target=${target:-${BASH_REMATCH[2]}}
	[ "$missing" -ge "${unfiltered:-$((missing + 1))}" ] || unfiltered=$missing
	[ "${BASH_REMATCH[1]}" -lt "$target" ] || return 0
	[ $((SECONDS - began)) -le 3 ] || [ "${BASH_REMATCH[1]}" -lt $((target - unfiltered)) ] || return 0
	kill -USR1 "$1" # ask again
	return 1
}

# queries NAME [HOST]
queries() {
	local from=
	[ -z "${2-}" ] || from="and $(_from "$2")"
	tcpdump -nn -t -r "$LAB/$1.pcap" "dst port 53 $from" 2>/dev/null
}

# _from HOST: prints a filter for tcpdump that matches packets from an address of the host.
_from() {
	local v4=${1^^}4 v6=${1^^}6
	printf '(src %s or src %s)' "${!v4}" "${!v6}"
}

# serve_web [HOST]
serve_web() {
	local host=${1-web} name=web
	[ "$host" = web ] || name=web-$host
	start "$name" "$host" bin/web
	wait_for 10 "the web site serves" logged "$name" serving
}

# serve_dns HOST
serve_dns() {
	start "dns-$1" "$1" bin/dns
	wait_for 10 "the DNS server of $1 serves" logged "dns-$1" serving
}

# keep FILE
keep() { _keep+=("$1"); }

# _publish FILE NAME: puts a copy into out/, atomically. Everybody may read it, and it
# belongs to the user who called sudo, if any.
_publish() {
	local temp
	temp=$(mktemp "out/.$2.XXXXXX")
	cp "$1" "$temp"
	chmod 644 "$temp"
	_own "$temp"
	mv -f "$temp" "out/$2"
}
_own() { [ -z "${SUDO_UID-}" ] || chown -h "$SUDO_UID:${SUDO_GID-}" "$@" 2>/dev/null || true; }

# finish
finish() {
	local line file
	_answer
	_tell '' ''
	_tell "$_bold" "== Checks"
	for line in "${_failed[@]}"; do _tell "$_bad" "   [FAILED] $line"; done
	if [ $((_passes + ${#_failed[@]})) = 0 ]; then
		_fail "there was no check: this demo proves nothing"
	fi
	_tell '' "   $_passes passed, ${#_failed[@]} failed"
	mkdir -p out
	_own out
	find out -name '.*.??????' -mmin +5 -delete # a killed run may have left them
	for file in "${_keep[@]}"; do
		_publish "$file" "${file##*/}"
		_tell '' "   kept: ${_step#"${_lab%/shared/lab}/"}/out/${file##*/}"
	done
	_publish "$_text" demo.txt
	_finished=1
	exit $((${#_failed[@]} > 0))
}

# _fail TEXT: ends the demo. It may be called in a condition or a subshell, so
# it does not rely on set -e.
_fail() {
	_where=$1
	printf '%s\n' "$1" >"$LAB/.failed"
	exit 1
}

# _error: notes the command because of which set -e ends the script.
_error() {
	local status=$? line=$LINENO
	[ ${#BASH_LINENO[@]} -lt 2 ] || line=${BASH_LINENO[-2]}
	[ -n "$_where" ] || _where="line $line of ${0##*/}: '$BASH_COMMAND' ended with exit code $status"
}

_leave() {
	local status=$? name
	trap - EXIT ERR
	set +e
	[ -z "$_finished" ] || exit "$status"
	[ "$status" != 0 ] || _where="it ended without calling 'finish'"
	[ ! -e "$LAB/.failed" ] || _where=$(<"$LAB/.failed")
	exec >&"$_out"
	printf '\n%s== The demo failed: %s%s\n' "$_bad" "$_where" "$_plain"
	for name in "${_names[@]}"; do
		printf '   the end of %s.log:\n' "$name"
		tail -n 8 "$LAB/$name.log" | sed 's/^/    /'
	done
	[ "$status" != 0 ] || status=1
	exit "$status"
}
trap _error ERR
trap _leave EXIT
