package test

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/spectest"
)

// answers collects what a gateway really says, and holds it against
// openapi.yaml.
type answers struct {
	doc  *spectest.Document
	ops  map[string]spectest.Operation // by method and path
	seen map[string]bool               // operation, status and code
	said map[string]bool               // operation, status and the steady body
}

func newAnswers(t *testing.T) *answers {
	a := &answers{doc: spectest.OpenAPI(t), ops: map[string]spectest.Operation{}, seen: map[string]bool{}, said: map[string]bool{}}
	for _, op := range a.doc.Operations(t) {
		a.ops[op.Method+" "+op.Path] = op
	}
	return a
}

// check validates one answer of the operation that key names.
func (a *answers) check(t *testing.T, key string, got answer) {
	t.Helper()
	op, ok := a.ops[key]
	if !ok {
		t.Fatalf("openapi.yaml has no %s", key)
	}
	status := fmt.Sprint(got.status)
	pointer, ok := op.Response(status)
	if !ok {
		t.Fatalf("%s: got status %s, which openapi.yaml does not have: %s", key, status, got.body)
	}
	a.checkHeaders(t, key, pointer, got)
	content := a.doc.Object(pointer + "/content")
	if content == nil {
		a.seen[key+" "+status] = true
		return
	}
	media, _, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	if err != nil || content[media] == nil {
		t.Fatalf("%s %s: got Content-Type %q, want one of %v", key, status, got.header.Get("Content-Type"), spectest.Keys(content))
	}
	place := pointer + "/content/" + strings.ReplaceAll(media, "/", "~1")
	if spectest.IsStream(media) {
		a.doc.CheckObjects(t, place, media, got.body)
		a.said[key+" "+status+" "+media+" "+spectest.Steady(t, spectest.Objects(t, media, got.body))] = true
		a.seen[key+" "+status] = true
		return
	}
	if !strings.HasSuffix(media, "json") {
		if len(got.body) == 0 {
			t.Errorf("%s %s: the body is empty", key, status)
		}
		a.seen[key+" "+status] = true
		return
	}
	isPayload := key == "GET /topics/{topic}" && got.status == 200                            // as it came
	if strings.Index(got.body, "\n") != len(got.body)-1 && got.body[0] != '[' && !isPayload { // an array has a line for each object
		t.Errorf("%s %s: got %q, want one line", key, status, got.body)
	}
	if err := a.doc.Validate(place+"/schema", []byte(got.body)); err != nil {
		t.Errorf("%s %s: %v\n%s", key, status, err, got.body)
	}
	a.said[key+" "+status+" "+media+" "+spectest.Steady(t, spectest.Decode[any](t, got.body))] = true
	if media != "application/problem+json" {
		a.seen[key+" "+status] = true
		return
	}
	body := spectest.Decode[map[string]any](t, got.body)
	a.seen[fmt.Sprintf("%s %s %v", key, status, body["code"])] = true
	if id := body["request_id"]; id != got.header.Get("X-Request-Id") {
		t.Errorf("%s %s: got request_id %v, want that of the header: %s", key, status, id, got.header.Get("X-Request-Id"))
	}
	if cache := got.header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("%s %s: got Cache-Control %q, want no-store", key, status, cache)
	}
}

// says is how the example of an answer is found among what was said.
func says(t *testing.T, e spectest.Example, media string) string {
	t.Helper()
	if objects, ok := spectest.ExampleObjects(t, media, e.Value); ok && spectest.IsStream(media) {
		return media + " " + spectest.Steady(t, objects)
	}
	return media + " " + spectest.Steady(t, e.Value)
}

// everywhere are the headers that an answer may have without a word about it.
var everywhere = map[string]bool{
	"Connection": true, "Content-Length": true, "Content-Type": true, "Date": true, "Transfer-Encoding": true,
	"Cache-Control": true, "Content-Security-Policy": true, "X-Content-Type-Options": true, "Cross-Origin-Resource-Policy": true, "X-Accel-Buffering": true,
	"Sec-Websocket-Accept": true, "Upgrade": true, "Vary": true, "Content-Encoding": true, "Accept-Encoding": true,
}

func (a *answers) checkHeaders(t *testing.T, key, response string, got answer) {
	t.Helper()
	described := map[string]bool{}
	for name := range a.doc.Object(response + "/headers") {
		described[http.CanonicalHeaderKey(name)] = true
	}
	for name := range got.header {
		if !described[name] && !everywhere[name] {
			t.Errorf("%s %d: got the header %s, which openapi.yaml does not have", key, got.status, name)
		}
	}
	for _, name := range spectest.Keys(a.doc.Object(response + "/headers")) {
		pointer := response + "/headers/" + name
		header := a.doc.Object(pointer)
		if ref, ok := header["$ref"].(string); ok {
			pointer = strings.TrimPrefix(ref, "#")
			header = a.doc.Object(pointer)
		}
		values := got.header.Values(name)
		if len(values) == 0 {
			if header["required"] == true {
				t.Errorf("%s %d: header %s is missing", key, got.status, name)
			}
			continue
		}
		if err := a.doc.Validate(pointer+"/schema", spectest.Encode(t, strings.Join(values, ", "))); err != nil {
			t.Errorf("%s %d: header %s: %v", key, got.status, name, err)
		}
	}
}

