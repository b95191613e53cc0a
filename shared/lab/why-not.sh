#!/usr/bin/env bash
# why-not.sh REASON: explains why namespaces could not be made. REASON is what unshare
# said. It prints which of the known causes it is and what to do, and exits with 1.

knob() { cat "/proc/sys/${1//.//}" 2>/dev/null; }

# in_container: succeeds inside a container. There, only the person who starts the
# container can lift the restriction.
in_container() {
	[ -e /.dockerenv ] || [ -e /run/.containerenv ] || grep -qs '^container=' <(tr '\0' '\n' </proc/1/environ 2>/dev/null)
}

if [ "$(knob user.max_net_namespaces)" = 0 ]; then
	what="this machine's limit of network namespaces is 0"
	todo="sudo sysctl user.max_net_namespaces=10000"
elif in_container; then
	what="this container may not make network namespaces"
	todo="start it with --privileged (docker run --privileged --device=/dev/net/tun ...)"
elif [ "$(id -u)" = 0 ]; then
	what="this root may not make network namespaces: it lacks CAP_SYS_ADMIN, as in a container"
	todo="start the container or service with full capabilities (docker run --privileged ...)"
elif [ "$(knob kernel.apparmor_restrict_unprivileged_userns)" = 1 ]; then
	what="Ubuntu's AppArmor keeps ordinary users from making namespaces"
	todo="run as root (sudo make demo), or allow it until the next boot: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
elif [ "$(knob kernel.unprivileged_userns_clone)" = 0 ]; then
	what="this kernel keeps ordinary users from making namespaces"
	todo="run as root (sudo make demo), or allow it until the next boot: sudo sysctl kernel.unprivileged_userns_clone=1"
elif [ "$(knob user.max_user_namespaces)" = 0 ]; then
	what="this machine's limit of user namespaces is 0"
	todo="run as root (sudo make demo), or: sudo sysctl user.max_user_namespaces=10000"
else
	what="ordinary users may not make namespaces here"
	todo="run as root: sudo make demo"
fi
{
	echo "lab: $what."
	echo "  What to do: $todo"
	echo "  (${1-no reason given})"
} >&2
exit 1
