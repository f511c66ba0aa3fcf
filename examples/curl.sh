#!/bin/sh
# Everything that the gateway does over HTTP, with curl. It needs a gateway:
#
#   make run                                    in one terminal
#   examples/curl.sh                            in another
#   examples/curl.sh http://192.168.1.20:8080   for another gateway, or with this in GATEWAY_URL
#   GATEWAY_TOKEN=gwk_… examples/curl.sh          where a key is needed
set -eu
gateway=${1:-${GATEWAY_URL:-http://localhost:8080}}

# The key goes to curl in a file, where no list of processes shows it.
config=$(mktemp)
trap 'rm -f "$config"' EXIT
if [ -n "${GATEWAY_TOKEN:-}" ]; then
	printf 'header = "Authorization: Bearer %s"\n' "$GATEWAY_TOKEN" >"$config"
fi
curl() {
	command curl -K "$config" "$@"
}

say() { printf '\n== %s\n' "$*"; }

# publish sends one JSON object and prints the status and the answer.
publish() {
	curl -sS -w 'status %{http_code}\n' "$gateway/publish" -H 'Content-Type: application/json' -d "$1"
}

# stream reads for two seconds. curl then ends with status 28, which is meant.
stream() {
	curl -s -N --max-time 2 "$@" || [ $? -eq 28 ]
}

say "Is it ready?"
curl -sS "$gateway/readyz"

say "Topics as resources: POST publishes the body, PUT retains it, GET reads it, DELETE clears it"
curl -sS -d 21.50 "$gateway/topics/examples/curl/volts"
curl -sS -X PUT -d eco "$gateway/topics/examples/curl/mode"
curl -sS "$gateway/topics/examples/curl/mode"
printf '\n'
curl -sS "$gateway/topics?filter=examples/curl/%2B"
curl -sS -X DELETE "$gateway/topics/examples/curl/mode"

say "Many at once, one a line"
printf '%s\n' '{"topic":"examples/curl/a","payload":1}' '{"topic":"examples/+/b","payload":2}' |
	curl -sS "$gateway/publish/batch" -H 'Content-Type: application/x-ndjson' --data-binary @-

say "A command, and the device's answer (nobody answers here)"
curl -sS -d TOGGLE "$gateway/request/examples/curl/cmnd?reply=examples/curl/stat&timeout=300ms"

say "Twice with one Idempotency-Key: published once"
key="example-$$-$(date +%s)"
curl -sS -d 1 -H "Idempotency-Key: $key" "$gateway/topics/examples/curl/order"
curl -sS -d 1 -H "Idempotency-Key: $key" "$gateway/topics/examples/curl/order"

say "A stream in the background, and three messages"
stream "$gateway/events?topic=examples/curl/%2B" &
sleep 1
publish '{"topic":"examples/curl/led","payload":"on","retain":true}'
publish '{"topic":"examples/curl/battery","payload":21.50}'
publish '{"topic":"examples/curl/frame","payload":"3q2+7w==","encoding":"base64","qos":0}'
wait

say "A late joiner gets the retained message"
stream "$gateway/events?topic=examples/curl/%23"

say "With snapshot=true it gets the newest message of every topic"
stream "$gateway/events?topic=examples/curl/%23&snapshot=true"

say "Payloads only, for people"
stream "$gateway/events?topic=examples/curl/%23&snapshot=true&format=text"

say "What is remembered: the history, one message a line"
history=$(curl -sS -H 'Accept: application/x-ndjson' "$gateway/history?filter=examples/curl/%2B")
printf '%s\n' "$history"

say "Resume behind the first of them"
cursor=$(printf '%s\n' "$history" | sed -n 's/.*"cursor":"\([^"]*\)".*/\1/p' | head -n 1)
stream "$gateway/events?topic=examples/curl/%2B&since=$cursor"

say "A mistake is explained"
publish '{"topic":"examples/+/led","payload":"on","qos":3}'
