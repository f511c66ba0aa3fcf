"""Talks to an MQTT broker: one file, Python 3.9 or newer, standard library only.

    from device_com import connect_broker

    vals = connect_broker()
    if vals == 0:
        print("Value received is 0")

settings.ini in the working directory names the broker:

    [system]
    ip_address = 192.168.1.10
    mqtt_port = 1883

connect_broker() subscribes to everything and returns `vals`, which is used like
the newest value. publish() sends one. A function set as `device_com.on_message`
is called for every message. Everything that goes wrong is a DeviceError.

Three threads work beside the program. The network thread alone touches the
connection, and never runs code of the program. The on_message thread calls
on_message, one message after the other; while it is busy up to 1000 messages
wait, then the oldest are skipped and counted. The third keeps a program alive
whose main has ended while on_message is set.

For the whole process it puts a function before sys.excepthook, which prints an
uncaught DeviceError in one line, and one before Python's own handler of Ctrl-C,
which ends on_message after main.

MQTT 3.1.1 (OASIS standard of 29 October 2014), with a clean session: what is
published while the connection is down is not delivered later, except for
retained messages. The numbers in the comments are its clauses.
"""

import atexit
import collections
import ipaddress
import json
import math
import operator
import os
import random
import re
import secrets
import selectors
import signal
import socket
import ssl
import struct
import sys
import threading
import time
import traceback

__all__ = ["connect_broker", "publish", "close", "DeviceError", "NotConnected", "OutcomeUnknown", "NoMessage"]

SETTINGS = "settings.ini"
MAX_PACKET = 16 << 20  # bytes of one message, both ways
MAX_WAITING = 1000  # messages that wait for iteration, and as many for on_message
MAX_WAITING_BYTES = 16 << 20  # their payloads
MAX_PENDING = 1000  # publishes that wait for the broker's confirmation
MAX_SETTINGS = 1 << 20  # bytes of settings.ini

_KEEP_ALIVE = 15.0  # seconds between two pings; the broker is told twice that
_PATIENCE = 10.0  # seconds without an answer until a connection counts as lost
_EVERY = 4.0  # seconds between two lines that say what is waited for
_LONGEST_PAUSE = 10.0  # seconds between two attempts to connect
_STABLE = 3.0  # seconds that a connection must have lived for the pauses to begin anew


class DeviceError(Exception):
    """Something went wrong; its text is one sentence for people.

    A program that does not catch it ends with status 2, and its text on stderr.
    """


class NotConnected(DeviceError):
    """There is no connection to the broker. What was to be published has not been sent."""


class OutcomeUnknown(DeviceError):
    """The message was sent and not confirmed: it may or may not have arrived."""


class NoMessage(DeviceError, TimeoutError):
    """No message came in time."""


# Called as on_message(topic, value) for each message, in a thread of its own.
# It may publish. An exception in it is printed, and reception goes on.
on_message = None


def connect_broker():
    """Connects to the broker of settings.ini, subscribes to everything, returns vals.

    It waits until there is a connection and a first message, and says every few
    seconds on stderr what it waits for. While on_message is set it does not
    wait for the message. A second call returns the same vals.

    Attributes of the function, to be set before the call:
      timeout    seconds that it waits in all; None (the default): for ever
      will       (topic, value), (topic, value, qos) or (topic, value, qos, retain):
                 what the broker publishes when this program dies (3.1.2.5)
      birth      the same: what is published first on each connection, also on
                 one that replaces a lost one, whose will the broker has published
      client_id  the name at the broker; None (the default): a random one

    Raises DeviceError when waiting does not help: settings.ini is wrong, the
    broker refuses, something else than a broker answers. NotConnected and
    NoMessage when the timeout is over.
    """
    client = _running()
    deadline = _deadline(connect_broker.timeout)
    client.listen(deadline)
    if on_message is None:
        client.first(deadline)
    return client.vals


connect_broker.timeout = None
connect_broker.will = None
connect_broker.birth = None
connect_broker.client_id = None


def publish(topic, value, qos=1, retain=False):
    """Publishes a value, and returns when the broker has confirmed it.

    str and bytes are sent as they are, vals as it was received, and everything
    else as JSON. At QoS 1 the confirmation is the PUBACK, at QoS 2 the PUBCOMP.
    At QoS 0 there is none; it returns when the connection has taken the bytes.
    Nothing is ever sent twice. A first call connects, if connect_broker() has
    not; it then waits for the connection as long as connect_broker.timeout says.

    Raises
      DeviceError     the arguments cannot be published
      NotConnected    not sent, because there is no connection now
      OutcomeUnknown  sent, but the connection was lost, or publish.timeout
                      (30 seconds) was over, before the confirmation came
    """
    message = _checked(topic, value, qos, retain)
    client = _running()
    client.connected(_deadline(connect_broker.timeout))
    client.publish(message, publish.timeout)


publish.timeout = 30.0


def close():
    """Ends the connection in order. The broker then does not publish the will."""
    _end(orderly=True)


class Message:
    """One message: topic, raw (bytes), qos, retain, and value, which is raw decoded."""

    __slots__ = ("topic", "raw", "qos", "retain", "_value")

    def __init__(self, topic, raw, qos=0, retain=False):
        self.topic, self.raw, self.qos, self.retain, self._value = topic, raw, qos, retain, _UNDECODED

    @property
    def value(self):
        """JSON as Python values, so 21.50 is a number; other UTF-8 as str; else bytes."""
        if self._value is _UNDECODED:
            self._value = _decode(self.raw)
        return self._value

    def __repr__(self):
        return f"Message(topic={self.topic!r}, value={self.value!r}, qos={self.qos}, retain={self.retain})"


_UNDECODED = object()


