package test

import (
	"strings"
	"testing"
)

func arrayBatch(name, body string) request {
	return request{name: name, method: "POST", path: "/publish/batch", header: jsonHeader, body: body}
}

func ndjsonBatch(name, body string) request {
	return request{name: name, method: "POST", path: "/publish/batch", header: map[string]string{"Content-Type": "application/x-ndjson"}, body: body}
}

// batchAnswers are those of POST /publish/batch.
func batchAnswers(t *testing.T, a *answers) {
	const key, one = "POST /publish/batch", `[{"topic":"a","payload":1}]`
	g := play(t)
	changed := func(name, header, value string) request {
		r := arrayBatch(name, one)
		r.header = with(r.header, header, value)
		return r
	}
	asking := func(r request, results string) request {
		r.name += ", results=" + results
		r.path += "?results=" + results
		return r
	}
	var wrong []string
	for _, r := range unprocessable() {
		wrong = append(wrong, r.body)
	}
	for _, r := range []expected{
		{arrayBatch("one", one), 200},
		{arrayBatch("none", `[]`), 200},
		{arrayBatch("every way to be wrong", "["+strings.Join(wrong, ",")+"]"), 207},
		{ndjsonBatch("every way to be wrong", strings.Join(wrong, "\n")), 200},
		{ndjsonBatch("no JSON, and too long", "{\n\n{}\n"+strings.Repeat("x", 6*maxPayload+16<<10+1)), 200},
		{ndjsonBatch("none", ""), 200},
		{asking(ndjsonBatch("two", "{}\n"+one), "errors"), 200},
		{asking(ndjsonBatch("two", "{}\n"+one), "all"), 200},
		{asking(ndjsonBatch("two", "{}\n"+one), "some"), 400},
		{asking(arrayBatch("two", "["+one+"]"), "errors"), 400},
		{arrayBatch("empty", " "), 400},
		{arrayBatch("cut short", `[{"topic":"a"`), 400},
		{arrayBatch("two arrays", `[] []`), 400},
		{arrayBatch("an object", `{"topic":"a","payload":1}`), 400},
		{changed("foreign page", "Origin", foreignOrigin), 403},
		{arrayBatch("too many", "["+strings.Repeat("1,", 10_000)+"1]"), 413},
		{changed("text", "Content-Type", "text/plain"), 415},
		{changed("latin", "Content-Type", "application/json; charset=latin1"), 415},
		{changed("compressed in another way", "Content-Encoding", "br"), 415},
	} {
		got := g.do(r.request)
		if got.status != r.want {
			t.Errorf("%s: got %d %s, want %d", r.name, got.status, got.body, r.want)
		}
		if len(got.body) > 0 {
			a.check(t, key, got)
		}
	}
	for _, r := range a.exampleRequests(t, a.ops[key]) {
		a.check(t, key, g.do(r))
	}
	huge := g.connect(t, arrayBatch("huge", one).text("localhost", 16<<20+1)).answer()
	if huge.status != 413 {
		t.Errorf("huge: got %d %s, want 413", huge.status, huge.body)
	}
	a.check(t, key, huge)
}
