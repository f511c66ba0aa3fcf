#!/bin/sh
# Runs the parts of interop/ against the built gateway; arguments choose some of
# them. What they need from npm is installed first, three versions of Node.js
# among it.
set -eu
cd "$(dirname "$0")/.."
./scripts/npm-deps.sh

# Made whole before it counts: an installation that breaks off is none.
if ! cmp -s interop/package.json interop/node_modules/.installed; then
	echo "Installing what interop/package.json names, with Node.js 20, 22 and 24"
	npm install --prefix interop --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
	cp interop/package.json interop/node_modules/.installed
fi

case $(uname -m) in
x86_64) arch=x64 ;;
aarch64) arch=arm64 ;;
*)
	echo "interop/package.json has no Node.js for $(uname -m)." >&2
	exit 1
	;;
esac
exec "interop/node_modules/node24-$arch/bin/node" interop/run.mjs "$@"
