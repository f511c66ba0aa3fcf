"""The parts of device_com that need no broker. The tests beside this file in Go run it, and all that needs one.

    python3 -m unittest test_device_com
"""

import ast
import math
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import types
import unittest

import device_com
from device_com import DeviceError, Message, NoMessage, NotConnected, Values

HERE = os.path.dirname(os.path.abspath(__file__))
SETTINGS = "[system]\nip_address = 192.168.1.10\nmqtt_port = 1883\n"


def showing(raw):
    """vals while raw is the newest payload."""
    return Values(types.SimpleNamespace(newest=Message("pi/3/x", raw)))


class Decoding(unittest.TestCase):
    def test_json_becomes_python_values(self):
        for raw, want in [
            (b"0", 0), (b"-17", -17), (b"21.50", 21.5), (b"1e3", 1000.0), (b" 7\n", 7), (b"true", True), (b"null", None),
            (b'"on"', "on"), (b"[1,2]", [1, 2]), (b'{"temp":21.5,"ok":false}', {"temp": 21.5, "ok": False}),
            ('"ä"'.encode(), "ä"), (b'"\\ud83d\\ude00"', "😀"),
        ]:
            got = Message("t", raw).value
            self.assertEqual(got, want, raw)
            self.assertIs(type(got), type(want), raw)

    def test_other_utf8_is_text(self):
        deep = b"[" * 100_000 + b"]" * 100_000
        for raw in [
            b"", b"on", b"NaN", b"Infinity", b"-Infinity", b"[1,NaN]", b"1e999", b"007", b"{", b"21,5", b"9" * 5000,
            b'"\\ud800"', b'{"\\udfff":1}', deep, "\ufeff1".encode(),
        ]:
            self.assertEqual(Message("t", raw).value, raw.decode(), raw[:40])

    def test_what_is_no_utf8_is_bytes(self):
        for raw in [b"\xff", b"\x00\x9f\x92", b"\xed\xa0\x80", b"ab\xc3"]:
            self.assertEqual(Message("t", raw).value, raw)

    def test_every_byte_string_decodes(self):
        numbers = random.Random(1)
        for _ in range(3000):
            raw = bytes(numbers.choice(b'0123456789.-eE"\\u{}[]:, \xc3\xa4\xff') for _ in range(numbers.randrange(20)))
            value = Message("t", raw).value
            if isinstance(value, str) and value != raw.decode("utf-8", "replace"):
                value.encode()  # can be printed
            repr(value)


class Encoding(unittest.TestCase):
    def test_text_and_bytes_go_as_they_are_and_the_rest_as_json(self):
        for value, want in [
            ("on", b"on"), ("", b""), ("ä", "ä".encode()), (b"\xff\0", b"\xff\0"), (bytearray(b"x"), b"x"), (memoryview(b"y"), b"y"),
            (0, b"0"), (21.5, b"21.5"), (True, b"true"), (None, b"null"), ([1, "a"], b'[1,"a"]'), ({"t": "ä"}, '{"t":"ä"}'.encode()),
            (showing(b"21.50"), b"21.50"), (showing(b"\xff"), b"\xff"),
        ]:
            self.assertEqual(device_com._encode(value), want)

    def test_what_cannot_be_published_is_refused_in_one_sentence(self):
        loop = []
        loop.append(loop)
        for arguments, words in [
            (("", 1), "the topic is empty"),
            (("pi/+/led", 1), "wildcard +"),
            (("pi/#", 1), "wildcard #"),
            (("$SYS/broker", 1), "$SYS"),
            (("a\0b", 1), "which MQTT forbids"),
            (("a\nb", 1), "which MQTT forbids"),
            (("a\ud800", 1), "which MQTT forbids"),
            (("a\ufffe", 1), "which MQTT forbids"),
            (("a" * 65536, 1), "at most 65535"),
            (("/" * 200, 1), "201 levels"),
            ((b"pi/3", 1), "must be a str"),
            ((None, 1), "must be a str"),
            (("t", 1, 3), "qos is 3"),
            (("t", 1, -1), "qos is -1"),
            (("t", 1, True), "qos is True"),
            (("t", 1, "1"), "qos is '1'"),
            (("t", 1, 1, "false"), "retain is 'false'"),
            (("t", {1, 2}), "cannot be sent as JSON"),
            (("t", float("nan")), "cannot be sent as JSON"),
            (("t", [math.inf]), "cannot be sent as JSON"),
            (("t", loop), "cannot be sent as JSON"),
            (("t", object()), "cannot be sent as JSON"),
            (("t", "a\udcff"), "no UTF-8"),
            (("t", b"x" * device_com.MAX_PACKET), "at most 16 MiB"),
        ]:
            with self.assertRaises(DeviceError) as caught:
                device_com.publish(*arguments)  # it does not even look for settings.ini
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))


