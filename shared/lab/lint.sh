#!/usr/bin/env bash
# lint.sh: gofmt, go vet and staticcheck in every module of the workspace.
set -euo pipefail
cd "$(dirname "$0")/../.."

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	printf 'lint: not formatted, run gofmt -w on:\n%s\n' "$unformatted" >&2
	exit 1
fi

# The version stands in shared/tools/go.mod, apart from the modules of the
# course, so that these do not depend on it.
mkdir -p .cache
if [ -n "${SUDO_UID-}" ]; then chown "$SUDO_UID:${SUDO_GID-}" .cache; fi
staticcheck=$PWD/.cache/staticcheck
(cd shared/tools && GOWORK=off go build -buildvcs=false -o "$staticcheck" honnef.co/go/tools/cmd/staticcheck)

for module in shared step*-*/; do
	echo "== lint: ${module%/}"
	(cd "$module" && go vet ./... && "$staticcheck" ./...)
done
