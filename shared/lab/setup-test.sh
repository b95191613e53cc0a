#!/usr/bin/env bash
# setup-test.sh: tests what the lab says and does if something is missing. Run it with
# shared/lab/enter: mounts that only the lab sees hide things.
set -uo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
[ -d /run/lab ] || { echo "run it with shared/lab/enter" >&2; exit 1; }
cd /run/lab || exit
failures=0

# says CODE TEXT CMD...: checks that CMD ends with the exit code, and that its output
# contains the text.
says() {
	local want=$1 text=$2 code=0
	shift 2
	"$@" >said 2>&1 </dev/null || code=$?
	if [ $code = "$want" ] && [[ $(<said) == *"$text"* ]]; then
		echo "fine: exit code $code, $text"
	else
		echo "WRONG: '$*' ended with $code, not $want, or did not say: $text"
		sed 's/^/    /' said
		failures=1
	fi
}

# A machine without socat: it has all other programs. apt-get is a fake that succeeds once
# it has fetched the package lists.
mkdir play bin
ln -s /usr/bin/* bin/ && rm bin/socat
printf '#!/bin/sh\necho 0\n' >play/id # root
cat >play/apt-get <<-END
	#!/bin/sh
	echo "\$*" >>$PWD/apt
	case "\$*" in
	*update*) touch $PWD/lists ;;
	*install*) [ -e $PWD/lists ] && ln -sf /usr/bin/socat $PWD/bin ;;
	esac
END
chmod +x play/apt-get play/id
# shellcheck disable=SC2317 # says calls it
setup() { env PATH="$PWD/play:$PWD/bin" "$lab/setup.sh" "$@"; }
says 0 "installing socat" setup ip socat
says 0 "update" cat apt
rm bin/socat apt
says 0 "installing socat" setup socat
says 1 "" grep update apt
says 0 "" setup ip socat # it is there now

rm bin/socat
printf '#!/bin/sh\necho no network; exit 100\n' >play/apt-get
says 1 "no network" setup socat
printf '#!/bin/sh\ntrue\n' >play/apt-get
says 1 "'socat' is still missing" setup socat

# An ordinary user whom sudo asks for a password, and then one whom it does not ask.
printf '#!/bin/sh\necho 1000\n' >play/id
printf '#!/bin/sh\nexit 1\n' >play/sudo
chmod +x play/sudo
says 1 "sudo apt-get install -y --no-install-recommends socat" setup ip socat
# shellcheck disable=SC2016 # expanded there
printf '#!/bin/sh\n[ "$1" = -n ] && shift && exec "$@"\n' >play/sudo
printf '#!/bin/sh\nln -s /usr/bin/socat %s/bin\n' "$PWD" >play/apt-get
says 0 "installing socat" setup ip socat
says 2 "which package brings 'no-such-program'" setup no-such-program

# The TUN device.
if [ -e /dev/net/tun ]; then
	mount -t tmpfs -o mode=755 none /dev/net
	says 1 "/dev/net/tun is missing" "$lab/setup.sh" tun
	touch /dev/net/tun && mount --bind /dev/full /dev/net/tun && mount -o remount,bind,ro,nodev /dev/net/tun
	says 1 "What to do: " "$lab/setup.sh" tun # there, but not a device that opens
	umount /dev/net/tun && umount /dev/net
fi

# Namespaces: the limit is set in a user namespace of its own.
says 1 "limit of network namespaces is 0" unshare --user --map-root-user bash -c \
	"echo 0 >/proc/sys/user/max_net_namespaces && $lab/enter true"
[ "$(id -u)" != 0 ] || says 1 "What to do: start" setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$lab/enter" true
says 1 "What to do: " "$lab/why-not.sh" "a reason"
says 2 "Usage: enter " "$lab/enter"
says 7 "seven" "$lab/enter" sh -c 'echo seven; exit 7'
says 137 "" "$lab/enter" sh -c 'kill -9 $$'

# The topology is not for the machine itself, which has no such folder.
mount -t tmpfs none /run
says 1 "run it with shared/lab/enter" "$lab/topology.sh" up
exit $failures
