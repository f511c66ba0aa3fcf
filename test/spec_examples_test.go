package spec_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// parameters are those of the operation and of its path, behind their $ref.
func (op operation) parameters(t *testing.T) []map[string]any {
	t.Helper()
	path := "/paths/" + strings.ReplaceAll(op.path, "/", "~1")
	shared, _ := op.doc.object(path)["parameters"].([]any)
	own, _ := op.doc.object(op.pointer)["parameters"].([]any)
	var all []map[string]any
	for _, v := range append(append([]any(nil), shared...), own...) {
		p := v.(map[string]any)
		if ref, ok := p["$ref"].(string); ok {
			p = op.doc.at(t, strings.TrimPrefix(ref, "#")).(map[string]any)
		}
		all = append(all, p)
	}
	return all
}

// exampleRequests puts the examples of an operation's parameters and of its
// body together by their names: one request for each name.
func (a *answers) exampleRequests(t *testing.T, op operation) []request {
	t.Helper()
	names := map[string]bool{}
	parameters, bodies := op.parameters(t), map[string][]example{}
	for _, p := range parameters {
		list, _ := p["examples"].(map[string]any)
		for name := range list {
			names[name] = true
		}
	}
	for media := range a.doc.object(op.pointer + "/requestBody/content") {
		bodies[media] = a.doc.examples(op.pointer + "/requestBody/content/" + strings.ReplaceAll(media, "/", "~1"))
		for _, e := range bodies[media] {
			names[e.name] = true
		}
	}
	var all []request
	for _, name := range keys(names) {
		r := request{name: name, method: op.method, path: op.path}
		query := url.Values{}
		for _, p := range parameters {
			value, ok := exampleOf(p, name)
			if !ok {
				continue
			}
			switch key := p["name"].(string); p["in"] {
			case "path":
				r.path = strings.Replace(r.path, "{"+key+"}", (&url.URL{Path: value}).EscapedPath(), 1)
			case "query":
				query.Set(key, value)
			case "header":
				r.header = with(r.header, key, value)
			}
		}
		if len(query) > 0 {
			r.path += "?" + query.Encode()
		}
		r.fill(t, bodies)
		all = append(all, r)
	}
	return all
}

// exampleOf is the parameter's example of that name; where it must be given,
// any one will do.
func exampleOf(p map[string]any, name string) (string, bool) {
	list, _ := p["examples"].(map[string]any)
	if e, ok := list[name].(map[string]any); ok {
		return fmt.Sprint(e["value"]), true
	}
	if p["required"] != true {
		return "", false
	}
	if e, ok := p["example"]; ok {
		return fmt.Sprint(e), true
	}
	for _, first := range keys(list) {
		return fmt.Sprint(list[first].(map[string]any)["value"]), true
	}
	return "", false
}

// fill takes the body that has the request's name, or else any.
func (r *request) fill(t *testing.T, bodies map[string][]example) {
	t.Helper()
	for _, media := range keys(bodies) {
		for _, e := range bodies[media] {
			if e.name != r.name && r.body != "" {
				continue
			}
			r.header = with(r.header, "Content-Type", media)
			if text, ok := e.value.(string); ok && media != "application/json" {
				r.body = text
			} else {
				r.body = string(encode(t, e.value))
			}
			if e.name == r.name {
				return
			}
		}
	}
}

