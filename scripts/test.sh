#!/bin/sh
# Runs all tests, every part of them even if one before it is red, and says at
# the end which parts were. GO is the go command.
set -u
cd "$(dirname "$0")/.."
go=${GO:-go}
red=

part() {
	name=$1
	shift
	echo "== $name"
	"$@" || red="$red
  $name"
}

# Most tests wait for something, so more of them run at once than there are cores.
# The longest begins first.
part "all packages, with the race detector" "$go" test -race -count=1 -parallel 4 -timeout 15m ./test ./...
part "many clients and messages, without it" "$go" test -count=1 -timeout 10m -run 'TwoHundredSubscribers|MillionLines|TenThousandRequests' ./test
part "the manifests" "$go" -C test/manifests test -count=1 -timeout 10m ./...
part "the load tool" "$go" -C bench test -count=1 -timeout 10m ./...

if [ -n "$red" ]; then
	echo "red:$red" >&2
	exit 1
fi
echo "all parts are green"
