#!/bin/sh
# Runs govulncheck ($1: its module path and version) if its database answers.
# Without the database there is nothing to check against, so it says so and
# leaves the build alone.
set -eu
mkdir -p bin/tools
GOBIN="$PWD/bin/tools" go install "$1"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
if ./bin/tools/govulncheck ./... >"$out" 2>&1; then
	tail -n 3 "$out"
	exit 0
fi
if grep -qE 'fetching vulnerabilities|dial tcp|no such host|connection refused|Forbidden|server misbehaving|i/o timeout|status code' "$out"; then
	echo "govulncheck: its database cannot be reached from here; not checked"
	exit 0
fi
cat "$out"
exit 1
