#!/usr/bin/env bash
# diff.sh [PREVIOUS [OLD=NEW...]]: shows what the step in the working folder adds to the step
# before. What the file OLD did there, the file NEW does here. In a chapter
# it shows where the programs of its step use it.
set -euo pipefail
previous=${1-}
shift || true

echo "New packages:"
folders=(*/)
[ -e go.mod ] || folders=(. */)
for dir in "${folders[@]}"; do
	dir=${dir%/}
	ls "$dir"/*.go >/dev/null 2>&1 || continue
	name=$dir
	[ "$dir" != . ] || name=${PWD##*/}
	printf '  %s ' "$name"
	go list -f '{{.Doc}}' "./$dir" | sed 's/^Package [a-z0-9]* //' | fold -s -w 80 | sed '2,$s/^/      /'
	for file in "$dir"/*.go; do
		case $file in *_test.go) ;; *) printf '      %-24s %4d lines\n' "${file#*/}" "$(wc -l <"$file")" ;; esac
	done
done

if [ ! -e go.mod ]; then
	for main in cmd/*/main.go; do
		[ ! -e "$main" ] || printf '\nNew program: %s (%d lines)\n' "$main" "$(wc -l <"$main")"
	done
	package=${PWD##*/}
	echo
	echo "The step's programs use it here:"
	(cd ../.. && grep -rnE --include='*.go' --exclude='*_test.go' --exclude-dir=further "\"stepvpn/.*/further/$package\b|\b$package\.[A-Z]" . | sed 's|^\./||; s/^/  /')
	exit
fi

for main in cmd/*/main.go; do
	echo
	if [ -e "../$previous/$main" ]; then
		diff -u --label "$previous/$main" --label "${PWD##*/}/$main" "../$previous/$main" "$main" || [ $? = 1 ]
	else
		echo "New program: ${PWD##*/}/$main ($(wc -l <"$main") lines)"
	fi
done

for pair; do
	echo
	diff -u --label "$previous/${pair%=*}" --label "${PWD##*/}/${pair#*=}" "../$previous/${pair%=*}" "${pair#*=}" || [ $? = 1 ]
done
