package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

// badPublish is a request to POST /publish that must be refused.
type badPublish struct {
	name    string
	body    string
	headers []string // besides Content-Type: application/json
	status  int
	code    wire.Code
}

// valid is a body that would be published.
const valid = `{"topic":"a/b","payload":"` + canary + `"}`

func (g *rig) refuses(t *testing.T, rows []badPublish) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			a := exchange(t, g.public, publishRequest(row.body, row.headers...))
			a.wantProblem(t, row.status, row.code)
			if !a.open() {
				t.Error("the connection is closed, want it open: the whole request was read")
			}
		})
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

func TestPublishRefusesMalformedJSON(t *testing.T) {
	g := startRig(t)
	nest := func(open, end string, depth int) string {
		return `{"topic":"a/b","payload":` + strings.Repeat(open, depth) + "1" + strings.Repeat(end, depth) + "}"
	}
	row := func(name, body string, code wire.Code) badPublish {
		return badPublish{name: name, body: body, status: http.StatusBadRequest, code: code}
	}
	rows := []badPublish{
		row("empty", "", "empty_body"),
		row("white space", " \r\n\t", "empty_body"),
		row("open brace", "{", "invalid_json"),
		row("truncated string", `{"topic":"a/b","payload":"`+canary, "invalid_json"),
		row("missing comma", `{"topic":"a/b" "payload":"`+canary+`"}`, "invalid_json"),
		row("trailing comma", `{"topic":"a/b",}`, "invalid_json"),
		row("single quotes", `{'topic':'`+canary+`'}`, "invalid_json"),
		row("comment", `{/*`+canary+`*/}`, "invalid_json"),
		row("byte order mark", "\xef\xbb\xbf"+valid, "invalid_json"),
		row("leading zero", `{"topic":"a/b","payload":1,"qos":01}`, "invalid_json"),
		row("NaN", `{"topic":"a/b","payload":NaN}`, "invalid_json"),
		row("raw control character", "{\"topic\":\"a/b\",\"payload\":\"\x01\"}", "invalid_json"),
		row("unknown escape", `{"topic":"a/b","payload":"\x41"}`, "invalid_json"),
		row("name without value", `{"topic"}`, "invalid_json"),
		row("array of pairs", `["topic","a/b","payload","`+canary+`"}`, "invalid_json"),
		row("value before the object", `1 `+valid, "invalid_json"),
		row("array before the object", `[1,2]`+valid, "invalid_json"),
		row("second object", valid+"{}", "trailing_data"),
		row("garbage behind", valid+canary, "trailing_data"),
		row("bracket behind", valid+"]", "trailing_data"),
		row("NUL behind", valid+"\x00", "trailing_data"),
		row("null", "null", "not_an_object"),
		row("array", `["`+canary+`"]`, "not_an_object"),
		row("string", `"`+canary+`"`, "not_an_object"),
		row("number", "1", "not_an_object"),
		row("true", "true", "not_an_object"),
		row("key twice", `{"topic":"a/b","topic":"a/c","payload":1}`, "duplicate_key"),
		row("key twice, once escaped", `{"topic":"a/b","\u0074opic":"a/c","payload":1}`, "duplicate_key"),
		row("key twice in the payload", `{"topic":"a/b","payload":{"x":1,"x":2}}`, "duplicate_key"),
		row("wrong case", `{"Topic":"a/b","payload":1}`, "unknown_field"),
		row("wrong case beside right", `{"topic":"a/b","payload":1,"QOS":2}`, "unknown_field"),
		row("unknown field", `{"topic":"a/b","payload":1,"expires":1}`, "unknown_field"),
		row("payload_base64", `{"topic":"a/b","payload_base64":"YQ=="}`, "unknown_field"),
		row("two payloads", `{"topic":"a/b","payload":"a","payload_base64":"YQ=="}`, "unknown_field"),
		row("look-alike key", `{"tоpic":"a/b","payload":1}`, "unknown_field"), // Cyrillic о
		row("65 levels", nest("[", "]", 64), "too_deep"),
		row("10001 arrays", nest("[", "]", 10_001), "too_deep"),
		row("10001 objects", nest(`{"a":`, "}", 10_001), "too_deep"),
		row("200000 opening brackets", strings.Repeat("[", 200_000), "too_deep"),
		row("raw byte 0xff", "{\"topic\":\"a/b\",\"payload\":\"\xff\"}", "invalid_utf8"),
		row("overlong slash", "{\"topic\":\"a\xc0\xafb\",\"payload\":\"\"}", "invalid_utf8"),
		row("raw surrogate", "{\"topic\":\"a/b\",\"payload\":\"\xed\xa0\x80\"}", "invalid_utf8"),
	}
	g.refuses(t, rows)
}

