package test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/vulturepi/gateway/wire"
)

// request is one HTTP request of a test.
type request struct {
	name         string // for messages
	method, path string // path with its query
	header       map[string]string
	host         string
	body         string
	chunked      bool // the length is not announced
}

// answer is an HTTP answer, read.
type answer struct {
	status  int
	header  http.Header
	body    string
	problem wire.Problem // set if the body is one
}

var jsonHeader = map[string]string{"Content-Type": "application/json"}

// with is a copy of base with one more header.
func with(base map[string]string, name, value string) map[string]string {
	h := maps.Clone(base)
	if h == nil {
		h = map[string]string{}
	}
	h[name] = value
	return h
}

// newClient makes a client that follows no redirect and shares its connections
// with no other test.
func newClient(connections int) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, ResponseHeaderTimeout: patience},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       2 * patience,
	}
}

// do sends r and reads the answer.
func (g *gateway) do(r request) answer {
	g.t.Helper()
	a, err := g.try(g.client, r)
	if err != nil {
		g.t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return a
}

// try is do for other goroutines than the test's, and other clients.
func (g *gateway) try(client *http.Client, r request) (answer, error) {
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
		if r.chunked {
			body = io.MultiReader(body) // hides the length
		}
	}
	req, err := http.NewRequest(r.method, g.url+r.path, body)
	if err != nil {
		return answer{}, err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.host != "" {
		req.Host = r.host
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return answer{status: res.StatusCode, header: res.Header}, nil
	}
	a, err := read(res)
	if a.status >= http.StatusBadRequest {
		sealed(g.t, r.method+" "+r.path, fmt.Sprint(a.header, a.body))
	}
	return a, err
}

// read reads an answer to its end.
func read(res *http.Response) (answer, error) {
	b, err := io.ReadAll(res.Body)
	a := answer{status: res.StatusCode, header: res.Header, body: string(b)}
	if err == nil && len(b) > 0 && res.Header.Get("Content-Type") == "application/problem+json" {
		err = json.Unmarshal(b, &a.problem)
	}
	return a, err
}

// mustSend makes a request whose headers are lines, and reads the answer.
func (g *gateway) mustSend(method, path string, body []byte, headers ...string) answer {
	g.t.Helper()
	return g.do(requestOf(method, path, body, headers...))
}

func requestOf(method, path string, body []byte, headers ...string) request {
	r := request{method: method, path: path, body: string(body)}
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			r.header = with(r.header, name, value)
		}
	}
	return r
}

// get reads what is at an address, whatever its status.
func (g *gateway) get(address string) string {
	g.t.Helper()
	res, err := g.client.Get(address)
	if err != nil {
		g.t.Fatalf("GET %s: %v", address, err)
	}
	defer res.Body.Close()
	a, err := read(res)
	if err != nil {
		g.t.Fatalf("GET %s: %v", address, err)
	}
	return a.body
}

// post publishes body as JSON.
func (g *gateway) post(body string) answer {
	g.t.Helper()
	return g.do(post("", body))
}

func (g *gateway) tryPost(body string) (answer, error) { return g.try(g.client, post("", body)) }

// post is a POST /publish.
func post(name, body string) request {
	return request{name: name, method: "POST", path: "/publish", header: jsonHeader, body: body}
}

// topicPath is where a topic is a resource.
func topicPath(prefix, topic string) string {
	return prefix + strings.ReplaceAll(url.PathEscape(topic), "%2F", "/")
}

// upgrade is the header of a WebSocket handshake.
var upgrade = map[string]string{
	"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

// handshake is a GET /ws with the header of an upgrade.
func handshake(name, query string) request {
	return request{name: name, method: "GET", path: "/ws" + query, header: upgrade}
}
