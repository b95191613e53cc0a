#!/usr/bin/env bash
# fuzz.sh [TIME]: runs every fuzz target of the workspace for TIME (10s), and prints the
# number of executions. -fuzzminimizetime limits how long go test minimizes a new input: by
# default that takes up to a minute, in which it tries nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1-10s}
targets=0 failed=0 log=$(mktemp)
trap 'rm -f "$log"' EXIT

while IFS=: read -r file target; do
	targets=$((targets + 1))
	code=0
	(cd "$(dirname "$file")" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x .) >"$log" 2>&1 </dev/null || code=$?
	executions=$(grep -o 'execs: [0-9]*' "$log" | tail -n 1) || true
	printf '  %-7s %s %s, %s\n' "$([ $code = 0 ] && echo passed || echo FAILED)" "$(dirname "$file")" "$target" "${executions:-no execution}"
	if [ $code != 0 ]; then
		failed=$((failed + 1))
		sed 's/^/          /' "$log"
	fi
done < <(grep -ro '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' shared step*-* | sed 's/func //' | sort)

echo "$targets fuzz targets, $failed failed"
[ $failed = 0 ] && [ $targets -gt 0 ]