class ValsAreLikeTheNewestValue(unittest.TestCase):
    def test_they_compare(self):
        vals = showing(b"21.50")
        for holds in [vals == 21.5, 21.5 == vals, vals != 0, vals > 20, vals >= 21.5, vals < 22, 22 > vals, 20 <= vals <= 22, vals == vals]:
            self.assertIs(holds, True)
        self.assertFalse(vals == 0 or vals != 21.5 or vals < 21 or vals == "21.50")
        self.assertTrue(showing(b"0") == 0 and not showing(b"0") and showing(b"on") == "on" and showing(b"null") == None)  # noqa: E711
        self.assertIn(showing(b"on"), {"on", "off"})
        self.assertEqual({"on": 1}[showing(b"on")], 1)
        with self.assertRaisesRegex(TypeError, "'str' and 'int'"):
            showing(b"on") > 20

    def test_they_print_and_format(self):
        vals = showing(b"21.50")
        self.assertEqual([str(vals), repr(vals), f"{vals}", f"{vals:.2f}", f"{vals!r:>6}", "%s" % vals, "%d" % vals],
                         ["21.5", "21.5", "21.5", "21.50", "  21.5", "21.5", "21"])
        self.assertEqual([str(showing(b"on")), repr(showing(b"on")), repr(showing(b"\xff"))], ["on", "'on'", "b'\\xff'"])

    def test_they_compute(self):
        v, w = showing(b"7"), showing(b"2")
        self.assertEqual([v + 1, 1 + v, v - w, 9 - v, v * w, v / w, v // w, v % w, v**w, 2**w, divmod(v, w), divmod(15, v)],
                         [8, 8, 5, 2, 14, 3.5, 3, 1, 49, 4, (3, 1), (2, 1)])
        self.assertEqual([-v, +v, ~v, abs(showing(b"-3")), v & 3, v | 8, v ^ 1, v << 1, v >> 1, 256 >> v], [-7, 7, -8, 3, 3, 15, 6, 14, 3, 2])
        self.assertEqual([int(v), float(v), complex(v), round(showing(b"2.6")), round(showing(b"2.66"), 1), math.ceil(showing(b"2.1")),
                          math.floor(showing(b"2.9")), math.trunc(showing(b"2.9")), math.sqrt(showing(b"4")), [10, 11, 12][w], list(range(w))],
                         [7, 7.0, 7 + 0j, 3, 2.7, 3, 2, 2, 2.0, 12, [0, 1]])
        self.assertEqual(["a" + showing(b"b"), showing(b"a") + "b", "ab" * w, [1] + showing(b"[2]")], ["ab", "ab", "abab", [1, 2]])
        v += 1
        self.assertIs(type(v), int)

    def test_they_index_and_have_the_methods(self):
        vals = showing(b'{"temp":21.5,"list":[1,2]}')
        self.assertEqual([vals["temp"], vals["list"][1], vals.get("none", 3), sorted(vals.keys()), len(vals), "temp" in vals],
                         [21.5, 2, 3, ["list", "temp"], 2, True])
        self.assertEqual([showing(b"on").upper(), showing(b"abc")[1:], list(reversed(showing(b"[1,2]"))), bytes(showing(b"\xff"))],
                         ["ON", "bc", [2, 1], b"\xff"])
        self.assertEqual([vals.topic, vals.raw[:7], vals.value["temp"]], ["pi/3/x", b'{"temp"', 21.5])
        for broken in [lambda: vals["none"], lambda: vals.nothing, lambda: showing(b"1")["a"], lambda: len(showing(b"1")), lambda: vals._nothing]:
            self.assertRaises((KeyError, AttributeError, TypeError), broken)
        with self.assertRaises(AttributeError):
            vals.on_message = print  # it would never be called


class Waiting(unittest.TestCase):
    def test_a_feed_keeps_the_newest_and_counts_the_rest(self):
        feed = device_com._Feed()
        for i in range(device_com.MAX_WAITING + 5):
            feed.put(Message("t", b"%d" % i))
        self.assertEqual((len(feed.waiting), feed.skipped, feed.take().value), (device_com.MAX_WAITING, 5, 5))

    def test_a_feed_is_bounded_in_bytes(self):
        feed = device_com._Feed()
        for _ in range(5):
            feed.put(Message("t", b"x" * (device_com.MAX_WAITING_BYTES // 2)))
        feed.put(Message("t", b"x" * (device_com.MAX_WAITING_BYTES + 1)))
        self.assertEqual((len(feed.waiting), feed.skipped), (1, 5))
        feed.take()
        self.assertEqual(feed.bytes, 0)


def settings(text):
    """What a settings.ini with this text says."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            if text is not None:
                with open("settings.ini", "wb") as file:
                    file.write(text if isinstance(text, bytes) else text.encode())
            return device_com._read_settings()
        finally:
            os.chdir(before)


class SettingsFile(unittest.TestCase):
    def test_it_names_the_broker(self):
        for text, want in [
            (SETTINGS, ("192.168.1.10", 1883)),
            ("[system]\nip_address=192.168.1.10\nmqtt_port=1884", ("192.168.1.10", 1884)),
            ("[system]\nip_address=192.168.1.10\n", ("192.168.1.10", 1883)),
            ("\ufeff" + SETTINGS, ("192.168.1.10", 1883)),
            (SETTINGS.replace("\n", "\r\n"), ("192.168.1.10", 1883)),
            ("; a\n# b\n[system] ; c\n  # d\nip_address = 10.0.0.1 ; e\nmqtt_port = 1 # f\n", ("10.0.0.1", 1)),
            ("[system]\nip_address = \"10.0.0.1\"\nmqtt_port = '1883' # x\n", ("10.0.0.1", 1883)),
            ("[system]\nip_address: fd00::1\nmqtt_port: 1883\n", ("fd00::1", 1883)),
            ("[system]\nip_address = Broker.lan\n", ("broker.lan", 1883)),
            ("[system]\nIP_Address = 10.0.0.1\nMQTT_PORT = 7\n", ("10.0.0.1", 7)),
            ("[system]\nname = a = b\nip_address = 10.0.0.1\ndebug =\nmqtt_host = x\n", ("10.0.0.1", 1883)),
            ("ip_address = 1.1.1.1\n[db]\nhost\nx=1\nx=1\nip_address=2.2.2.2\n[db]\n" + SETTINGS + "[log]\nmqtt_prot = 9\n", ("192.168.1.10", 1883)),
            ("[system]\nip_address = 10.0.0.1\nmqtt_tls = true\n", ("10.0.0.1", 8883)),
            ("[system]\nip_address = AUTO\n", (None, None)),
            ("[system]\nip_address = auto\nmqtt_port = 1884\n", (None, 1884)),
        ]:
            got = settings(text)
            self.assertEqual((got.address, got.port), want, text)

    def test_user_and_password_may_hold_anything(self):
        got = settings(SETTINGS + "username = lamp 1\npassword = 'a #b; \"c'  ; a comment\n")
        self.assertEqual((got.username, got.password), (b"lamp 1", b'a #b; "c'))
        got = settings(SETTINGS + "username = x\npassword = p%40s=w#d\n")
        self.assertEqual(got.password, b"p%40s=w#d")

    def test_a_wrong_one_is_refused_in_one_sentence(self):
        for text, words in [
            (None, "settings.ini is not in /"),
            ("", "has no section [system]; add it with ip_address and mqtt_port"),
            ("ip_address = 10.0.0.1\n", "has no section [system]"),
            ("[System]\nip_address = 10.0.0.1\n", "line 1: section [System] is not read; write [system]"),
            ("# [system]\nip_address = 10.0.0.1\n", "has no section [system]"),
            (SETTINGS + "[db]\n[system]\n", "line 5: section [system] appears twice"),
            ("[system\nip_address = 10.0.0.1\n", "line 1: the section has no closing bracket"),
            ("[system]\nmqtt_port = 1883\n", "section [system] has no ip_address; add"),
            ("[system]\n[db]\nip_address = 10.0.0.1\n", "has no ip_address"),
            ("[system]\nip_address = 10.0.0.1\nmqtt_prot = 1883\n", 'line 3: section [system] has no key "mqtt_prot"; did you mean mqtt_port?'),
            ("[system]\nip_adress = 10.0.0.1\n", 'has no key "ip_adress"; did you mean ip_address?'),
            ("[system]\nip_adres = 10.0.0.1\n", 'no ip_address, but "ip_adres"; did you mean ip_address?'),
            ("[system]\nip_address = 10.0.0.1\nIP_ADDRESS = 10.0.0.2\n", 'line 3: key "ip_address" appears twice'),
            (SETTINGS + "mqtt_port = 1\n", 'line 4: key "mqtt_port" appears twice'),
            ("[system]\nhunter2\n", "line 2: is not of the form key = value"),
            ("[system]\n= hunter2\n", "line 2: is not of the form key = value"),
            ("[system]\nhunter2 # a = b\n", "line 2: is not of the form key = value"),
            ("[system]\nip_address =\n", "neither an IP address nor a host name"),
            ("[system]\nip_address = 0.0.0.0\n", "an address to listen on"),
            ("[system]\nip_address = ::\n", "an address to listen on"),
            ("[system]\nip_address = 999.1.1.1\n", 'section [system]: ip_address = "999.1.1.1"'),
            ("[system]\nip_address = <your_ip_address>\n", "neither an IP address nor a host name"),
            ("[system]\nip_address = fe80::1%eth0\n", "zone"),
            ("[system]\nip_address = mqtt://10.0.0.1\n", "ip_address"),
            ("[system]\nip_address = 10.0.0.1:1883\n", "ip_address"),
            ("[system]\nip_address = 10.0.0.1\nmqtt_port = 0\n", 'section [system]: mqtt_port = "0": write a port from 1 to 65535'),
            ("[system]\nip_address = 10.0.0.1\nmqtt_port = 65536\n", "mqtt_port"),
            ("[system]\nip_address = 10.0.0.1\nmqtt_port = 01883\n", "leading zero"),
            ("[system]\nip_address = 10.0.0.1\nmqtt_port = -1\n", "mqtt_port"),
            ("[system]\nip_address = 10.0.0.1\nmqtt_port =\n", "mqtt_port"),
            ("[system]\nip_address = 10.0.0.1\nmqtt_port = \u0661\n", "mqtt_port"),
            (SETTINGS + "password = hunter2\n", "a password and no username"),
            (SETTINGS + "username =\n", "username is empty"),
            (SETTINGS + "mqtt_tls = yes\n", 'mqtt_tls = "yes": write true or false'),
            (SETTINGS + "mqtt_ca_file = ca.pem\n", "mqtt_ca_file without mqtt_tls = true"),
            (SETTINGS + "mqtt_tls = true\nmqtt_ca_file = none.pem\n", 'mqtt_ca_file = "none.pem": no such file'),
            (SETTINGS + "mqtt_tls = true\nmqtt_ca_file = settings.ini\n", 'mqtt_ca_file = "settings.ini": no PEM file'),
            ("[system]\nip_address = auto\nusername = x\npassword = hunter2\n", "ip_address = auto takes whoever answers"),
            ("\ufeff" + SETTINGS.replace("10", "\xe4"), "ip_address"),
            (SETTINGS.encode() + b"name = \xff\n", "is not UTF-8"),
            (SETTINGS.encode("utf-16"), "UTF-16"),
            (SETTINGS.encode("utf-16-le"), "UTF-16"),
            (SETTINGS.encode("utf-16-be"), "UTF-16"),
            ("#" * (1 << 20) + SETTINGS, "larger than 1 MiB"),
        ]:
            with self.assertRaises(DeviceError, msg=text) as caught:
                settings(text)
            self.assertIn(words, str(caught.exception))
            self.assertRegex(str(caught.exception), r"\Asettings\.ini")
            self.assertNotRegex(str(caught.exception), r"\n|hunter2")


def dns_name(*labels):
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def record(name, kind, data):
    return name + struct.pack("!HHIH", kind, 1, 120, len(data)) + data


def answer(*records):
    return struct.pack("!6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


SERVICE = dns_name("_mqtt", "_tcp", "local")


def pointer_to(instance):
    return record(SERVICE, 12, dns_name(instance, "_mqtt", "_tcp", "local"))


def service(instance, host, port):
    return record(dns_name(instance, "_mqtt", "_tcp", "local"), 33, struct.pack("!HHH", 0, 0, port) + dns_name(host, "local"))


def address(host, ip):
    return record(dns_name(host, "local"), 1, socket.inet_aton(ip))


class Responder:
    """Answers multicast DNS on loopback, on a port of its own: what else answers on this network does not count."""

    def __init__(self, answers):
        self.answers, self.ended = answers, False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("", 0))
        self.socket.settimeout(0.05)
        self.loopback = socket.if_nametoindex("lo")
        group = struct.pack("4s4si", socket.inet_aton("224.0.0.251"), b"", self.loopback)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        while not self.ended:
            try:
                packet, sender = self.socket.recvfrom(9000)
            except socket.timeout:
                continue
            for (name, kind), reply in self.answers.items():
                if name + struct.pack("!H", kind) in packet:
                    self.socket.sendto(reply, sender)

    def __enter__(self):
        self.before = device_com._interfaces, device_com._MDNS
        device_com._interfaces = lambda: [self.loopback]
        device_com._MDNS = ("224.0.0.251", self.socket.getsockname()[1])
        self.thread.start()

    def __exit__(self, *_):
        self.ended = True
        device_com._interfaces, device_com._MDNS = self.before
        self.thread.join()
        self.socket.close()


class Discovery(unittest.TestCase):
    def test_it_asks_where_everybody_listens(self):
        self.assertEqual(device_com._MDNS, ("224.0.0.251", 5353))
        self.assertIn(socket.if_nametoindex("lo"), device_com._interfaces())

    def test_one_answer_with_everything_is_enough(self):
        whole = answer(pointer_to("Home"), service("Home", "Pi", 1884), address("pi", "10.1.2.3"))
        with Responder({(SERVICE, 12): whole}):
            self.assertEqual(device_com._discover(None), ("pi.local", 1884, ["10.1.2.3"]))

    def test_what_an_answer_leaves_out_is_asked_for(self):
        instance, host = dns_name("home", "_mqtt", "_tcp", "local"), dns_name("pi", "local")
        with Responder({
            (SERVICE, 12): answer(pointer_to("Home")),
            (instance, 33): answer(service("HOME", "PI", 1883)),
            (host, 1): answer(address("pi", "10.1.2.3"), address("pi", "10.1.2.4")),
        }):
            self.assertEqual(device_com._discover(1883), ("pi.local", 1883, ["10.1.2.3", "10.1.2.4"]))

    def test_two_names_of_one_broker_are_one(self):
        both = answer(pointer_to("A"), pointer_to("B"), service("A", "pi", 1883), service("B", "pi", 1883), address("pi", "10.1.2.3"))
        with Responder({(SERVICE, 12): both}):
            self.assertEqual(device_com._discover(None)[1], 1883)

    def test_of_several_brokers_none_is_chosen(self):
        both = answer(pointer_to("A"), pointer_to("B"), service("A", "pi", 1883), service("B", "pi", 1884), address("pi", "10.1.2.3"))
        with Responder({(SERVICE, 12): both}):
            with self.assertRaisesRegex(device_com._Refused, "10.1.2.3:1883, 10.1.2.3:1884; write one of them"):
                device_com._discover(None)
            self.assertEqual(device_com._discover(1884), ("pi.local", 1884, ["10.1.2.3"]))

    def test_no_answer_is_said(self):
        with Responder({(SERVICE, 12): answer(pointer_to("Home"), service("Home", "pi", 1883))}):
            with self.assertRaisesRegex(OSError, "no broker on port 7 announces itself"):
                device_com._discover(7)

    def test_hostile_packets_are_ignored(self):
        good = answer(pointer_to("Home"), service("Home", "pi", 1883), address("pi", "10.1.2.3"))
        found = device_com._Found()
        loop = struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + b"\xc0\x0c" + struct.pack("!HHIH", 12, 1, 0, 2) + b"\xc0\x0c"
        numbers = random.Random(2)
        hostile = [b"", b"\0" * 11, loop, good[:-2], struct.pack("!6H", 0, 0x8400, 65535, 65535, 65535, 65535), good.replace(b"\x04Home", b"\x44Home")]
        for _ in range(3000):
            packet = bytearray(good)
            for _ in range(numbers.randrange(1, 6)):
                packet[numbers.randrange(12, len(packet))] = numbers.randrange(256)
            hostile.append(bytes(packet[: numbers.randrange(12, len(packet) + 1)]))
        for packet in hostile:
            found.add(packet)
        self.assertLessEqual(max(len(found.instances), len(found.services), len(found.hosts)), device_com._MOST_FOUND)
        question = bytearray(good)
        question[2] = 0  # a query
        found = device_com._Found()
        found.add(bytes(question))
        self.assertEqual(found.brokers(None), [])
        found.add(good)
        self.assertEqual(found.brokers(None), [("pi.local", 1883, ["10.1.2.3"])])


class Packets(unittest.TestCase):
    def link(self):
        link = device_com._Link.__new__(device_com._Link)
        link.inbox, link.skipping = bytearray(), 0
        return link

    def test_lengths_are_written_and_read(self):
        for size in [0, 1, 127, 128, 16383, 16384, 2097151, 2097152]:
            packet = device_com._packet(3, 2, b"x" * size)
            self.assertEqual(device_com._length(packet, 1), (size, len(packet) - size))
        with self.assertRaises(device_com._Lost):
            device_com._length(b"\x30\xff\xff\xff\xff", 1)

    def test_packets_are_found_wherever_the_stream_is_cut(self):
        stream = b"".join(device_com._packet(3, 0, bytes([i % 256]) * i) for i in range(0, 300, 37))
        want = list(range(0, 300, 37))
        for step in [1, 2, 3, 7, 100, len(stream)]:
            link, got = self.link(), []
            for at in range(0, len(stream), step):
                link.inbox += stream[at : at + step]
                got += [len(body) for _, _, body in link._split()]
            self.assertEqual((got, link.inbox), (want, b""))

    def test_what_is_too_large_is_passed_over_and_not_kept(self):
        link, large, got = self.link(), device_com.MAX_PACKET + 1, []
        stream = device_com._packet(13, 0) + device_com._packet(3, 0, b"x" * large) + device_com._packet(13, 0)
        for at in range(0, len(stream), 1 << 16):
            link.inbox += stream[at : at + (1 << 16)]
            got += list(link._split())
            self.assertLess(len(link.inbox), 1 << 17)
        self.assertEqual(got, [(13, 0, b""), (3, None, large), (13, 0, b"")])


class Source(unittest.TestCase):
    def test_it_is_python_3_9(self):
        with open(device_com.__file__, encoding="utf-8") as file:
            ast.parse(file.read(), feature_version=(3, 9))

    def test_it_imports_the_standard_library_only(self):
        code = (
            "import sys; before = set(sys.modules); import device_com; new = {m.split('.')[0] for m in set(sys.modules) - before}; "
            "names = getattr(sys, 'stdlib_module_names', None); print(new - {'device_com'} - names if names else set())"
        )
        out = subprocess.run([sys.executable, "-B", "-S", "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
        self.assertEqual(out.stdout.strip(), "set()")


class Errors(unittest.TestCase):
    def test_they_are_caught_by_the_usual_names(self):
        self.assertTrue(issubclass(DeviceError, Exception))
        self.assertTrue(issubclass(NoMessage, TimeoutError))
        for kind in [NotConnected, device_com.OutcomeUnknown, NoMessage]:
            self.assertTrue(issubclass(kind, DeviceError))


if __name__ == "__main__":
    unittest.main()