class Values:
    """The newest value, which follows what is received: `vals` in the examples.

    It compares, prints, formats, computes and indexes like that value, and has
    its methods. For what insists on a plain value there is vals.value.

    next(), iteration and `await` hand out each message once, in the order of
    arrival, beginning with the first. MAX_WAITING of them wait at most; then
    the oldest are skipped, and vals.skipped counts them.
    """

    __slots__ = ("_client",)

    def __init__(self, client):
        self._client = client

    @property
    def message(self):
        """The newest message. The first one is waited for, like in connect_broker()."""
        return self._client.newest or self._client.first(_deadline(connect_broker.timeout))

    value = property(lambda self: self.message.value, doc="The newest value as a plain Python value.")
    topic = property(lambda self: self.message.topic, doc="The topic of the newest message.")
    raw = property(lambda self: self.message.raw, doc="The payload of the newest message, as bytes.")
    skipped = property(lambda self: self._client.unread.skipped, doc="Messages that next() and iteration have missed.")
    unhandled = property(lambda self: self._client.unhandled.skipped, doc="Messages that on_message was too slow for.")

    def next(self, timeout=None):
        """The next value. It waits for one, at most timeout seconds; then NoMessage is raised."""
        return self._client.read(_deadline(timeout)).value

    def messages(self):
        """Iterates like vals itself, with topics: yields Message."""
        while True:
            yield self._client.read(math.inf)

    def __iter__(self):
        return self

    def __next__(self):
        return self.next()

    async def anext(self):
        """next() for asyncio; `await vals` and `async for v in vals` are the same."""
        return (await self._client.read_async()).value

    __anext__ = anext

    def __aiter__(self):
        return self

    def __await__(self):
        return self.anext().__await__()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def __hash__(self):
        return hash(self.value)

    def __contains__(self, item):
        return _plain(item) in self.value

    def __getitem__(self, key):
        return self.value[_plain(key)]

    def __divmod__(self, other):
        return divmod(self.value, _plain(other))

    def __rdivmod__(self, other):
        return divmod(_plain(other), self.value)

    def __format__(self, spec):
        return format(self.value, spec)

    def __round__(self, digits=None):
        return round(self.value, digits)


def _plain(x):
    return x.value if isinstance(x, Values) else x


def _like_the_value():
    """Gives Values the operators of what it stands for."""

    def unary(function):
        return lambda self: function(self.value)

    def binary(function):
        return lambda self, other: function(self.value, _plain(other))

    def reflected(function):
        return lambda self, other: function(_plain(other), self.value)

    for name in "lt le eq ne gt ge".split():
        setattr(Values, f"__{name}__", binary(getattr(operator, name)))
    for name in "add sub mul matmul truediv floordiv mod pow lshift rshift and or xor".split():
        function = getattr(operator, f"__{name}__")
        setattr(Values, f"__{name}__", binary(function))
        setattr(Values, f"__r{name}__", reflected(function))
    functions = [operator.neg, operator.pos, operator.invert, operator.index]
    functions += [abs, bool, bytes, complex, float, int, len]
    functions += [math.ceil, math.floor, math.trunc, repr, reversed, str]
    for function in functions:
        setattr(Values, f"__{function.__name__}__", unary(function))


_like_the_value()


class _Feed:
    """Messages that wait for one consumer. Bounded: the newest are kept, the others counted."""

    def __init__(self):
        self.waiting, self.bytes, self.skipped = collections.deque(), 0, 0

    def put(self, message):
        self.waiting.append(message)
        self.bytes += len(message.raw)
        while len(self.waiting) > MAX_WAITING or self.bytes > MAX_WAITING_BYTES and len(self.waiting) > 1:
            self.take()
            self.skipped += 1

    def take(self):
        message = self.waiting.popleft()
        self.bytes -= len(message.raw)
        return message


# --- values ---------------------------------------------------------------


def _decode(raw):
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
    try:
        value = json.loads(text, parse_constant=_no_number, parse_int=_whole, parse_float=_fraction)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair could not be printed
    except (ValueError, RecursionError):
        return text
    return value


def _no_number(text):
    raise ValueError(text)  # NaN and Infinity are no JSON


def _whole(text):
    if len(text) > 4000:  # Python's own limit; reading more takes quadratic time
        raise ValueError("too many digits")
    return int(text)


def _fraction(text):
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large for a float")
    return number


def _encode(value):
    if isinstance(value, Values):
        return value.raw
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    text = value
    if not isinstance(value, str):
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as e:
            raise DeviceError(f"the value cannot be sent as JSON: {e}; send str, bytes or what JSON can hold") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise DeviceError("the value is no UTF-8: it holds half a surrogate pair; send bytes instead") from None


def _checked(topic, value, qos, retain):
    """The arguments of a publish as (topic, payload, qos, retain), or a DeviceError."""
    name = _text(topic, "the topic")
    if not name:
        raise DeviceError("the topic is empty; name the topic to publish to")
    for wildcard in "+#":
        if wildcard in topic:
            raise DeviceError(f"the topic {topic!r} has the wildcard {wildcard}; name the one topic to publish to")
    if topic.split("/")[0] == "$SYS":
        raise DeviceError(f"the topic {topic!r} is the broker's own; choose one that does not start with $SYS")
    if topic.count("/") >= 200:
        raise DeviceError(f"the topic has {topic.count('/') + 1} levels; brokers take at most 200")
    if type(qos) is not int or qos not in (0, 1, 2):
        raise DeviceError(f"qos is {qos!r}; it must be 0, 1 or 2")
    if not isinstance(retain, bool):
        raise DeviceError(f"retain is {retain!r}; it must be True or False")
    payload = _encode(value)
    if len(payload) + len(name) > MAX_PACKET - 16:
        raise DeviceError(f"the value has {len(payload)} bytes; a message has at most {MAX_PACKET >> 20} MiB")
    return name, payload, qos, retain


def _text(text, what):
    """A string as MQTT takes it (1.5.3): UTF-8, at most 65535 bytes, no control characters."""
    if not isinstance(text, str):
        raise DeviceError(f"{what} is {text!r}; it must be a str")
    for c in text:
        code = ord(c)
        control, surrogate = code < 0x20 or 0x7F <= code < 0xA0, 0xD800 <= code < 0xE000
        if control or surrogate or 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE:
            raise DeviceError(f"{what} has the character {c!r}, which MQTT forbids; leave it out")
    data = text.encode("utf-8")
    if len(data) > 65535:
        raise DeviceError(f"{what} is {len(data)} bytes long; MQTT takes at most 65535")
    return data


# --- settings.ini ---------------------------------------------------------

_KEYS = ("ip_address", "mqtt_port", "username", "password", "mqtt_tls", "mqtt_ca_file")


