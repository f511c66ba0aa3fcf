package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// WebSocket opcodes (RFC 6455 section 5.2).
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// dial connects; the handshake that follows has patience.
func dial(addr string) (net.Conn, *bufio.Reader, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, nil, err
	}
	return c, bufio.NewReaderSize(c, 4<<10), c.SetDeadline(time.Now().Add(patience))
}

// handOver gives the connection to a loop, with what was read too early.
func handOver(c net.Conn, r *bufio.Reader, p protocol) (dialed, error) {
	early := make([]byte, r.Buffered())
	if _, err := io.ReadFull(r, early); err != nil {
		return dialed{}, err
	}
	fd, err := detach(c)
	return dialed{fd: fd, early: early, protocol: p}, err
}

// mqttConnectPacket has a clean session and no keep-alive.
func mqttConnectPacket(id string) []byte {
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, byte(len(id) >> 8), byte(len(id))}, id...)
	return append([]byte{0x10, byte(len(body))}, body...)
}

func mqttSubscribePacket(filters []string) []byte {
	body := []byte{0, 1}
	for _, f := range filters {
		body = append(body, byte(len(f)>>8), byte(len(f)))
		body = append(append(body, f...), 0)
	}
	return append(appendLength([]byte{0x82}, len(body)), body...)
}

// appendLength is MQTT's variable length.
func appendLength(b []byte, n int) []byte {
	for n > 127 {
		b = append(b, byte(n)|128)
		n >>= 7
	}
	return append(b, byte(n))
}

// mqttPublishPacket appends a PUBLISH; id counts at QoS 1 only.
func mqttPublishPacket(dst []byte, topic string, payload []byte, qos byte, id uint16) []byte {
	length := 2 + len(topic) + len(payload)
	if qos > 0 {
		length += 2
	}
	dst = appendLength(append(dst, 0x30|qos<<1), length)
	dst = append(append(dst, byte(len(topic)>>8), byte(len(topic))), topic...)
	if qos > 0 {
		dst = append(dst, byte(id>>8), byte(id))
	}
	return append(dst, payload...)
}

// mqttHandshake connects, and subscribes if there are filters. wrap puts what
// is sent into a frame, where the transport has them.
func mqttHandshake(w io.Writer, r io.Reader, id string, filters []string, wrap func([]byte) []byte) error {
	if _, err := w.Write(wrap(mqttConnectPacket(id))); err != nil {
		return err
	}
	ack := make([]byte, 4)
	if _, err := io.ReadFull(r, ack); err != nil || ack[0] != 0x20 || ack[3] != 0 {
		return fmt.Errorf("CONNACK % x: %v", ack, err)
	}
	if len(filters) == 0 {
		return nil
	}
	if _, err := w.Write(wrap(mqttSubscribePacket(filters))); err != nil {
		return err
	}
	ack = make([]byte, 4+len(filters))
	if _, err := io.ReadFull(r, ack); err != nil || ack[0] != 0x90 {
		return fmt.Errorf("SUBACK % x: %v", ack, err)
	}
	for i, code := range ack[4:] {
		if code > 2 {
			return fmt.Errorf("the broker refuses %s", filters[i])
		}
	}
	return nil
}

func bare(b []byte) []byte { return b }

// dialMQTT is a connection that publishes.
func dialMQTT(addr, id string) (net.Conn, *bufio.Reader, error) {
	c, r, err := dial(addr)
	if err == nil {
		err = mqttHandshake(c, r, id, nil, bare)
	}
	if err != nil {
		return nil, nil, err
	}
	return c, r, c.SetDeadline(time.Time{})
}

// subscribeMQTT subscribes over TCP.
func subscribeMQTT(addr, id string, filters []string) (dialed, error) {
	c, r, err := dial(addr)
	if err == nil {
		err = mqttHandshake(c, r, id, filters, bare)
	}
	if err != nil {
		return dialed{}, err
	}
	return handOver(c, r, mqttTCP)
}

