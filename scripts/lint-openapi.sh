#!/bin/sh
# Checks api/openapi.yaml with the rules of redocly.yaml. The linter is installed
# into bin/tools, pinned; it runs on Node 18.17 and newer.
set -eu
cd "$(dirname "$0")/.."
version=1.34.20
dir=$PWD/bin/tools/redocly-$version
./scripts/npm-deps.sh

# Made whole before it gets its name: an installation that breaks off is none.
if [ ! -x "$dir/node_modules/.bin/redocly" ]; then
	rm -rf "$dir" "$dir.new"
	mkdir -p "$dir.new"
	npm install --prefix "$dir.new" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "@redocly/cli@$version" >/dev/null
	mv "$dir.new" "$dir"
fi

# It shall neither look for newer versions nor tell anybody about its use.
export REDOCLY_SUPPRESS_UPDATE_NOTICE=true REDOCLY_TELEMETRY=off
exec "$dir/node_modules/.bin/redocly" lint --config redocly.yaml --lint-config error --format stylish api/openapi.yaml