class _Settings:
    """What settings.ini says. tls is an SSLContext or None; port is None where `auto` finds it."""

    def __init__(self, values):
        self.auto = values.get("ip_address", "").lower() == "auto"
        self.tls = _tls(values)
        self.address = _address(values)
        self.port = _port(values, None if self.auto else 8883 if self.tls else 1883)
        self.username, self.password = _user(values, "username"), _user(values, "password")
        if self.password is not None and self.username is None:
            raise _wrong("section [system] has a password and no username; MQTT needs both")
        if self.auto and self.username is not None and not (self.tls and values.get("mqtt_ca_file")):
            raise _wrong(
                "section [system]: ip_address = auto takes whoever answers, and would show it the password; "
                "write the broker's address, or use mqtt_tls = true with mqtt_ca_file"
            )


def _wrong(text):
    return DeviceError(f"{SETTINGS}: {text}")


def _read_settings():
    try:
        with open(SETTINGS, "rb") as file:
            data = file.read(MAX_SETTINGS + 1)
    except FileNotFoundError:
        raise DeviceError(
            f"{SETTINGS} is not in {os.getcwd()}; create it there, with ip_address and mqtt_port in a section [system]"
        ) from None
    except OSError as e:
        raise _wrong(f"cannot be read: {e.strerror}") from None
    return _Settings(_system(data))


def _system(data):
    """The keys of section [system], in lower case.

    It reads what the gateway reads: `=` or `:`, comments with `;` or `#` at the
    start of a line or behind a space, quoted values. Other sections are not
    looked at. An error shows no values: they may be secret.
    """
    if len(data) > MAX_SETTINGS:
        raise _wrong("is larger than 1 MiB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise _wrong("is UTF-16 or binary; save it as UTF-8")
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise _wrong("is not UTF-8; save it as UTF-8") from None
    values, inside, other_case = None, False, None
    for number, line in enumerate(lines, 1):
        text = _COMMENT.sub("", line, count=1).strip()
        if text.startswith("["):
            if not text.endswith("]"):
                raise _wrong(f"line {number}: the section has no closing bracket; write for example [system]")
            name = text[1:-1].strip()
            inside = name == "system"
            if inside and values is not None:
                raise _wrong(f"line {number}: section [system] appears twice; keep one")
            if inside:
                values = {}
            elif name.lower() == "system":
                other_case = f"line {number}: section [{name}] is not read; write [system], in small letters"
        elif inside and text:
            _add(values, line.strip(), text, number)
    if values is None:
        raise _wrong(other_case or "has no section [system]; add it with ip_address and mqtt_port")
    return values


_COMMENT = re.compile(r"(^|(?<=[ \t]))[;#].*", re.DOTALL)
_QUOTED = re.compile(r"""\s*(["'])(.*?)\1\s*([ \t][;#].*)?""")


def _add(values, line, text, number):
    """Adds the key of a line, whose text is what stands before a comment."""
    at = min((text.find(d) for d in "=:" if d in text), default=-1)
    if at < 1:
        raise _wrong(f"line {number}: is not of the form key = value")
    key, value = text[:at].strip().lower(), text[at + 1 :].strip()
    if key in values:
        raise _wrong(f'line {number}: key "{key}" appears twice in section [system]; keep one')
    meant = _closest(key, 1)
    if key not in _KEYS and meant:
        raise _wrong(f'line {number}: section [system] has no key "{key}"; did you mean {meant}?')
    quoted = _QUOTED.fullmatch(line[at + 1 :])  # quotes may hold what looks like a comment
    values[key] = quoted[2] if quoted else value


def _closest(key, most):
    """The known key that is at most so many slips of the finger away, or None."""
    for known in _KEYS:
        if abs(len(key) - len(known)) <= most and _distance(key, known) <= most:
            return known
    return None


def _distance(a, b):
    """Letters to insert, delete, replace or swap to turn a into b."""
    rows = [list(range(len(b) + 1))]
    for i in range(1, len(a) + 1):
        row = [i]
        for j in range(1, len(b) + 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 2 : i] == b[j - 1] + b[j - 2]:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def _bad_value(key, value, why):
    return _wrong(f'section [system]: {key} = "{value}": {why}')


def _address(values):
    """The host to connect to, None for `auto`."""
    if "ip_address" not in values:
        for key in values:
            if _closest(key, 2) == "ip_address":
                raise _wrong(f'section [system] has no ip_address, but "{key}"; did you mean ip_address?')
        raise _wrong("section [system] has no ip_address; add for example ip_address = 192.168.1.10")
    host = values["ip_address"]
    if host.lower() == "auto":
        return None
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        if not _is_hostname(host):
            why = "the host is neither an IP address nor a host name, for example 192.168.1.10"
            raise _bad_value("ip_address", host, why) from None
        return host.lower()
    if "%" in host:
        why = "the IPv6 address must not have a zone; write it without % and what follows"
        raise _bad_value("ip_address", host, why)
    if (getattr(address, "ipv4_mapped", None) or address).is_unspecified:
        why = f"{address} is an address to listen on, not one to connect to; write the broker's own address, "
        raise _bad_value("ip_address", host, why + "or 127.0.0.1 if it runs on this machine")
    return str(address)


def _is_hostname(name):
    """DNS names, with underscores. A last label that is a number is none: resolvers read 999.1.1.1 as an address."""
    labels = name.split(".")
    letters = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    for label in labels:
        if not 0 < len(label) <= 63 or label[0] == "-" or label[-1] == "-" or not set(label) <= letters:
            return False
    if labels[-1].isdigit():
        return False
    try:
        int(labels[-1], 0)
    except ValueError:
        return len(name) <= 253
    return False


def _port(values, default):
    if "mqtt_port" not in values:
        return default
    port = values["mqtt_port"]
    if not (port.isascii() and port.isdigit() and port[0] != "0" and len(port) < 6 and int(port) <= 65535):
        why = "write a port from 1 to 65535, in decimal and without a leading zero, for example 1883"
        raise _bad_value("mqtt_port", port, why)
    return int(port)


def _user(values, key):
    if key not in values:
        return None
    if not values[key]:
        raise _wrong(f"section [system]: {key} is empty; write it, or leave the line out")
    data = values[key].encode("utf-8")
    if len(data) > 65535:
        raise _wrong(f"section [system]: {key} is longer than 65535 bytes")
    return data


def _tls(values):
    on, file = values.get("mqtt_tls", "false"), values.get("mqtt_ca_file")
    if on.lower() not in ("true", "false"):
        raise _bad_value("mqtt_tls", on, "write true or false")
    if on.lower() == "false":
        if file is not None:
            raise _wrong("section [system] has mqtt_ca_file without mqtt_tls = true; add that, or leave the file out")
        return None
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ValueError) as e:  # SSLError is an OSError
        missing = isinstance(e, FileNotFoundError)
        raise _bad_value("mqtt_ca_file", file, "no such file" if missing else "no PEM file with certificates") from None