func TestPublishRefusesWrongFields(t *testing.T) {
	g := startRig(t)
	row := func(name, fields string, code wire.Code) badPublish {
		return badPublish{name: name, body: "{" + fields + "}", status: http.StatusUnprocessableEntity, code: code}
	}
	const ok = `"topic":"a/b","payload":"` + canary + `",`
	rows := []badPublish{
		row("no topic", `"payload":"`+canary+`"`, "topic_required"),
		row("empty topic", `"topic":"","payload":1`, "topic_required"),
		row("topic null", `"topic":null,"payload":1`, "invalid_topic"),
		row("topic number", `"topic":7,"payload":1`, "invalid_topic"),
		row("topic array", `"topic":["`+canary+`"],"payload":1`, "invalid_topic"),
		row("no payload", `"topic":"a/b"`, "payload_required"),
		row("half a surrogate pair", `"topic":"a/b","payload":"\ud800"`, "invalid_unicode"),
		row("the other half", `"topic":"a/b","payload":"\udc00x"`, "invalid_unicode"),
		row("two first halves", `"topic":"a/b","payload":"\ud800\ud800"`, "invalid_unicode"),
		row("half a pair in a payload object", `"topic":"a/b","payload":{"k":["\udfff"]}`, "invalid_unicode"),
		row("half a pair in a name", `"topic":"a/b","payload":{"\ud800":1}`, "invalid_unicode"),
		row("half a pair in the topic", `"topic":"\ud800","payload":1`, "invalid_unicode"),
		row("encoding null", ok+`"encoding":null`, "invalid_encoding"),
		row("encoding empty", ok+`"encoding":""`, "invalid_encoding"),
		row("encoding hex", ok+`"encoding":"hex"`, "invalid_encoding"),
		row("encoding Base64", ok+`"encoding":"Base64"`, "invalid_encoding"),
		row("text that is a number", `"topic":"a/b","payload":1,"encoding":"text"`, "invalid_payload"),
		row("base64 that is an object", `"topic":"a/b","payload":{},"encoding":"base64"`, "invalid_payload"),
		row("retain and empty", `"topic":"a/b","payload":"","retain":true`, "would_clear_retained"),
		row("retain and empty base64", `"topic":"a/b","payload":"","encoding":"base64","retain":true`, "would_clear_retained"),
	}
	for _, qos := range []string{"3", "-1", "-0", "1.5", "1.0", "1e0", "1e400", `"1"`, "true", "null", "[1]", "{}"} {
		rows = append(rows, row("qos "+qos, ok+`"qos":`+qos, "invalid_qos"))
	}
	for _, retain := range []string{`"yes"`, `"true"`, "1", "0", "null", "[true]"} {
		rows = append(rows, row("retain "+retain, ok+`"retain":`+retain, "invalid_retain"))
	}
	for name, text := range map[string]string{
		"no padding": "YQ", "url-safe": "_-8=", "line break": `YQ\n==`, "space": "Y Q==", "other text": "c4n4ry!",
		"padding inside": "YQ==YQ==", "loose bits": "YR==", "excess padding": "YWJj====",
	} {
		rows = append(rows, row("base64 with "+name, `"topic":"a/b","encoding":"base64","payload":"`+text+`"`, "invalid_base64"))
	}
	g.refuses(t, rows)
}