// Everything that openapi.yaml says about answers happens, and nothing else:
// each route × status × code is provoked, each answer is held against its
// schema, and each example of an answer is what the gateway really says.
func TestEveryDocumentedAnswerHappens(t *testing.T) {
	t.Parallel()
	a := newAnswers(t)
	g := play(t)
	publishAnswers(t, a, g)
	brokerAnswers(t, a, g)
	onceAnswers(t, a)
	batchAnswers(t, a)
	bodyAnswers(t, a)
	topicsAnswers(t, a)
	callAnswers(t, a)
	streamAnswers(t, a)
	eventsAnswers(t, a)
	historyAnswers(t, a)
	overloadedAnswers(t, a)
	pageAnswers(t, a)
	accessAnswers(t, a)
	devicesAnswers(t, a)
	commonAnswers(t, a, g)
	for key, op := range a.ops {
		for _, status := range op.Statuses() {
			want := []string{key + " " + status}
			if codes := op.Codes(status); codes != nil {
				want = want[:0]
				for _, code := range codes {
					want = append(want, key+" "+status+" "+code)
				}
			}
			for _, w := range want {
				if !a.seen[w] && !cannotFail[w] {
					t.Errorf("no request got %s", w)
				}
			}
			a.examplesAreSaid(t, key, status)
		}
	}
}

// overloadedAnswers are those of a gateway without room for anything.
func overloadedAnswers(t *testing.T, a *answers) {
	g := play(t, func(o *api.Options) {
		o.BodiesBytes, o.AnswersBytes, o.Timing.Room, o.Devices = 1, 1, time.Millisecond, toldDevices()
	})
	g.battery()
	for key, r := range map[string]request{
		"POST /publish":         {method: "POST", path: "/publish", header: jsonHeader, body: `{"topic":"a","payload":1}`},
		"POST /publish/batch":   arrayBatch("", "[]"),
		"POST /topics/{topic}":  {method: "POST", path: "/topics/a", body: "on"},
		"PUT /topics/{topic}":   {method: "PUT", path: "/topics/a", body: "on"},
		"POST /request/{topic}": {method: "POST", path: "/request/a?reply=b", body: "on"},
		"GET /topics":           {method: "GET", path: "/topics"},
		"GET /topics/{topic}":   {method: "GET", path: "/topics/pi/3/battery"},
		"GET /history":          {method: "GET", path: "/history?filter=%23"},
		"GET /devices":          {method: "GET", path: "/devices"},
	} {
		got := g.do(r)
		if got.status != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d %s, want 503", key, got.status, got.body)
		}
		a.check(t, key, got)
	}
}

// cannotFail: what these routes do cannot be made to fail from outside. They
// have the answer because every route has it, or because there is a moment
// between the decision to go down and the end of the listener; a test of
// internal/api makes that moment long.
var cannotFail = map[string]bool{
	"GET /ws 503 shutting_down":                true,
	"GET /events 503 shutting_down":            true,
	"GET /topics/{topic} 503 shutting_down":    true,
	"DELETE /topics/{topic} 503 shutting_down": true,
	"GET /ws 500 internal_error":               true,
	"POST /publish/batch 500 internal_error":   true, // of one message, that stands in its outcome
	"GET /livez 500 internal_error":            true,
	"GET /openapi.yaml 500 internal_error":     true,
	"GET /asyncapi.yaml 500 internal_error":    true,
	"GET /docs 500 internal_error":             true,
	"GET /devices 500 internal_error":          true,
	"GET /devices/{id} 500 internal_error":     true,
	"GET /auth/whoami 500 internal_error":      true,
	"GET /auth/explain 500 internal_error":     true,
	"GET /auth/principals 500 internal_error":  true,
	"POST /auth/ticket 500 internal_error":     true,
	"GET /docs/errors 500 internal_error":      true,
	"GET /docs/websocket 500 internal_error":   true,
	"GET /sdk.js 500 internal_error":           true,
	"GET / 500 internal_error":                 true,
}

func (a *answers) examplesAreSaid(t *testing.T, key, status string) {
	t.Helper()
	pointer, _ := a.ops[key].Response(status)
	for _, media := range spectest.Keys(a.doc.Object(pointer + "/content")) {
		for _, e := range a.doc.Examples(pointer + "/content/" + strings.ReplaceAll(media, "/", "~1")) {
			if cannotFail[key+" "+status+" "+e.Name] {
				continue
			}
			if !a.said[key+" "+status+" "+says(t, e, media)] {
				t.Errorf("%s %s: no answer was like the example %s", key, status, e.Name)
			}
		}
	}
}
