package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// fuzzBodies seed both the publish body and the op.
var fuzzBodies = []string{
	valid, "", "{", "null", "[1,2]", "{}{}", `{"topic":"a","topic":"b"}`, `{"topic":"a","payload":"\ud800"}`, "{\"topic\":\"a\",\"payload\":\"\xff\"}",
	`{"topic":"a/b","payload":"//4=","encoding":"base64","qos":2,"retain":true}`, `{"topic":"a","payload":{"x":[1.50,null]},"encoding":"json","qos":0}`,
	`{"topic":"a","payload":"\u0041\n","encoding":"text"}`, `{"topic":"a","payload":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`,
	`{"op":"subscribe","id":1,"topics":["a/+","a/#","$x",""]}`, `{"op":"unsubscribe","id":"x","topics":["a"]}`, `{"op":"publish","topic":"a","payload":1}`,
	`{"op":"ping","id":1e400}`, `{"op":"ping","id":{}}`, `1 {"topic":"a","payload":1}`, `["topic","a","payload",1}`, " \t\r\n{} ",
}

// decodePublish is what postPublish does with a body.
func decodePublish(body []byte) (*publication, *wire.Problem) {
	var f publishFields
	if bad := scanObject(body, f.set); bad != nil {
		return nil, bad
	}
	return f.publication(1 << 10)
}

// What is accepted means the same to encoding/json, and the message that a
// subscriber gets carries the same bytes.
func FuzzPublishBody(f *testing.F) {
	for _, s := range fuzzBodies {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		p, bad := decodePublish(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if bad != nil {
			if k := kindOf(bad.Code); bad.Status != k.status || bad.Status >= 500 {
				t.Fatalf("got %+v", bad)
			}
			return
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("accepted %q, but encoding/json says %v", body, err)
		}
		var name, encoding, text string
		_ = json.Unmarshal(got["encoding"], &encoding)
		if err := json.Unmarshal(got["topic"], &name); err != nil || name != p.topic || topic.CheckName(name) != nil {
			t.Fatalf("got topic %q, want %q %v", p.topic, name, err)
		}
		want := []byte(got["payload"])
		if isString := json.Unmarshal(got["payload"], &text) == nil && got["payload"][0] == '"'; isString && encoding != wire.EncodingJSON {
			want = []byte(text)
		}
		if encoding == wire.EncodingBase64 {
			want, _ = base64.StdEncoding.DecodeString(text)
		}
		if !bytes.Equal(p.payload, want) || len(p.payload) > 1<<10 || p.qos > 2 || p.retain && len(p.payload) == 0 {
			t.Fatalf("got %+v, want payload %q", p, want)
		}
		frame, _ := wire.AppendMessage(nil, &wire.Fields{Topic: p.topic, Payload: p.payload, QoS: p.qos, Epoch: "e", Seq: 1})
		var m wire.Message
		if err := json.Unmarshal(frame, &m); err != nil {
			t.Fatalf("frame %q: %v", frame, err)
		}
		if back, err := m.Bytes(); err != nil || !bytes.Equal(back, p.payload) || m.Topic != p.topic || bytes.ContainsAny(frame, "\n\r") {
			t.Fatalf("%q came back as %q %v", p.payload, back, err)
		}
	})
}

// tape is a connection and a codec that keep what the gateway says.
type tape struct {
	mu     sync.Mutex
	frames [][]byte
}

func (*tape) Name() string { return stream.NameWebSocket }

func (*tape) Framing() string                { return "tape" }
func (*tape) TryWrite(p []byte) (int, error) { return len(p), nil }
func (*tape) WriteAll(p []byte) (int, error) { return len(p), nil }
func (*tape) Finish()                        {}
func (*tape) Abort()                         {}
func (*tape) Silent(time.Time) bool          { return false }
func (*tape) Hurry()                         {}
func (*tape) KeepAlive(time.Time) []byte     { return nil }
func (*tape) AppendMessage(dst []byte, _ *message.Message, body []byte) []byte {
	return append(dst, body...)
}
func (*tape) AppendClose(dst []byte, _ outbox.CloseReason) []byte { return dst }
func (p *tape) AppendFrame(dst []byte, f outbox.Frame) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames = append(p.frames, bytes.Clone(f.Body))
	return append(dst, f.Body...)
}

func (p *tape) take() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	frames := p.frames
	p.frames = nil
	return frames
}

