#!/bin/sh
# A robot fleet in 60 lines of shell: robots that obey, and an operator that
# commands them and hears what became of it. It ends when every robot is home.
#
#   examples/fleet.sh                       the gateway is at http://localhost:8080, or GATEWAY_URL
#   GATEWAY_TOKEN=gwk_… examples/fleet.sh     where a key is needed
set -eu
gateway=${GATEWAY_URL:-http://localhost:8080}
robots='robot-1 robot-2 robot-3'

# The key goes to curl in a file, where no list of processes shows it.
work=$(mktemp -d)
readers=
trap 'kill $readers 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
: >"$work/curl"
if [ -n "${GATEWAY_TOKEN:-}" ]; then
	printf 'header = "Authorization: Bearer %s"\n' "$GATEWAY_TOKEN" >"$work/curl"
fi

# obey is a robot: a line of the stream is an order. It moves, and reports where
# it is; whoever comes late finds the last report, retained.
obey() {
	x=0
	while read -r order; do
		case $order in
		home) x=0 ;;
		*) x=$((x + 1)) ;;
		esac
		curl -K "$work/curl" -sSf -o /dev/null -X PUT -d "{\"x\":$x}" "$gateway/topics/fleet/$1/report" ||
			echo "$1: the report may be lost" >&2
	done
}

for name in $robots; do
	mkfifo "$work/$name"
	obey "$name" <"$work/$name" &
	curl -K "$work/curl" -sSN -D "$work/$name.head" -H 'Accept: text/plain' "$gateway/events?topic=fleet/$name/command" >"$work/$name" &
	readers="$readers $!"
done
# A stream's head comes when it is subscribed.
for name in $robots; do
	until grep -q '^HTTP/1.1 200' "$work/$name.head" 2>/dev/null; do
		kill -0 $readers || exit 1 # curl has said why
		sleep 0.1
	done
done

for order in forward forward home; do
	for name in $robots; do
		if curl -K "$work/curl" -sSf -o /dev/null -d "$order" "$gateway/request/fleet/$name/command?reply=fleet/$name/report&timeout=30s"; then
			echo "fleet/$name/report $(curl -K "$work/curl" -sS "$gateway/topics/fleet/$name/report")"
		else
			echo "$name does not obey" >&2
		fi
	done
done