// upgrade makes a connection a WebSocket.
func upgrade(addr, target, subprotocol string, headers ...string) (net.Conn, *bufio.Reader, error) {
	c, r, err := dial(addr)
	if err != nil {
		return nil, nil, err
	}
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Protocol: %s\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", target, addr, subprotocol, headerLines(headers))
	if err != nil {
		return nil, nil, err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil, fmt.Errorf("upgrade: %s", res.Status)
	}
	return c, r, nil
}

// subscribeMQTTWebSocket subscribes to a broker that speaks MQTT over
// WebSocket.
func subscribeMQTTWebSocket(addr, id string, filters []string) (dialed, error) {
	c, r, err := upgrade(addr, "/mqtt", "mqtt")
	if err != nil {
		return dialed{}, err
	}
	// The broker sends each answer as a frame of its own.
	if err := mqttHandshake(c, &frameReader{r: r}, id, filters, maskedFrame); err != nil {
		return dialed{}, err
	}
	return handOver(c, r, mqttWebSocket)
}

// maskedFrame is a client's binary frame, with a mask of zeros.
func maskedFrame(b []byte) []byte {
	frame := []byte{0x80 | opBinary, 0x80 | 126, byte(len(b) >> 8), byte(len(b)), 0, 0, 0, 0}
	return append(frame, b...)
}

// frameReader reads what is in frames.
type frameReader struct {
	r    *bufio.Reader
	left int
}

func (f *frameReader) Read(b []byte) (int, error) {
	for f.left == 0 {
		_, n, err := frameHead(f.r)
		if err != nil {
			return 0, err
		}
		f.left = n
	}
	n, err := f.r.Read(b[:min(len(b), f.left)])
	f.left -= n
	return n, err
}

func frameHead(r *bufio.Reader) (op byte, n int, err error) {
	var head [8]byte
	if _, err = io.ReadFull(r, head[:2]); err != nil {
		return 0, 0, err
	}
	op, n = head[0]&15, int(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(r, head[:2])
		n = int(binary.BigEndian.Uint16(head[:2]))
	case 127:
		_, err = io.ReadFull(r, head[:8])
		n = int(binary.BigEndian.Uint64(head[:8]))
	}
	return op, n, err
}

func topicQuery(filters []string) string {
	return "?" + url.Values{"topic": filters}.Encode()
}

// subscribeGatewayWebSocket opens /ws and reads until the ack.
func subscribeGatewayWebSocket(addr string, filters []string, headers ...string) (dialed, error) {
	c, r, err := upgrade(addr, "/ws"+topicQuery(filters), "gateway.v1", headers...)
	if err != nil {
		return dialed{}, err
	}
	for {
		_, n, err := frameHead(r)
		if err != nil {
			return dialed{}, err
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			return dialed{}, err
		}
		if strings.Contains(string(frame), `"type":"ack"`) {
			if strings.Contains(string(frame), `"ok":false`) {
				return dialed{}, fmt.Errorf("the gateway refuses a filter: %s", frame)
			}
			return handOver(c, r, gatewayWebSocket)
		}
	}
}

// subscribeGatewayNDJSON opens /events and waits for the ack, which the loop
// sees again.
func subscribeGatewayNDJSON(addr string, filters []string) (dialed, error) {
	c, r, err := dial(addr)
	if err != nil {
		return dialed{}, err
	}
	if _, err := fmt.Fprintf(c, "GET /events%s&format=ndjson HTTP/1.1\r\nHost: %s\r\n\r\n", topicQuery(filters), addr); err != nil {
		return dialed{}, err
	}
	status, err := r.ReadString('\n')
	if err != nil || !strings.Contains(status, " 200 ") {
		return dialed{}, fmt.Errorf("/events: %q %v", status, err)
	}
	for line := status; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			return dialed{}, err
		}
	}
	for {
		if b, _ := r.Peek(r.Buffered()); strings.Contains(string(b), `"type":"ack"`) {
			return handOver(c, r, gatewayNDJSON)
		}
		if _, err := r.Peek(r.Buffered() + 1); err != nil { // waits for more
			return dialed{}, err
		}
	}
}
