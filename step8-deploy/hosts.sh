# shellcheck shell=bash
# The hosts server, alice and bob, for demo.sh, which sources this file: machines with a
# systemd of their own (see machine.sh), or, where none can be booted, the lab's hosts with
# plain processes. Either way, there are these functions:
#
#   machines                 boots the machines; $SYSTEMD is 1, or "" with the reason in $WHY_NOT
#   machines_off             shuts them down
#   at HOST CMD...           runs the command on the host, in silence
#   type_at HOST CMD...      the same, and shows it
#   put HOST FILE            writes standard input to a new file there, mode 600
#   enable HOST ROLE         starts the service, now and at each boot; returns when it is up
#   disable HOST ROLE        stops the service, and starts it no more at boot
#   sigkill HOST ROLE        kills the service with SIGKILL; restarted waits for the new start
#   restarted HOST ROLE      waits until the service runs again; without systemd, starts it
#   reboot HOST ROLE         reboots the machine; without systemd, stops and starts the service

SYSTEMD='' WHY_NOT=''
hosts=(server alice bob)

machines() {
	local host
	# shellcheck disable=SC2034 # for the script
	if ! WHY_NOT=$(./machine.sh check 2>&1); then
		return
	fi
	SYSTEMD=1
	_each ./machine.sh boot
	for host in "${hosts[@]}"; do
		make --silent install DESTDIR="$(./machine.sh root "$host")" >>"$LAB/install.log"
		./machine.sh exec "$host" systemd-tmpfiles --create stepvpn.conf # it has booted already
	done
}

machines_off() { [ -z "$SYSTEMD" ] || _each ./machine.sh off; }

# _each CMD...: runs the command for each host, whose name it appends, all at the same time.
_each() {
	local host pid pids=()
	for host in "${hosts[@]}"; do
		"$@" "$host" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
}

at() {
	local host=$1
	shift
	if [ -n "$SYSTEMD" ]; then
		timeout --foreground -k 5 "$LIMIT" ./machine.sh exec "$host" "$@"
	else
		on "$host" env PATH="$PWD/bin:$PATH" "$@"
	fi
}

type_at() {
	_echo "$1" "$(_quote "${@:2}")"
	at "$@" 2>&1 </dev/null | _indent
}

# shellcheck disable=SC2016 # expanded there
put() { at "$1" bash -c 'umask 077; mkdir -p "${0%/*}"; cat >"$0"' "$2"; }

# The text in a log that says that a service is ready.
declare -A _ready=([server]="server is up" [client]="client is up")

_launch() {
	start "$1" "$1" env PATH="$PWD/bin:$PATH" stepvpn "$2" "/etc/stepvpn/$2.toml"
	wait_for 20 "the $2 is ready" logged "$1" "${_ready[$2]}"
}

enable() {
	if [ -n "$SYSTEMD" ]; then
		type_at "$1" systemctl --quiet enable --now "stepvpn-$2"
		[ "$2" != client ] || type_at "$1" stepvpn wait-online
		_process[$1]=$(_main "$@")
	else
		_launch "$@"
	fi
}

disable() {
	if [ -n "$SYSTEMD" ]; then
		type_at "$1" systemctl --quiet disable --now "stepvpn-$2"
	else
		stop "$1"
	fi
}

sigkill() {
	if [ -n "$SYSTEMD" ]; then
		type_at "$1" systemctl kill --signal=KILL "stepvpn-$2"
	else
		kill9 "$1"
	fi
}

declare -A _process # the last known main process of each host's service
_main() { at "$1" systemctl show --property=MainPID --value "stepvpn-$2"; }
_anew() { [ "$(_main "$@")" != "${_process[$1]}" ] && at "$1" systemctl is-active "stepvpn-$2"; }

restarted() {
	if [ -n "$SYSTEMD" ]; then
		wait_for 30 "systemd has started the $2 again" _anew "$@"
		_process[$1]=$(_main "$@")
	else
		sleep 1 # as RestartSec= in the unit
		_launch "$@"
	fi
}

reboot() {
	if [ -n "$SYSTEMD" ]; then
		_echo "$1" "systemctl reboot"
		./machine.sh reboot "$1"
		_process[$1]=$(_main "$@")
	else
		stop "$1"
		sleep 2
		_launch "$@"
	fi
}