func TestPublishRefusesOtherMediaTypes(t *testing.T) {
	g := startRig(t)
	for _, contentType := range []string{
		"", "Content-Type:", "Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded",
		"Content-Type: multipart/form-data; boundary=x", "Content-Type: application/jsonp", "Content-Type: application/vnd.api+json",
		"Content-Type: text/plain; application/json", "Content-Type: application/json; charset=utf-16",
		"Content-Type: application/json; charset=latin1", "Content-Type: application/json, text/plain", "Content-Type: */*",
	} {
		t.Run(contentType, func(t *testing.T) {
			var headers []string
			if contentType != "" {
				headers = append(headers, contentType)
			}
			exchange(t, g.public, request("POST", "/publish", valid, headers...)).wantProblem(t, 415, "unsupported_media_type")
		})
	}
	for _, encoding := range []string{"br", "deflate", "deflate, gzip", canary} {
		a := exchange(t, g.public, publishRequest("\x1f\x8b\x08"+canary, "Content-Encoding: "+encoding))
		a.wantProblem(t, 415, "unsupported_encoding")
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

func TestPublishRefusesQueryParameters(t *testing.T) {
	g := startRig(t)
	for _, query := range []string{"?qos=1", "?topic=a/b", "?", "?tokens=" + canary, "?%zz", "?a;b", "?%00=1"} {
		a := exchange(t, g.public, request("POST", "/publish"+query, valid, "Content-Type: application/json"))
		if query == "?" {
			if a.status != http.StatusOK {
				t.Errorf("an empty query: got %d, want 200", a.status)
			}
			continue
		}
		a.wantProblem(t, http.StatusBadRequest, "unknown_parameter")
	}
	g.wantPublishes(t, 1)
}

func TestPublishTakesPayloadsUpToTheLimitOnly(t *testing.T) {
	const limit = 1000
	g := startRig(t, func(o *Options) { o.MaxPayload = limit })
	for name, payload := range map[string]func(n int) string{
		"text":         func(n int) string { return `"` + strings.Repeat("x", n) + `"` },
		"escaped text": func(n int) string { return `"` + strings.Repeat(`\u0000`, n) + `"` },
		"json":         func(n int) string { return strings.Repeat("7", n) },
		"base64": func(n int) string {
			return fmt.Sprintf(`%q,"encoding":"base64"`, base64.StdEncoding.EncodeToString(make([]byte, n)))
		},
	} {
		before := len(g.published())
		a := exchange(t, g.public, publishRequest(`{"topic":"a/b","payload":`+payload(limit)+`}`))
		if a.status != http.StatusOK || len(g.published()) != before+1 {
			t.Errorf("%s of the limit: got %d %s, want 200", name, a.status, a.body)
		}
		exchange(t, g.public, publishRequest(`{"topic":"a/b","payload":`+payload(limit+1)+`}`)).wantProblem(t, 413, "payload_too_large")
		g.wantPublishes(t, before+1)
	}
}

func TestPublishIsLossless(t *testing.T) {
	g := startRig(t)
	rows := []struct{ fields, want string }{
		{`"payload":"on"`, "on"},
		{`"payload":""`, ""},
		{`"payload":"on","encoding":"json"`, `"on"`},
		{`"payload":{"a" : 21.50}`, `{"a" : 21.50}`},
		{`"payload":1E400`, `1E400`},
		{`"payload":null`, `null`},
		{`"payload":"\u0000\ud83d\ude00\u2028"`, "\x00😀\u2028"},
		{`"payload":"//4=","encoding":"base64"`, "\xff\xfe"},
		{`"payload":"//4=","encoding":"text"`, "//4="},
	}
	for i, row := range rows {
		a := exchange(t, g.public, publishRequest(`{"topic":"a/b",`+row.fields+`}`))
		if a.status != http.StatusOK {
			t.Fatalf("%s: got %d %s, want 200", row.fields, a.status, a.body)
		}
		if got, want := g.published()[i], "a/b "+row.want+" 1 false"; got != want {
			t.Errorf("%s: got %q, want %q", row.fields, got, want)
		}
	}
}

func TestUnknownFieldsAreNotListedWithoutEnd(t *testing.T) {
	g := startRig(t)
	var b strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&b, `"field%d":0,`, i)
	}
	a := exchange(t, g.public, publishRequest(`{`+b.String()+`"topic":"a/b","payload":1}`))
	a.wantProblem(t, http.StatusBadRequest, "unknown_field")
	var q strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&q, "&p%d", i)
	}
	a = exchange(t, g.public, request("POST", "/publish?"+q.String()[1:], valid, "Content-Type: application/json"))
	a.wantProblem(t, http.StatusBadRequest, "unknown_parameter")
}
