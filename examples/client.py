#!/usr/bin/env python3
"""A client of the gateway over plain HTTP, with Python's standard library only.

    examples/client.py                                  publishes three messages, reads them, ends
    examples/client.py --follow 'pi/#' 'alarms/#'       reads until Ctrl-C
    examples/client.py --gateway http://192.168.1.20:8080    or with this in GATEWAY_URL

With a key in GATEWAY_TOKEN it shows that one. When the stream breaks it connects again, each time a little later, and goes on
behind the last message seen.
"""

import argparse
import base64
import http.client
import json
import os
import random
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

# A line of NDJSON comes only with a message, so a stream that says nothing for
# so long may be dead. To connect again costs little and loses nothing.
QUIET = 60

KEY = os.environ.get("GATEWAY_TOKEN")
CREDENTIALS = {"Authorization": "Bearer " + KEY} if KEY else {}


def value(message):
    """The payload: a JSON value, a str, or bytes."""
    if message["encoding"] == "base64":
        return base64.b64decode(message["payload"])
    return message["payload"]


def follow(gateway, filters, since=None):
    """Yields every frame of /events, and connects again when the stream ends."""
    attempts = 0
    while True:
        query = [("topic", f) for f in filters]
        if since:
            query.append(("since", since))
        request = urllib.request.Request(
            gateway + "/events?" + urllib.parse.urlencode(query),
            headers={"Accept": "application/x-ndjson", **CREDENTIALS},
        )
        try:
            with urllib.request.urlopen(request, timeout=QUIET) as stream:
                for line in stream:
                    if not line.endswith(b"\n"):
                        break  # the connection ended in the middle of it
                    frame = json.loads(line)
                    attempts = 0
                    # What did not fit into our queue is still in the history,
                    # so behind such a gap the cursor stays where it is.
                    if frame["type"] == "gap":
                        if frame["reason"] != "slow_consumer":
                            since = frame["before"]
                    else:
                        since = frame.get("cursor", since)
                    yield frame
        except urllib.error.HTTPError as e:
            if e.headers.get_content_type() == "application/problem+json":
                problem = json.load(e)
                if not problem["retryable"]:
                    raise SystemExit(f"{e.code} {problem['code']}: {problem['detail']}")
            print("stream:", e, file=sys.stderr)
        except (OSError, http.client.HTTPException) as e:
            print("stream:", e, file=sys.stderr)
        delay = min(30, 0.5 * 2**attempts) * random.uniform(0.5, 1)
        attempts += 1
        time.sleep(delay)


def publish(gateway, topic, payload, qos=1, retain=False):
    """Publishes and returns the gateway's answer.

    503 means that nothing was sent, so it tries again. 504 means that nobody
    knows, which is the caller's to decide. Anything else is a mistake.
    """
    url = urllib.parse.urlsplit(gateway)
    body = json.dumps({"topic": topic, "payload": payload, "qos": qos, "retain": retain})
    for attempt in range(5):
        connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=30)
        connection.request("POST", "/publish", body, {"Content-Type": "application/json", **CREDENTIALS})
        response = connection.getresponse()
        answer = json.load(response)
        connection.close()
        if response.status in (200, 202):
            return answer
        if response.status != 503:
            break
        time.sleep(int(response.getheader("Retry-After", "1")))
    raise RuntimeError(f"{response.status} {answer['code']}: {answer['detail']}")


def say(*words):
    """Prints a line at once: two threads print here, and print() writes word by word."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def show(frame):
    if frame["type"] == "message":
        kind = "retained" if frame["retain"] else "message"
        say(kind, frame["topic"], repr(value(frame)))
    elif frame["type"] == "gap":
        say("gap: messages", "are" if frame["certain"] else "may be", "missing:", frame["reason"])
    elif frame["type"] == "broker":
        say("broker connected:", frame["connected"])


def demo(gateway):
    """Three messages out, three messages in."""
    ready = threading.Event()
    left = 3

    def send():
        ready.wait()
        for payload in ["on", 21.5, {"state": "ok"}]:
            say("published", publish(gateway, "examples/python/value", payload))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    for frame in follow(gateway, ["examples/python/+"]):
        show(frame)
        if frame["type"] == "ack":
            ready.set()  # from here on nothing passes unseen
        if frame["type"] == "message" and not frame["retain"]:
            left -= 1
            if left == 0:
                sender.join()
                return


def main():
    parser = argparse.ArgumentParser(description="Read and publish through the gateway.")
    parser.add_argument("--gateway", default=os.environ.get("GATEWAY_URL", "http://localhost:8080"), help="its address (default: %(default)s)")
    parser.add_argument("--follow", nargs="+", metavar="FILTER", help="read these until Ctrl-C")
    options = parser.parse_args()
    if not options.follow:
        demo(options.gateway)
        return
    try:
        for frame in follow(options.gateway, options.follow):
            show(frame)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
