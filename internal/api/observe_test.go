package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// lastRequest waits for the log line of the request with that id.
func (g *rig) loggedRequest(t testing.TB, id string) map[string]any {
	t.Helper()
	var found map[string]any
	eventuallyTrue(t, "the request "+id+" is in the log", func() bool {
		for _, line := range g.log.lines() {
			var v map[string]any
			if json.Unmarshal([]byte(line), &v) == nil && v["request_id"] == id {
				found = v
				return true
			}
		}
		return false
	})
	return found
}

func TestRequestIDIsTakenOnlyWhenHarmless(t *testing.T) {
	g := startRig(t)
	for _, id := range []string{"a", "A-1.b_2", strings.Repeat("x", 64), "00000000-0000-4000-8000-000000000000"} {
		a := g.get("/nothing", "X-Request-Id: "+id)
		if got := a.header.Get("X-Request-Id"); got != id {
			t.Errorf("got request id %q, want %q as sent", got, id)
		}
		a.wantProblem(t, http.StatusNotFound, "not_found")
		g.loggedRequest(t, id)
	}
	for _, id := range []string{
		"", " ", strings.Repeat("x", 65), strings.Repeat("x", 5000), "a b", "a\tb", `a"b`, "{" + canary + "}", "a;b", "a/b", "a:b", "%0d%0a", "é", "\xff", "a\x80b",
		canary + "\u202e", canary + "\u2028", "<script>", "$(" + canary + ")",
	} {
		a := g.get("/nothing", "X-Request-Id: "+id)
		got := a.header.Get("X-Request-Id")
		if got == id || !validRequestID(got) {
			t.Errorf("got request id %q for %.40q, want one of the gateway's own", got, id)
		}
		a.wantProblem(t, http.StatusNotFound, "not_found")
	}
	first := g.get("/nothing").header.Get("X-Request-Id")
	if second := g.get("/nothing").header.Get("X-Request-Id"); first == second || first == "" {
		t.Errorf("got request ids %q and %q, want two different ones", first, second)
	}
	g.cleanLog(t)
}

// An answer that a panic ends does not look whole: its client sees that it breaks
// off.
func TestPanicBehindTheFirstByteCutsTheAnswer(t *testing.T) {
	part := strings.Repeat("a part", 10_000) // more than is held back
	g := startRig(t, func(o *Options) {
		o.Console = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, part)
			panic("out of order")
		})
	})
	res, err := http.Get("http://" + g.public + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if !strings.HasPrefix(part, string(body)) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d bytes and the error %v, want a part, and that it breaks off", len(body), err)
	}
	g.loggedRequest(t, res.Header.Get("X-Request-Id"))
}