// A request example is answered with the response example of the same name,
// and what the broker gets is what the example says.
func TestRequestExamplesGetTheirAnswers(t *testing.T) {
	published := map[string][]publication{
		"POST /publish text":               {{"pi/3/led", "on", 1, false}},
		"POST /publish json_number":        {{"pi/3/battery", "21.50", 1, false}},
		"POST /publish json_object":        {{"pi/3/status", `{"state":"ok","temps":[21.5,22]}`, 2, false}},
		"POST /publish json_string":        {{"pi/3/led", `"on"`, 1, false}},
		"POST /publish forced_text":        {{"pi/3/battery", "21.50", 1, false}},
		"POST /publish base64":             {{"pi/3/frame", "\xde\xad\xbe\xef", 1, false}},
		"POST /publish empty":              {{"pi/3/wake", "", 1, false}},
		"POST /publish retained":           {{"pi/3/mode", "eco", 1, true}},
		"POST /publish qos_0":              {{"pi/3/battery", "21.50", 0, false}},
		"POST /publish qos_2":              {{"pi/3/door", "open", 2, false}},
		"POST /publish/batch all_well":     {{"pi/3/led", "on", 1, false}, {"pi/3/battery", "21.50", 0, false}},
		"POST /publish/batch lines":        {{"pi/3/led", "on", 1, false}},
		"POST /publish/batch some_refused": {{"pi/3/led", "on", 1, false}},
		"POST /topics/{topic} number":      {{"pi/3/battery", "21.50", 1, false}},
		"POST /topics/{topic} text":        {{"pi/3/battery", "low", 1, false}},
		"POST /topics/{topic} retained":    {{"pi/3/battery", "21.50", 1, true}},
		"POST /topics/{topic} qos_0":       {{"pi/3/battery", "21.50", 0, false}},
		"PUT /topics/{topic} number":       {{"pi/3/battery", "21.50", 1, true}},
		"PUT /topics/{topic} text":         {{"pi/3/battery", "low", 1, true}},
		"PUT /topics/{topic} qos_0":        {{"pi/3/battery", "21.50", 0, true}},
		"DELETE /topics/{topic} qos_0":     {{"pi/3/battery", "", 0, true}},
		"POST /request/{topic} any_reply":  {{"pi/3/led/set", "on", 1, false}},
		"POST /request/{topic} confirmed":  {{"pi/3/led/set", "on", 1, false}},
		"POST /request/{topic} no_reply":   {{"pi/3/led/set", "on", 1, false}},
		"POST /request/{topic} qos_0":      {{"pi/3/led/set", "on", 0, false}},
	}
	a := newAnswers(t)
	g := start(t)
	g.past()
	g.battery()
	g.led()
	g.lamp("pi/3/led/set", "pi/3/led")
	for _, op := range operations(t, a.doc) {
		if op.path == "/ws" || op.path == "/events" {
			continue // their streams have tests of their own
		}
		key := op.method + " " + op.path
		for _, r := range a.exampleRequests(t, op) {
			before := len(g.publisher.all())
			got := g.do(t, r)
			a.check(t, key, got)
			if want, found := a.documented(t, op, r.name); !found && got.status >= 300 {
				t.Errorf("%s %s: got %d %s, want it to work", key, r.name, got.status, got.body)
			} else if have := fmt.Sprint(got.status, " ", a.heard(t, got)); found && want != have {
				t.Errorf("%s %s: got %s, want %s", key, r.name, have, want)
			}
			want := published[key+" "+r.name]
			delete(published, key+" "+r.name)
			if sent := g.publisher.all()[before:]; !slices.Equal(sent, want) {
				t.Errorf("%s %s: the broker got %+v, want %+v", key, r.name, sent, want)
			}
		}
	}
	if len(published) > 0 {
		t.Errorf("openapi.yaml has no examples for %v", keys(published))
	}
}

// heard is the answer as an example of it would say it.
func (a *answers) heard(t *testing.T, got answer) string {
	t.Helper()
	media, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	if isStream(media) {
		return media + " " + steady(t, objects(t, media, got.body))
	}
	return media + " " + steady(t, decode[any](t, got.body))
}

// documented is the response example of that name, with its status and type.
// A name stands for one answer, where a request has it.
func (a *answers) documented(t *testing.T, op operation, name string) (string, bool) {
	t.Helper()
	for _, status := range op.statuses() {
		pointer, _ := op.response(status)
		for _, media := range keys(a.doc.object(pointer + "/content")) {
			for _, e := range a.doc.examples(pointer + "/content/" + strings.ReplaceAll(media, "/", "~1")) {
				if e.name == name {
					return status + " " + e.says(t, media), true
				}
			}
		}
	}
	return "", false
}
