package test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/spectest"
)

// exampleRequests puts the examples of an operation's parameters and of its
// body together by their names: one request for each name.
func (a *answers) exampleRequests(t *testing.T, op spectest.Operation) []request {
	t.Helper()
	names := map[string]bool{}
	parameters, bodies := op.Parameters(t), map[string][]spectest.Example{}
	for _, p := range parameters {
		list, _ := p["examples"].(map[string]any)
		for name := range list {
			names[name] = true
		}
	}
	for media := range a.doc.Object(op.Pointer + "/requestBody/content") {
		bodies[media] = a.doc.Examples(op.Pointer + "/requestBody/content/" + strings.ReplaceAll(media, "/", "~1"))
		for _, e := range bodies[media] {
			names[e.Name] = true
		}
	}
	var all []request
	for _, name := range spectest.Keys(names) {
		r := request{name: name, method: op.Method, path: op.Path}
		query := url.Values{}
		for _, p := range parameters {
			value, ok := spectest.ExampleOf(p, name)
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

// fill takes the body that has the request's name, or else any.
func (r *request) fill(t *testing.T, bodies map[string][]spectest.Example) {
	t.Helper()
	for _, media := range spectest.Keys(bodies) {
		for _, e := range bodies[media] {
			if e.Name != r.name && r.body != "" {
				continue
			}
			r.header = with(r.header, "Content-Type", media)
			if text, ok := e.Value.(string); ok && media != "application/json" {
				r.body = text
			} else {
				r.body = string(spectest.Encode(t, e.Value))
			}
			if e.Name == r.name {
				return
			}
		}
	}
}

// A request example is answered with the response example of the same name,
// and what the broker gets is what the example says.
func TestRequestExamplesGetTheirAnswers(t *testing.T) {
	t.Parallel()
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
		"POST /publish mqtt5":              {{"pi/3/status", `{"state":"ok"}`, 1, false}},
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
	g := play(t)
	g.past()
	g.battery()
	g.led()
	g.lamp("pi/3/led/set", "pi/3/led")
	for _, op := range a.doc.Operations(t) {
		if op.Path == "/ws" || op.Path == "/events" {
			continue // their streams have tests of their own
		}
		key := op.Method + " " + op.Path
		for _, r := range a.exampleRequests(t, op) {
			before := len(g.publisher.all())
			got := g.do(r)
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
		t.Errorf("openapi.yaml has no examples for %v", spectest.Keys(published))
	}
}

// heard is the answer as an example of it would say it.
func (a *answers) heard(t *testing.T, got answer) string {
	t.Helper()
	media, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	if spectest.IsStream(media) {
		return media + " " + spectest.Steady(t, spectest.Objects(t, media, got.body))
	}
	return media + " " + spectest.Steady(t, spectest.Decode[any](t, got.body))
}

// documented is the response example of that name, with its status and type.
// A name stands for one answer, where a request has it.
func (a *answers) documented(t *testing.T, op spectest.Operation, name string) (string, bool) {
	t.Helper()
	for _, status := range op.Statuses() {
		pointer, _ := op.Response(status)
		for _, media := range spectest.Keys(a.doc.Object(pointer + "/content")) {
			for _, e := range a.doc.Examples(pointer + "/content/" + strings.ReplaceAll(media, "/", "~1")) {
				if e.Name == name {
					return status + " " + says(t, e, media), true
				}
			}
		}
	}
	return "", false
}
