#!/bin/sh
# Installs npm, and Node.js with it, where there is none. Quiet when it is there.
set -eu
have() { command -v "$1" >/dev/null 2>&1; }

! have npm || exit 0
if ! have apt-get; then
	echo "This needs npm and Node 18.17 or newer: install them with your package manager." >&2
	exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif have sudo; then
	as_root=sudo
else
	echo "This needs npm. Run this script as root, or install sudo." >&2
	exit 1
fi
echo "Installing npm"
$as_root apt-get -qq update
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends npm >/dev/null