func TestControlCharactersInHeadersAreRefused(t *testing.T) {
	g := startRig(t)
	for _, c := range []string{"\x00", "\x01", "\x1b[31m", "\x7f", "\x0b", "a\rb"} {
		for _, name := range []string{"X-Request-Id", "X-Forwarded-For", "User-Agent", "Origin", "Content-Type"} {
			a := exchange(t, g.public, "POST /publish HTTP/1.1\r\nHost: localhost\r\n"+name+": "+canary+c+"x\r\nContent-Length: 0\r\n\r\n")
			if a.status < 400 || a.status > 499 || strings.Contains(string(a.body), canary) {
				t.Errorf("%s with %q: got %d %s, want a refusal that does not repeat it", name, c, a.status, a.body)
			}
		}
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

// Whatever a request brings, it is one log line that is one JSON object and
// has no text of the client's.
func TestLogTakesNoTextFromClients(t *testing.T) {
	g := startRig(t)
	const break1, ansi = "%0d%0a%7b%22level%22:%22ERROR%22%7d", "%1b%5b31m"
	for _, raw := range []string{
		request("GET", "/"+canary+break1+ansi, ""), request("GET", "/livez?x="+canary+break1, ""), request("GET", "/docs/"+canary+break1+ansi, ""),
		request("GET", "/ws?topic="+canary+break1, "", upgradeHeaders...), request("GET", "/ws?token="+canary, "", upgradeHeaders...),
		request("GET", "/\u2028"+canary+"\u202e", ""), request(canary, "/publish", ""),
		request("GET", "/nothing", "", "User-Agent: "+canary, "Referer: http://"+canary+"/", "Authorization: Bearer "+canary, "Cookie: k="+canary, "X-Api-Key: "+canary),
		request("GET", "/nothing", "", "X-Forwarded-For: "+canary),
		publishRequest(`{"topic":"` + canary + `\n{\"level\":\"ERROR\"}","payload":"` + canary + `"}`),
		publishRequest(valid, "Authorization: Basic "+canary), publishRequest(valid, "Idempotency-Key: "+canary),
		publishRequest(`{"` + canary + `\r\n\u001b[31m":1}`),
	} {
		before := len(g.log.lines())
		exchange(t, g.public, raw)
		eventuallyTrue(t, "the request is logged", func() bool { return len(g.log.lines()) > before })
		if n := len(g.log.lines()) - before; n != 1 {
			t.Errorf("%.60q: got %d log lines, want 1", raw, n)
		}
	}
	g.cleanLog(t)
}

// The log says why a page or a host was refused: with what it said of itself.
func TestLogSaysWhatWasRefused(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedOrigins = listed })
	const crossOrigin, evil, long = `"code":"cross_origin","origin":`, "https://evil.example", 300
	post := func(headers ...string) string { return request("POST", "/publish", "", headers...) }
	for raw, want := range map[string]string{
		post("Origin: " + evil): crossOrigin + `"` + evil + `"`,
		post("Origin: https://app.example", "Origin: https://b.example"):                           crossOrigin + `"https://app.example, https://b.example"`,
		post("Origin: " + strings.Repeat("x", long)):                                               crossOrigin + `"` + strings.Repeat("x", 100) + `"`,
		post("Origin: a\tlevel=ERROR"):                                                             crossOrigin + `"a\tlevel=ERROR"`,
		post("Sec-Fetch-Site: cross-site"):                                                         `"code":"cross_origin","sec_fetch_site":"cross-site"`,
		"GET /topics HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                       `"code":"host_not_allowed","host":"evil.example"`,
		"GET /topics HTTP/1.1\r\nHost: a:b\r\n\r\n":                                                `"code":"invalid_host","host":"a:b"`,
		request("OPTIONS", "/publish", "", "Origin: "+evil, "Access-Control-Request-Method: POST"): `"code":"method_not_allowed","origin":"` + evil + `"`,
	} {
		before := len(g.log.lines())
		exchange(t, g.public, raw)
		eventuallyTrue(t, "the request is logged", func() bool { return len(g.log.lines()) > before })
		if line := strings.TrimSpace(g.log.lines()[before]); !strings.HasSuffix(line, ","+want+"}") {
			t.Errorf("%.60q: got %s, want %s at its end", raw, line, want)
		}
	}
}

func TestForwardedForCountsFromTrustedProxiesOnly(t *testing.T) {
	trust := func(cidrs ...string) func(*Options) {
		return func(o *Options) {
			for _, c := range cidrs {
				o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(c))
			}
		}
	}
	for _, row := range []struct {
		name    string
		trusted []string
		headers []string
		want    string
	}{
		{"nobody trusted", nil, []string{"X-Forwarded-For: 203.0.113.9"}, "127.0.0.1"},
		{"another proxy trusted", []string{"10.0.0.0/8"}, []string{"X-Forwarded-For: 203.0.113.9"}, "127.0.0.1"},
		{"trusted", []string{"127.0.0.0/8"}, []string{"X-Forwarded-For: 203.0.113.9"}, "203.0.113.9"},
		{"trusted, IPv6", []string{"127.0.0.0/8"}, []string{"X-Forwarded-For: 2001:db8::1"}, "2001:db8::1"},
		{"trusted, forged in front", []string{"127.0.0.0/8"}, []string{"X-Forwarded-For: 198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"trusted, forged in a header of its own", []string{"127.0.0.0/8"}, []string{"X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9"}, "203.0.113.9"},
		{"two trusted proxies", []string{"127.0.0.0/8", "10.0.0.0/8"}, []string{"X-Forwarded-For: 203.0.113.9, 10.1.2.3"}, "203.0.113.9"},
		{"trusted, garbage", []string{"127.0.0.0/8"}, []string{"X-Forwarded-For: " + canary}, "127.0.0.1"},
		{"trusted, garbage behind an address", []string{"127.0.0.0/8"}, []string{"X-Forwarded-For: 203.0.113.9, " + canary}, "127.0.0.1"},
		{"trusted, only other headers", []string{"127.0.0.0/8"}, []string{"X-Real-Ip: 203.0.113.9", "True-Client-Ip: 203.0.113.9", "Forwarded: for=203.0.113.9"}, "127.0.0.1"},
		{"trusted, zone with text", []string{"127.0.0.0/8"}, []string{"X-Forwarded-For: fe80::1%" + canary}, "127.0.0.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := startRig(t, trust(row.trusted...))
			g.get("/nothing", append(row.headers, "X-Request-Id: here")...)
			if got := g.loggedRequest(t, "here")["remote"]; got != row.want {
				t.Errorf("got remote %v, want %s", got, row.want)
			}
		})
	}
}