# --- finding a broker: DNS-SD over multicast DNS --------------------------

_PTR, _A, _AAAA, _SRV = 12, 1, 28, 33
_SERVICE = (b"_mqtt", b"_tcp", b"local")
_MDNS = ("224.0.0.251", 5353)
_MOST_FOUND = 50


def _discover(port):
    """Finds the one broker that announces itself, and returns (name, port, addresses).

    A one-shot query (RFC 6762, 5.1) for the service type (RFC 6763, 4.1), sent
    on every interface from a port of its own, so that answers come straight
    back. With a port, only brokers on that port count. None found is an
    OSError, several are a _Refused: choosing is not for a program to do.
    """
    found = _Found()
    started, asked, asked_at, complete_since = time.monotonic(), None, 0.0, None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        while True:
            now = time.monotonic()
            brokers = found.brokers(port)
            complete_since = (complete_since or now) if brokers else None
            if now - started > 3 or complete_since and now - complete_since > 0.5:
                break
            questions = found.questions()
            if questions != asked or now - asked_at > 1:
                asked, asked_at = questions, now
                _ask(s, questions)
            s.settimeout(0.1)
            try:
                found.add(s.recv(9000))
            except socket.timeout:
                pass
    if not brokers:
        where = f" on port {port}" if port else ""
        raise OSError(f"no broker{where} announces itself here (mDNS, _mqtt._tcp); write its address as ip_address")
    if len(brokers) > 1:
        names = ", ".join(f"{broker[2][0]}:{broker[1]}" for broker in brokers)
        raise _Refused(f"several brokers announce themselves: {names}; write one of them as ip_address and mqtt_port")
    return brokers[0]


class _Found:
    """What answers have told so far. Names are tuples of labels, in small letters."""

    def __init__(self):
        self.instances, self.services, self.hosts = [], {}, {}

    def questions(self):
        ask = [(_SERVICE, _PTR)]
        for instance in self.instances:
            if instance not in self.services:
                ask.append((instance, _SRV))
            elif self.services[instance][0] not in self.hosts:
                ask += [(self.services[instance][0], _A), (self.services[instance][0], _AAAA)]
        return ask

    def brokers(self, port):
        known = {}  # a broker with two names is one broker
        for instance in self.instances:
            host, at = self.services.get(instance, (None, None))
            if host in self.hosts and port in (None, at):
                known[host, at] = self.hosts[host]
        return [(b".".join(host).decode("utf-8", "replace"), at, known[host, at]) for host, at in sorted(known)]

    def add(self, packet):
        try:
            records = list(_records(packet))
        except (IndexError, struct.error, ValueError):
            return  # not DNS
        for name, kind, data in records:
            if kind == _PTR and name == _SERVICE and data not in self.instances and len(self.instances) < _MOST_FOUND:
                self.instances.append(data)
            elif kind == _SRV and name[1:] == _SERVICE and len(self.services) < _MOST_FOUND:
                self.services[name] = data
            elif kind in (_A, _AAAA) and len(self.hosts) < _MOST_FOUND:
                addresses = self.hosts.setdefault(name, [])
                if data not in addresses and len(addresses) < 8:
                    addresses.append(data)


def _interfaces():
    return [index for index, _ in socket.if_nameindex()]


def _ask(s, questions):
    packet = struct.pack("!6H", 0, 0, len(questions), 0, 0, 0)
    for name, kind in questions:
        packet += b"".join(bytes([len(label)]) + label for label in name) + b"\0"
        packet += struct.pack("!HH", kind, 0x8001)  # class IN, answer to the sender (RFC 6762, 5.4)
    sent, error = False, None
    for index in _interfaces():
        try:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", b"", b"", index))
            s.sendto(packet, _MDNS)
            sent = True
        except OSError as e:  # an interface without IPv4, or one that is down
            error = e
    if not sent:
        raise error or OSError("there is no network")


def _records(packet):
    """Yields (name, type, data) of a response: a name for PTR, (name, port) for SRV, a str for A and AAAA."""
    _, flags, questions, *counts = struct.unpack_from("!6H", packet)
    if not flags & 0x8000:
        return
    at = 12
    for _ in range(questions):
        _, at = _dns_name(packet, at)
        at += 4
    for _ in range(sum(counts)):
        name, at = _dns_name(packet, at)
        kind, _, _, size = struct.unpack_from("!HHIH", packet, at)
        at += 10
        data = packet[at : at + size]
        if kind == _PTR:
            yield name, kind, _dns_name(packet, at)[0]
        elif kind == _SRV:
            yield name, kind, (_dns_name(packet, at + 6)[0], struct.unpack_from("!H", packet, at + 4)[0])
        elif kind in (_A, _AAAA):
            address = ipaddress.ip_address(data)
            if not address.is_link_local or kind == _A:  # fe80:: would need an interface
                yield name, kind, str(address)
        at += size


def _dns_name(packet, at):
    """The name at an offset, and the offset behind it (RFC 1035, 4.1.4)."""
    labels, behind = [], None
    while packet[at]:
        size = packet[at]
        if size < 64:
            labels.append(packet[at + 1 : at + 1 + size].lower())
            at += 1 + size
        elif size >= 192:
            behind = behind or at + 2
            target = struct.unpack_from("!H", packet, at)[0] & 0x3FFF
            if target >= at:
                raise ValueError("a pointer leads forwards")
            at = target
        else:
            raise ValueError("unknown kind of label")
        if len(labels) > 127:
            raise ValueError("name too long")
    return tuple(labels), behind or at + 1


# --- packets --------------------------------------------------------------

_CONNECT, _PUBLISH, _PUBACK, _PUBREC, _PUBREL, _PUBCOMP = 1, 3, 4, 5, 6, 7
_SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = 8, 9, 12, 13, 14
_SUBSCRIBE_ID = 65535  # publishes have the ids below


