package device

import (
	"net"
	"strings"
)

// kind is what a line of the broker's log says of a client.
type kind int

const (
	connected kind = iota
	disconnected
	dropping // messages are dropped on their way to it
	accepted // a TCP connection, of one who has not said who it is
)

// event is one way to read a line.
type event struct {
	kind    kind
	id      string
	address string // empty: the line does not say
	reason  Reason
}

// Beginnings of lines, of mosquitto 2.0 and 2.1.
const (
	lineClient   = "Client "
	lineDropping = "Outgoing messages are being dropped for client "
	lineSocket   = "Bad socket read/write on client "
	lineAccepted = "New connection from "
)

var lineConnected = []string{"New client connected from ", "New bridge connected from "}

// goodbyes are the ends of lines of mosquitto 2.0, behind the client's id.
var goodbyes = []struct {
	end    string
	reason Reason
}{
	{" disconnected.", ReasonDisconnected},
	{" closed its connection.", ReasonClosed},
	{" has exceeded timeout, disconnecting.", ReasonTimeout},
	{" already connected, closing old connection.", ReasonTakenOver},
	{" disconnected, not authorised.", ReasonNotAuthorised},
	{" disconnected due to malformed packet.", ReasonMalformed},
	{" disconnected due to protocol error.", ReasonProtocol},
	{" disconnected due to oversize packet.", ReasonTooLarge},
	{" disconnected due to oversize payload.", ReasonTooLarge},
	{" disconnected due to out of memory.", ReasonOther},
	{" disconnected due to QoS too high or retain not supported.", ReasonOther},
	{" disconnected due to using not allowed feature (QoS too high, retain not supported, or bad AUTH method).", ReasonOther},
	{" been disconnected by administrative action.", ReasonAdministrative},
}

// causes are what mosquitto 2.1 says behind "disconnected: ".
var causes = map[string]Reason{
	"connection closed by client": ReasonClosed, "exceeded timeout": ReasonTimeout, "session taken over": ReasonTakenOver,
	"malformed packet": ReasonMalformed, "protocol error": ReasonProtocol, "oversize packet": ReasonTooLarge,
	"oversize payload": ReasonTooLarge, "administrative action": ReasonAdministrative,
	"not authorised": ReasonNotAuthorised, "bad username or password": ReasonNotAuthorised, "client banned": ReasonNotAuthorised,
	"bad authentication method": ReasonNotAuthorised, "client identifier not valid": ReasonNotAuthorised,
	"quota exceeded": ReasonOther, "connection rate exceeded": ReasonOther, "server busy": ReasonOther, "server unavailable": ReasonOther,
}

// read gives the ways to read a line, the one with the longest id first; none
// when it is about nobody's connection. Client ids and user names may hold
// anything, and what looks like the end of a line, too.
func read(line string) []event {
	line = withoutTime(line)
	for _, begin := range lineConnected {
		if rest, ok := strings.CutPrefix(line, begin); ok {
			return readConnected(rest)
		}
	}
	if rest, ok := strings.CutPrefix(line, lineAccepted); ok {
		if address, _, ok := strings.Cut(rest, " on port "); ok {
			return []event{{kind: accepted, address: hostPort(address)}}
		}
		return nil
	}
	if rest, ok := strings.CutPrefix(line, lineDropping); ok {
		return []event{{kind: dropping, id: strings.TrimSuffix(rest, ".")}}
	}
	if rest, ok := strings.CutPrefix(line, lineSocket); ok {
		if at := strings.LastIndex(rest, ": "); at > 0 {
			return []event{{kind: disconnected, id: rest[:at], reason: ReasonClosed}}
		}
		return nil
	}
	if rest, ok := strings.CutPrefix(line, lineClient); ok {
		return readDisconnected(rest)
	}
	return nil
}

// withoutTime cuts off what log_timestamp puts in front: digits and what stands
// between them, 40 bytes at most. No client has a say in it.
func withoutTime(line string) string {
	at := strings.Index(line[:min(len(line), 42)], ": ")
	if at < 1 || strings.Trim(line[:at], "0123456789TZ:.,/+- ") != "" {
		return line
	}
	return line[at+2:]
}

// readConnected reads "ADDRESS:PORT as ID (p5, c1, k60, u'USER')."
func readConnected(rest string) (all []event) {
	address, rest, ok := strings.Cut(rest, " as ")
	if !ok {
		return nil
	}
	for at := len(rest); ; {
		if at = strings.LastIndex(rest[:at], " (p"); at < 0 {
			return all
		}
		if isSuffix(rest[at:]) {
			all = append(all, event{kind: connected, id: rest[:at], address: hostPort(address), reason: ReasonConnected})
		}
	}
}

// isSuffix reports whether s is " (p5, c1, k60)." or " (p5, c1, k60, u'USER')."
func isSuffix(s string) bool {
	for _, begin := range []string{" (p", ", c", ", k"} {
		var ok bool
		if s, ok = strings.CutPrefix(s, begin); !ok {
			return false
		}
		digits := strings.TrimLeft(s, "0123456789")
		if digits == s {
			return false
		}
		s = digits
	}
	return s == ")." || strings.HasPrefix(s, ", u'") && strings.HasSuffix(s, "').") && len(s) >= len(", u'').")
}

// readDisconnected reads what follows "Client ".
func readDisconnected(rest string) (all []event) {
	for _, g := range goodbyes {
		if id, ok := strings.CutSuffix(rest, g.end); ok {
			all = append(all, event{kind: disconnected, id: id, reason: g.reason})
			break
		}
	}
	const bracket = "] disconnected"
	if at := strings.LastIndex(rest, bracket); at > 0 { // 2.1: "ID [ADDRESS:PORT] disconnected: CAUSE."
		begin := strings.LastIndex(rest[:at], " [")
		cause, ends := strings.CutSuffix(rest[at+len(bracket):], ".")
		if begin > 0 && !strings.Contains(rest[begin+2:at], " ") && strings.Contains(rest[begin:at], ":") {
			e := event{kind: disconnected, id: rest[:begin], address: hostPort(rest[begin+2 : at]), reason: ReasonDisconnected}
			cause, given := strings.CutPrefix(cause, ": ")
			if given {
				e.reason = causeOf(cause)
			}
			if given || ends && cause == "" {
				all = append(all, e)
			}
		}
	}
	const errno = " disconnected: "
	if at := strings.LastIndex(rest, errno); at > 0 && !strings.HasSuffix(rest[:at], "]") { // 2.0: "ID disconnected: ERROR."
		all = append(all, event{kind: disconnected, id: rest[:at], reason: ReasonClosed})
	}
	return all
}

func causeOf(cause string) Reason {
	if r, ok := causes[cause]; ok {
		return r
	}
	if strings.HasPrefix(cause, "used disallowed feature") {
		return ReasonOther
	}
	return ReasonClosed // an error of the connection
}

// hostPort writes an address as others write it: mosquitto puts no brackets
// around IPv6.
func hostPort(s string) string {
	if at := strings.LastIndexByte(s, ':'); at > 0 && strings.Contains(s[:at], ":") && s[0] != '[' {
		return net.JoinHostPort(s[:at], s[at+1:])
	}
	return s
}
