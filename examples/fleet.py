#!/usr/bin/env python3
"""A robot fleet in 60 lines: robots that obey, and an operator that commands
them and hears what became of it. It ends when every robot is home.

    examples/fleet.py                       the gateway is at http://localhost:8080, or GATEWAY_URL

With a key in GATEWAY_TOKEN it shows that one. Python's standard library only.
"""

import json
import os
import threading
import urllib.request

GATEWAY = os.environ.get("GATEWAY_URL", "http://localhost:8080")
KEY = os.environ.get("GATEWAY_TOKEN")
ROBOTS = ["robot-1", "robot-2", "robot-3"]


def ask(path, body=None, timeout=60):
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = "Bearer " + KEY
    request = urllib.request.Request(GATEWAY + path, body and json.dumps(body).encode(), headers)
    return urllib.request.urlopen(request, timeout=timeout)


def follow(topic, ready):
    """Yields the messages of a topic, without the retained ones."""
    with ask(f"/events?topic={topic}&format=ndjson", timeout=None) as stream:
        for line in stream:
            frame = json.loads(line)
            if frame["type"] == "ack":
                ready.set()
            elif frame["type"] == "message" and not frame["retain"]:
                yield frame["payload"]


def obey(name, ready):
    """A robot: it moves, and reports where it is."""
    x = 0
    for order in follow(f"fleet/{name}/command", ready):
        x = 0 if order == "home" else x + 1
        ask("/publish", {"topic": f"fleet/{name}/report", "payload": {"x": x}, "retain": True}).close()


def command(name, order):
    """The answer is the robot's report, or a status that says what is known."""
    with ask(f"/request/fleet/{name}/command?reply=fleet/{name}/report&timeout=30s", order) as answer:
        return json.load(answer)["payload"]


for name in ROBOTS:
    ready = threading.Event()
    threading.Thread(target=obey, args=(name, ready), daemon=True).start()
    ready.wait()
for order in ["forward", "forward", "home"]:
    for name in ROBOTS:
        report = command(name, order)
        print(f"fleet/{name}/report x = {report['x']}", flush=True)