def _packet(kind, flags, *parts):
    body = b"".join(parts)
    head, left = bytearray([kind << 4 | flags]), len(body)
    while True:  # 2.2.3: seven bits a byte, the lowest first
        left, seven = left >> 7, left & 0x7F
        head.append(seven | (0x80 if left else 0))
        if not left:
            return bytes(head) + body


def _string(data):
    return struct.pack("!H", len(data)) + data


# At QoS 0: with a clean session QoS 1 adds nothing on one connection, and its
# window and queue at the broker overflow sooner than the socket does.
_SUBSCRIBE_ALL = _packet(_SUBSCRIBE, 2, struct.pack("!H", _SUBSCRIBE_ID), _string(b"#"), b"\0")


def _connect_packet(settings, client_id, will):
    flags, fields = 0x02, [_string(client_id)]  # a clean session
    if will:
        topic, payload, qos, retain = will
        flags |= 0x04 | qos << 3 | retain << 5
        fields += [_string(topic), _string(payload)]
    if settings.username is not None:
        flags |= 0x80
        fields.append(_string(settings.username))
    if settings.password is not None:
        flags |= 0x40
        fields.append(_string(settings.password))
    keep_alive = max(1, int(2 * _KEEP_ALIVE))
    return _packet(_CONNECT, 0, _string(b"MQTT"), struct.pack("!BBH", 4, flags, keep_alive), *fields)


class _Lost(Exception):
    """The connection has ended, or cannot be made now. Its text says why."""


class _Refused(Exception):
    """A connection cannot be made, and trying again does not help."""


class _Publication:
    """One publish on its way. When done is set, error says what went wrong, or is None."""

    def __init__(self, qos):
        self.qos, self.end = qos, 0  # end: where its packet ends in the bytes of the link
        self.sent = self.released = False  # released: PUBREC has come, PUBREL is sent
        self.error, self.done = None, threading.Event()

    def finish(self, error):
        self.error = error
        self.done.set()


_NONE = _Publication(0)  # for ids that are not in use


class _Link:
    """One connection to the broker. The network thread's, but the client's lock guards outbox, queued and writing."""

    def __init__(self, settings, connect):
        self.inbox, self.skipping = bytearray(), 0  # skipping: bytes left of a packet that is too large
        self.outbox, self.queued, self.sent = bytearray(), 0, 0  # bytes that wait, were ever queued, were ever sent
        self.writing = collections.deque()  # publications whose bytes are not sent yet
        self.open = set()  # ids of QoS 2 messages between PUBLISH and PUBREL
        self.sock, self.where = _dial(settings)
        try:
            _handshake(self.sock, connect, settings)
            self.sock.setblocking(False)
        except BaseException:
            self.sock.close()
            raise
        self.born = self.read_at = self.wrote_at = self.pinged_at = time.monotonic()
        self.read_blocked = False  # TLS cannot write before it has read

    def queue(self, packet, publication=None):
        """Under the lock: appends a packet to what is to be sent."""
        self.outbox += packet
        self.queued += len(packet)
        if publication:
            publication.end = self.queued
            self.writing.append(publication)

    def write(self, lock):
        """Sends what the socket takes, and marks the publications that have left completely."""
        with lock:
            chunk = bytes(self.outbox[: 1 << 16])
        try:
            n = self.sock.send(chunk) if chunk else 0
        except (BlockingIOError, ssl.SSLWantWriteError):
            n = 0
        except ssl.SSLWantReadError:
            n, self.read_blocked = 0, True
        if n:
            self.wrote_at = time.monotonic()
        with lock:
            del self.outbox[:n]
            self.sent += n
            while self.writing and self.writing[0].end <= self.sent:
                publication = self.writing.popleft()
                publication.sent = True
                if not publication.qos:
                    publication.finish(None)

    def read(self):
        """Takes what has arrived, and returns complete packets as (kind, flags, body)."""
        try:
            chunk = self.sock.recv(1 << 18)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return []
        if not chunk:
            raise _Lost("the broker closed the connection")
        self.read_blocked, self.read_at = False, time.monotonic()
        self.inbox += chunk
        return list(self._split())

    def _split(self):
        at, inbox = 0, self.inbox
        while True:
            if self.skipping:
                step = min(self.skipping, len(inbox) - at)
                at, self.skipping = at + step, self.skipping - step
            size, behind = _length(inbox, at + 1)
            if self.skipping or size is None:
                break
            if size > MAX_PACKET:
                self.skipping = behind - at + size
                yield inbox[at] >> 4, None, size
            elif len(inbox) < behind + size:
                break
            else:
                yield inbox[at] >> 4, inbox[at] & 15, bytes(inbox[behind : behind + size])
                at = behind + size
        del inbox[:at]

    def rest(self):
        """The seconds until there is something to do for the keep-alive (3.1.2.10)."""
        now = time.monotonic()
        if self.read_at >= self.pinged_at:
            return max(0, self.pinged_at + _KEEP_ALIVE - now)
        silent = now - max(self.pinged_at, self.wrote_at if self.outbox else 0)
        if silent >= _PATIENCE:
            raise _Lost(f"the broker has not answered for {_PATIENCE:g} seconds")
        return _PATIENCE - silent

    def ping_due(self):
        return self.read_at >= self.pinged_at and time.monotonic() >= self.pinged_at + _KEEP_ALIVE

    def leave(self, lock):
        """Ends the connection in order: sends what waits, and DISCONNECT (3.14)."""
        with lock:
            self.queue(_packet(_DISCONNECT, 0))
        deadline = time.monotonic() + 1
        try:
            self.sock.settimeout(1)
            while self.outbox and time.monotonic() < deadline:
                self.write(lock)
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(1 << 16) and time.monotonic() < deadline:
                pass  # closing with unread bytes would reset the connection
        except OSError:
            pass

    def buffered(self):
        """Whether TLS holds bytes that select does not see."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0


def _length(data, at):
    """The remaining length at an offset, and the offset behind it; None while it is incomplete (2.2.3)."""
    size = 0
    for i in range(4):
        if at + i >= len(data):
            return None, at
        size |= (data[at + i] & 0x7F) << 7 * i
        if data[at + i] < 0x80:
            return size, at + i + 1
    raise _Lost("the broker sent what is not MQTT")


def _dial(settings):
    """Connects a socket, with TLS if asked for. Returns it, and where it leads, in words."""
    name, port, addresses = settings.address, settings.port, [settings.address]
    if settings.auto:
        name, port, addresses = _discover(settings.port)
    error = None
    for address in addresses:
        where = f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"
        try:
            sock = socket.create_connection((address, port), timeout=_PATIENCE)
        except socket.gaierror as e:
            if e.errno == socket.EAI_AGAIN:
                raise _Lost("the name cannot be looked up now; is there a network?") from None
            raise _Refused(f"there is no such name; check ip_address in section [system] of {SETTINGS}") from None
        except OSError as e:
            error = e
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not settings.tls:
            return sock, where
        try:
            return settings.tls.wrap_socket(sock, server_hostname=name), where
        except ssl.SSLCertVerificationError as e:
            why = e.verify_message.rstrip(".")
            raise _Refused(f"its certificate is not trusted: {why}; mqtt_ca_file names the CA that signed it") from None
        except (ssl.SSLError, ConnectionError):
            raise _Refused(
                f"it does not speak TLS on port {port}; leave out mqtt_tls = true, or write its TLS port, usually 8883"
            ) from None
        finally:
            if sock.fileno() >= 0:
                sock.close()  # only after a failure: wrap_socket takes the descriptor over
    raise error


def _handshake(sock, connect, settings):
    answer, deadline = b"", time.monotonic() + _PATIENCE
    try:
        sock.sendall(connect)
        while len(answer) < 4:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = sock.recv(4 - len(answer))
            if not chunk:
                raise ConnectionError
            answer += chunk
            if not b"\x20\x02".startswith(answer[:2]):
                raise _Refused(_nonsense(answer))
    except socket.timeout:
        why = f"it takes the connection, and does not answer like an MQTT broker in {_PATIENCE:g} seconds"
        raise _Lost(f"{why}; is mqtt_port right?") from None
    except ConnectionError:
        why = "it closes the connection without an answer"
        raise _Lost(f"{why}; is mqtt_port right, and is it one without TLS?") from None
    code = answer[3]
    user = f"section [system] of {SETTINGS}"
    if code == 3:
        raise _Lost("the broker says that it is not available at the moment")
    if code:
        raise _Refused(
            {
                1: "the broker does not speak MQTT 3.1.1",
                2: "the broker refuses the client id; set another connect_broker.client_id",
                4: f"the broker refuses the user name or the password; check username and password in {user}",
                5: f"the broker refuses this user; check username and password in {user}"
                if settings.username is not None
                else f"the broker wants a user; add username and password to {user}",
            }.get(code, f"the broker refuses the connection with code {code}")
        )


def _nonsense(answer):
    if b"HTTP".startswith(answer[:4]):
        return "it answers HTTP, so it is a web server and no MQTT broker; mqtt_port is usually 1883"
    if answer[:1] == b"\x15":
        return "it answers with TLS; add mqtt_tls = true"
    return f"it answers {answer!r}, which is not MQTT; mqtt_port is usually 1883"


def _words(error):
    """A failed connection, in words."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on that port; is the broker running?"
    if isinstance(error, (TimeoutError, socket.timeout)):
        return "nobody answers; is the address right?"
    if isinstance(error, ConnectionError):
        return "the connection was reset"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