// Every frame gets exactly one answer, which is valid JSON, carries the id if
// the frame has a legal one, and only a legal topic is published.
func FuzzOp(f *testing.F) {
	for _, s := range fuzzBodies {
		f.Add([]byte(s))
	}
	broker := &memoryBroker{}
	h := hub.New(hub.Options{Upstream: broker})
	f.Cleanup(h.Close)
	h.BrokerUp(false)
	server := New(Options{Hub: h, Publisher: broker, BrokerStats: func() BrokerStats { return BrokerStats{} }, MaxPayload: 1 << 10, PublishTimeout: time.Second})
	f.Fuzz(func(t *testing.T, frame []byte) {
		out := &tape{}
		ws := &wsSession{server: server, client: h.Attach(out, out, nil, nil), requestID: "r", inFlight: make(chan struct{}, maxInFlight)}
		defer ws.client.Detach()
		before := len(broker.publishes())
		server.enter(&ws.guest, &caller{principal: server.access.Anonymous(), requestID: "r"})
		ws.carryOut(bytes.Clone(frame))
		for range maxInFlight { // until publishes have ended
			ws.inFlight <- struct{}{}
		}
		frames := out.take()
		if len(frames) != 1 {
			t.Fatalf("got %d answers %q, want 1", len(frames), frames)
		}
		var answer struct {
			Type    string
			ID      json.RawMessage
			Problem *wire.Problem
		}
		if err := json.Unmarshal(frames[0], &answer); err != nil || answer.Type == "" {
			t.Fatalf("answer %q: %v", frames[0], err)
		}
		if answer.Problem != nil && (kindOf(answer.Problem.Code).status != answer.Problem.Status || answer.Problem.Status >= 500) {
			t.Fatalf("got %q", frames[0])
		}
		var sent struct{ ID json.RawMessage }
		if json.Unmarshal(frame, &sent) == nil && answer.Problem == nil && string(answer.ID) != string(sent.ID) {
			t.Fatalf("got id %s, want %s", answer.ID, sent.ID)
		}
		if published := broker.publishes()[before:]; len(published) > 0 != (answer.Type == "published") {
			t.Fatalf("answer %q, but the broker side got %q", frames[0], published)
		}
	})
}

// FuzzHost: whatever Host is accepted, a browser that sends it asked for a
// name or an address of this machine.
func FuzzHost(f *testing.F) {
	for _, s := range []string{
		"localhost", "localhost:8080", "LOCALHOST.", "127.0.0.1:1", "[::1]:80", "[::ffff:127.0.0.1]", "gw.example", "evil.example", "localhost.evil.example",
		"127.0.0.1.nip.io", "evil@localhost", "localhost@evil", "0.0.0.0", "[::]", "::1", "[localhost]", "localhost:evil:80", "0x7f000001", "a b", "[fe80::1%25eth0]",
	} {
		f.Add(s)
	}
	g := newGuard([]string{"gw.example:9000"}, nil)
	f.Fuzz(func(t *testing.T, host string) {
		parsed, ok := parseHost(host)
		if !ok || !g.hostAllowed(parsed) {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil || u.User != nil || u.Host != host {
			t.Fatalf("Host %q is accepted, but no browser sends it: %v", host, err)
		}
		name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		addr, err := netip.ParseAddr(name)
		if name == "localhost" || name == "gw.example" || err == nil && (addr.Unmap().IsLoopback() || isMine(addr)) {
			return
		}
		t.Fatalf("Host %q is accepted, but is %q", host, name)
	})
}

func isMine(addr netip.Addr) bool {
	list, _ := net.InterfaceAddrs()
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(net.IP(addr.WithZone("").AsSlice())) {
			return true
		}
	}
	return false
}

// serialOrigin is how browsers write an origin (RFC 6454 section 6.1).
var serialOrigin = regexp.MustCompile(`^(?i)https?://(localhost)(:\d+)?$`)

// FuzzOrigin: only a listed origin, or one whose host and port are those of
// the Host header, is accepted, and only in the way that browsers write it.
func FuzzOrigin(f *testing.F) {
	for _, p := range pages {
		for _, h := range p.headers {
			if origin, ok := strings.CutPrefix(h, "Origin: "); ok {
				f.Add(origin)
			}
		}
	}
	g := newGuard(nil, listed)
	f.Fuzz(func(t *testing.T, origin string) {
		r := httptest.NewRequest(http.MethodPost, "/publish", nil)
		r.Host = "localhost:8080"
		r.Header["Origin"] = []string{origin}
		if !g.originAllowed(r) {
			return
		}
		for _, l := range listed {
			if strings.EqualFold(l, origin) {
				return
			}
		}
		if m := serialOrigin.FindStringSubmatch(origin); m == nil || m[2] != ":8080" {
			t.Fatalf("Origin %q is accepted for Host %s", origin, r.Host)
		}
	})
}
