#!/usr/bin/env bash
# diff.sh [PREVIOUS]: what the step in the working folder adds to the step before.
set -euo pipefail
previous=${1-}

echo "New packages:"
for dir in */; do
	dir=${dir%/}
	ls "$dir"/*.go >/dev/null 2>&1 || continue
	printf '  %-10s %s\n' "$dir" "$(go list -f '{{.Doc}}' "./$dir" | sed 's/^Package [a-z]* //')"
	for file in "$dir"/*.go; do
		case $file in *_test.go) ;; *) printf '  %10s   %-24s %4d lines\n' '' "${file#*/}" "$(wc -l <"$file")" ;; esac
	done
done

for main in cmd/*/main.go; do
	echo
	if [ -e "../$previous/$main" ]; then
		diff -u --label "$previous/$main" --label "${PWD##*/}/$main" "../$previous/$main" "$main" || [ $? = 1 ]
	else
		echo "New program: ${PWD##*/}/$main ($(wc -l <"$main") lines)"
	fi
done