# --- the connection, kept up ----------------------------------------------


class _Client:
    """The broker of one settings.ini: connects, connects again, and moves messages."""

    def __init__(self, settings, will, birth, client_id):
        self.settings, self.birth = settings, birth
        self.connect = _connect_packet(settings, client_id, will)
        self.where = f"{settings.address}:{settings.port}" if not settings.auto else "a broker (ip_address = auto)"
        self.vals = Values(self)
        self.bell, self.ear = socket.socketpair()  # wakes the network thread
        self.bell.setblocking(False)
        self.connecting = True  # whether the network thread may be blocked for a while
        self.changed = threading.Condition()  # guards all that follows
        self.link = None  # the live connection
        self.trouble = "connecting"  # why there is none
        self.failure = None  # why there never will be one
        self.ended, self.orderly = False, True
        self.ever = self.heard = False  # whether there ever was a connection, a subscription
        self.listening = self.subscribed = False
        self.lingers = False  # whether main has ended, and on_message has not
        self.pending, self.last_id = {}, 0  # packet id -> _Publication
        self.newest = None
        self.unread, self.unhandled = _Feed(), _Feed()
        self.futures = []  # of asyncio, which wait for a message
        self.threads = [
            threading.Thread(target=self._network, name="device_com network", daemon=True),
            threading.Thread(target=self._handle, name="device_com on_message", daemon=True),
            threading.Thread(target=self._linger, name="device_com linger"),
        ]
        for thread in self.threads:
            thread.start()

    # What the program's threads call.

    def connected(self, deadline):
        with self.changed:
            self._wait(lambda: self.ever, self._tried, deadline, NotConnected)

    def listen(self, deadline):
        with self.changed:
            if not self.listening:
                self.listening = True
                if self.link:
                    self.link.queue(_SUBSCRIBE_ALL)
            self._ring()
            self._wait(lambda: self.subscribed, self._tried, deadline, NotConnected)

    def first(self, deadline):
        with self.changed:
            self._wait(lambda: self.newest, lambda: self._expected("the first message"), deadline, NoMessage)
            return self.newest

    def read(self, deadline):
        with self.changed:
            waiting = self.unread.waiting
            self._wait(lambda: waiting, lambda: self._expected("a message"), deadline, NoMessage, aloud=False)
            return self.unread.take()

    async def read_async(self):
        import asyncio  # whoever awaits has it loaded already; others need not wait for it

        while True:
            future = asyncio.get_running_loop().create_future()
            with self.changed:
                self._check_open()
                if self.unread.waiting:
                    return self.unread.take()
                self.futures.append(future)
            try:
                await future
            finally:
                with self.changed:
                    if future in self.futures:
                        self.futures.remove(future)

    def _tried(self):
        return f"{self.where}: {self.trouble}"

    def _expected(self, what):
        return f"{what} from {self.where}" if self.link else self._tried()

    def _wait(self, ready, what, deadline, late, aloud=True):
        """Under the lock: waits until ready(), and says now and then what it waits for."""
        line = time.monotonic() + _EVERY if aloud else math.inf
        while not ready():
            self._check_open()
            now = time.monotonic()
            if now >= deadline:
                raise late(f"waited in vain for {what()}")
            if now < line:
                self.changed.wait(min(line - now, deadline - now, threading.TIMEOUT_MAX))
                continue
            line = now + _EVERY
            text = what()
            self.changed.release()  # a terminal may block, and the network thread must not
            try:
                _say(f"waiting for {text}")
            finally:
                self.changed.acquire()

    def _check_open(self):
        if self.failure:
            raise DeviceError(self.failure)
        if self.ended:
            raise NotConnected("the connection was closed by close()")

    def publish(self, message, timeout):
        with self.changed:
            self._check_open()
            if not self.link:
                raise NotConnected(f"not sent: there is no connection to {self.where}: {self.trouble}")
            if len(self.pending) >= MAX_PENDING or len(self.link.outbox) > MAX_PACKET:
                raise NotConnected("not sent: too much waits for the broker already")
            publication = self._send(self.link, message)
        self._ring()
        if not publication.done.wait(timeout):
            raise OutcomeUnknown(
                f"sent {len(message[1])} bytes, and the broker has not confirmed them in {timeout:g} seconds: "
                "the message may or may not have arrived"
            )
        if publication.error:
            raise publication.error

    def _send(self, link, message):
        """Under the lock: queues a message, and returns what will tell of its outcome."""
        topic, payload, qos, retain = message
        publication, ident = _Publication(qos), b""
        if qos:
            ident = struct.pack("!H", self._free_id())
            self.pending[self.last_id] = publication
        link.queue(_packet(_PUBLISH, qos << 1 | retain, _string(topic), ident, payload), publication)
        return publication

    def _free_id(self):
        while True:
            self.last_id = self.last_id % (_SUBSCRIBE_ID - 1) + 1
            if self.last_id not in self.pending:
                return self.last_id

    def end(self, orderly):
        with self.changed:
            self.ended, self.orderly = True, orderly
            patience = [0 if self.connecting else 3, 1]  # what takes longer is left behind
            self._tell()
        self._ring()
        for thread, seconds in zip(self.threads, patience):
            if thread is not threading.current_thread():
                thread.join(seconds)

    def forked(self):
        """In the child: the connection is the parent's, and ends with it."""
        self.changed, self.ended = threading.Condition(), True
        for s in [self.bell, self.ear] + ([self.link.sock] if self.link else []):
            s.close()

    def _tell(self):
        """Under the lock: something has changed."""
        self.changed.notify_all()
        for future in self.futures:
            _wake(future)
        self.futures.clear()

    def _ring(self):
        try:
            self.bell.send(b"!")
        except OSError:
            pass  # it rings already, or the network thread has ended

    # The network thread.

    def _network(self):
        attempt = 0
        with self.bell, self.ear:
            while True:
                link, refused, self.connecting = None, False, True
                try:
                    link = _Link(self.settings, self.connect)
                    self.connecting = False
                    self._up(link)
                    self._serve(link)
                except (_Lost, _Refused) as e:
                    trouble, refused = str(e), isinstance(e, _Refused)
                except OSError as e:
                    trouble = _words(e)
                except Exception:  # whatever it is, nobody may wait for a thread that is gone
                    traceback.print_exc()
                    trouble = "a fault in device_com"
                else:
                    return  # closed by the program
                self.connecting = False
                if link and time.monotonic() - link.born > _STABLE:
                    attempt = 0
                if not self._down(link, trouble, refused):
                    return
                pause = min(_LONGEST_PAUSE, 0.5 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1)
                attempt += 1
                with self.changed:
                    if self.changed.wait_for(lambda: self.ended, pause):
                        return

    def _up(self, link):
        with self.changed:
            again, self.ever = self.ever, True
            self.link, self.where = link, link.where
            if self.birth:
                self._send(link, self.birth)  # nobody waits: if it is lost, so is the connection, and the next one has it
            if self.listening:
                link.queue(_SUBSCRIBE_ALL)
            self._tell()
        if again and not self.ended:
            _say(f"connected to {link.where} again")

    def _down(self, link, trouble, refused):
        """Settles everything that the connection has left open; reports whether to try again."""
        with self.changed:
            known, self.trouble = self.trouble, trouble
            again = self.ever and not self.ended
            if link:
                self._settle(link, trouble)
            if refused and not (self.heard if link else self.ever):
                self.failure = f"{self.where}: {trouble}"
            again = again and not self.failure
            self._tell()
        if again and (link or trouble != known):
            _say(f"no connection to {self.where}: {trouble}; trying again")
        return not (self.failure or self.ended)

    def _settle(self, link, trouble):
        link.sock.close()
        self.link, self.subscribed = None, False
        for publication in link.writing:
            publication.finish(NotConnected(f"not sent: the connection to {self.where} was lost: {trouble}"))
        for publication in self.pending.values():
            if publication.sent:
                publication.finish(
                    OutcomeUnknown(
                        f"sent, but the connection to {self.where} was lost before the confirmation ({trouble}): "
                        "the message may or may not have arrived"
                    )
                )
        self.pending.clear()

    def _serve(self, link):
        """Moves bytes until the program closes the connection, or an exception says why it has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.ear, selectors.EVENT_READ)
            selector.register(link.sock, selectors.EVENT_READ)
            while True:
                with self.changed:
                    if self.ended:
                        break
                    if link.ping_due():
                        link.queue(_packet(_PINGREQ, 0))
                        link.pinged_at = time.monotonic()
                link.write(self.changed)
                more = selectors.EVENT_WRITE if link.outbox and not link.read_blocked else 0
                selector.modify(link.sock, selectors.EVENT_READ | more)
                for key, _ in selector.select(0 if link.buffered() else link.rest()):
                    if key.fileobj is self.ear:
                        self.ear.recv(4096)
                self._take(link, link.read())
        if self.orderly:  # else the broker publishes the will
            link.leave(self.changed)
        with self.changed:
            self._settle(link, "closed by close()")

    def _take(self, link, packets):
        large = [body for _, flags, body in packets if flags is None]
        try:
            with self.changed:
                for kind, flags, body in packets:
                    self._take_one(link, kind, flags, body)
                if packets:
                    self._tell()
        except (IndexError, struct.error, UnicodeDecodeError):
            raise _Lost("the broker sent what is not MQTT") from None
        for size in large:
            _say(f"a message of {size} bytes is larger than {MAX_PACKET >> 20} MiB, and was left out")

    def _take_one(self, link, kind, flags, body):
        """Under the lock: takes one packet."""
        if flags is None:
            self.unread.skipped += 1
            return
        if kind == _PUBLISH:
            self._take_message(link, flags, body)
            return
        if kind == _PINGRESP:
            return
        ident = struct.unpack_from("!H", body)[0]
        publication = self.pending.get(ident, _NONE)
        if kind == _SUBACK and ident == _SUBSCRIBE_ID:
            if body[2] > 2:
                raise _Refused("the broker does not let this user subscribe to #")
            self.subscribed = self.heard = True
        elif kind == _PUBREL:
            link.open.discard(body[:2])
            link.queue(_packet(_PUBCOMP, 0, body[:2]))
        elif kind == _PUBREC and publication.sent and publication.qos == 2:
            publication.released = True
            link.queue(_packet(_PUBREL, 2, body[:2]))
        elif publication.sent and (kind, publication.qos) == (_PUBACK, 1) or kind == _PUBCOMP and publication.released:
            del self.pending[ident]
            publication.finish(None)
        else:
            raise _Lost("the broker sent a packet that it must not send here")

    def _take_message(self, link, flags, body):
        size, qos = struct.unpack_from("!H", body)[0], flags >> 1 & 3
        at = 2 + size + (2 if qos else 0)
        if len(body) < at or qos == 3:
            raise IndexError
        if qos:
            ident = body[at - 2 : at]
            link.queue(_packet(_PUBACK if qos == 1 else _PUBREC, 0, ident))
            if qos == 2 and ident in link.open:
                return  # the same message again (4.3.3)
            if qos == 2:
                link.open.add(ident)
        self.newest = Message(body[2 : 2 + size].decode("utf-8"), body[at:], qos, bool(flags & 1))
        self.unread.put(self.newest)
        if on_message is not None:
            self.unhandled.put(self.newest)

    # The on_message thread, and the one that lingers.

    def _handle(self):
        global on_message
        told, line = 0, 0.0
        while True:
            with self.changed:
                while not self.unhandled.waiting and not self.ended and not self.failure:
                    self.changed.wait()
                if self.ended or self.failure:
                    return
                message, skipped = self.unhandled.take(), self.unhandled.skipped
            if skipped > told and time.monotonic() >= line:
                _say(f"on_message is slower than the messages: {skipped} were skipped")
                told, line = skipped, time.monotonic() + _EVERY
            handler = on_message
            try:
                if handler is not None:
                    handler(message.topic, message.value)
            except SystemExit:
                on_message = None
            except BaseException:
                traceback.print_exc()
            if on_message is None:
                with self.changed:
                    self._tell()

    def _linger(self):
        """Keeps the program alive after its main, while on_message is set."""
        threading.main_thread().join()

        def over():
            return on_message is None or _crashed or _interrupted or self.ended or self.failure

        with self.changed:
            self.lingers = not over() and not _interactive()
        if self.lingers:
            _say("the program's main has ended; on_message goes on until Ctrl-C")
            with self.changed:
                self.changed.wait_for(over)


def _wake(future):
    def arrived():
        if not future.done():
            future.set_result(None)

    try:
        future.get_loop().call_soon_threadsafe(arrived)
    except RuntimeError:
        pass  # its loop is closed


# --- one client a program, and its end ------------------------------------

_client = None
_starting = threading.Lock()  # guards _client
_crashed = False  # whether an exception has ended main
_interrupted = False  # whether Ctrl-C was pressed


def _running():
    global _client
    with _starting:
        if _client is None or _client.failure or _client.ended:
            unknown = set(vars(connect_broker)) - {"timeout", "will", "birth", "client_id"}
            if unknown:
                raise DeviceError(f"connect_broker has no {min(unknown)} to set; it has timeout, will, birth and client_id")
            settings = _read_settings()
            _watch_interrupts()
            will, birth = _attribute("will"), _attribute("birth")
            # 23 letters and digits are what every broker takes (3.1.3.1).
            name = connect_broker.client_id or "devicecom" + secrets.token_hex(7)
            _client = _Client(settings, will, birth, _text(name, "connect_broker.client_id"))
        return _client


def _attribute(name):
    """The message that an attribute of connect_broker is, checked, or None."""
    message = getattr(connect_broker, name)
    if message is None:
        return None
    if not isinstance(message, (tuple, list)) or not 2 <= len(message) <= 4:
        raise DeviceError(f"connect_broker.{name} must be (topic, value), (…, qos) or (…, qos, retain)")
    return _checked(*(list(message) + [1, False][len(message) - 2 :]))


def _deadline(timeout):
    return math.inf if timeout is None else time.monotonic() + timeout


def _end(orderly):
    global _client
    with _starting:
        client, _client = _client, None
    if client:
        client.end(orderly)


def _say(text):
    try:
        sys.stderr.write(f"device_com: {text}\n")  # in one piece: several threads write
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass  # there is no stderr


def _interactive():
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def _uncaught(kind, error, trace, others=sys.excepthook):
    """Ends the program after a DeviceError with one line and status 2; leaves the rest to the hook before."""
    global _crashed, _interrupted
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]
    outside = [frame for frame in frames if frame[0] != __file__]
    if issubclass(kind, KeyboardInterrupt):
        _interrupted = True
        if outside == frames:
            others(kind, error, trace)
        return  # Ctrl-C ends what waits here, and that is no fault
    _crashed = True
    if not isinstance(error, DeviceError):
        others(kind, error, trace)
        return
    _say(str(error) + (f" ({os.path.basename(outside[-1][0])}, line {outside[-1][1]})" if outside else ""))
    if not _interactive():
        sys.exit(2)


def _watch_interrupts():
    """Has Ctrl-C end a program whose main has ended already; before that it does what it ever does."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number, frame):
    global _interrupted
    _interrupted = True
    client = _client
    if client and client.lingers:
        with client.changed:  # main has ended, so it does not hold the lock
            client.changed.notify_all()
    else:
        signal.default_int_handler(number, frame)


def _forked():
    """In the child of a fork there are no threads; it gets a connection of its own when it needs one."""
    global _client, _starting
    client, _client, _starting = _client, None, threading.Lock()
    if client:
        client.forked()


sys.excepthook = _uncaught
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(lambda: _end(orderly=not _crashed))
