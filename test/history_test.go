package test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// request sends a request with one Accept header and reads the answer.
func (g *gateway) request(method, path, accept string) answer {
	g.t.Helper()
	return g.mustSend(method, path, nil, "Accept: "+accept)
}

func TestHistoryRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	for _, tt := range []struct {
		query  string
		status int
		code   string
	}{
		{"", 422, "filter_required"}, {"filter=", 422, "filter_required"}, {"filter=a/%23/b", 422, "filter_syntax"}, {"filter=$SYS/%23", 403, "filter_reserved"},
		{"filter=a&filter=b", 400, "invalid_parameter"}, {"filter=a&topic=a", 400, "unknown_parameter"}, {"filter=a&snapshot=true", 400, "unknown_parameter"}, {"filter=a&format=sse", 400, "unknown_parameter"},
		{"filter=a&since=", 400, "invalid_cursor"}, {"filter=a&since=x", 400, "invalid_cursor"}, {"filter=a&since=-1", 400, "invalid_cursor"},
		{"filter=a&since=e-18446744073709551616", 400, "invalid_cursor"}, {"filter=a&since=e-1&since=e-1", 400, "invalid_parameter"},
		{"filter=a&limit=", 400, "invalid_parameter"}, {"filter=a&limit=0", 400, "invalid_parameter"}, {"filter=a&limit=-1", 400, "invalid_parameter"},
		{"filter=a&limit=10001", 400, "invalid_parameter"}, {"filter=a&limit=1.5", 400, "invalid_parameter"}, {"filter=a&limit=1&limit=1", 400, "invalid_parameter"},
	} {
		if a := g.request("GET", "/history?"+tt.query, "*/*"); a.status != tt.status || string(a.problem.Code) != tt.code {
			t.Errorf("?%s: got %d %s, want %d %s", tt.query, a.status, a.body, tt.status, tt.code)
		}
	}
	if a := g.request("POST", "/history?filter=a", "*/*"); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, Allow %q, want 405 and GET, HEAD", a.status, a.header.Get("Allow"))
	}
	if a := g.request("HEAD", "/history?filter=a", "*/*"); a.status != 200 || a.body != "" {
		t.Errorf("HEAD: got %d %q, want 200 and nothing", a.status, a.body)
	}
}

// pages follows rel=next from path and gives cursors and gaps of all pages.
func (g *gateway) pages(path, accept string, limit int) (all []string) {
	g.t.Helper()
	for path != "" {
		a := g.request("GET", path, accept)
		wantType, body := "application/json", a.body
		if accept == "application/x-ndjson" {
			wantType, body = accept, "["+strings.TrimSuffix(strings.ReplaceAll(body, "\n", ","), ",")+"]"
		}
		var objects []frame
		if err := json.Unmarshal([]byte(body), &objects); err != nil || a.header.Get("Content-Type") != wantType || a.header.Get("Cache-Control") != "no-store" {
			g.t.Fatalf("GET %s: got %.200s %q: %v, want %s", path, a.body, a.header, err, wantType)
		}
		messages := 0
		for i, o := range objects {
			if o.Type == "message" {
				messages++
				all = append(all, o.Cursor)
			} else if all = append(all, o.Type+" "+o.Reason+" "+o.After); i > 0 {
				g.t.Errorf("GET %s: object %d is a %s, want it first", path, i, o.Type)
			}
		}
		next, found := strings.CutSuffix(a.header.Get("Link"), `>; rel="next"`)
		if path = strings.TrimPrefix(next, "<"); found != (path != "") || messages > limit || found && messages < limit {
			g.t.Fatalf("got Link %q behind %d messages, the limit is %d", a.header.Get("Link"), messages, limit)
		}
		if found {
			path = "/history" + path // it is query-only
		}
	}
	return all
}

func TestHistoryPagesGiveEverythingOnce(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	s := g.dial("?topic=%23")
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	raw := brokertest.Dial(t, broker.Addr())
	const messages = 30
	for i := range messages {
		if err := raw.Publish([]string{"h/a b&c", "h/é", "other"}[i%3], fmt.Append(nil, i), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]string{}
	for _, m := range s.waitMessages(messages) {
		want[m.Topic] = append(want[m.Topic], m.Cursor)
		want["#"] = append(want["#"], m.Cursor)
	}
	last := want["#"][messages-1]
	for _, accept := range []string{"*/*", "application/x-ndjson"} {
		for _, limit := range []int{1, 7, 10, 30, 31, 10_000} {
			for filter, cursors := range want {
				base := fmt.Sprintf("/history?limit=%d&filter=%s", limit, url.QueryEscape(filter))
				for since, wanted := range map[string][]string{
					"": cursors, "&since=" + cursors[0]: cursors[1:], "&since=" + last: nil,
					"&since=old-5": append([]string{"gap gateway_restarted old-5"}, cursors...),
				} {
					if got := g.pages(base+since, accept, limit); strings.Join(got, ",") != strings.Join(wanted, ",") {
						t.Errorf("%s%s %s: got %q, want %q", base, since, accept, got, wanted)
					}
				}
			}
		}
	}
}
