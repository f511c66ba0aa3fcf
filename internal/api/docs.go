package api

import (
	"bytes"
	"html/template"
	"io"
	"net/http"
	"strings"

	"github.com/swaggest/swgui/v5emb"

	spec "github.com/vulturepi/gateway/api"
	"github.com/vulturepi/gateway/wire"
)

func (s *Server) getOpenAPI(w http.ResponseWriter, _ *http.Request) { writeYAML(w, spec.OpenAPI) }

func (s *Server) getAsyncAPI(w http.ResponseWriter, _ *http.Request) { writeYAML(w, spec.AsyncAPI) }

func writeYAML(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/yaml") // RFC 9512
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(body)
}

// docsReader is Swagger UI with all its assets embedded: LANs are offline.
var docsReader = v5emb.New("Vulture Gateway", "/openapi.yaml", "/docs/")

func (s *Server) getDocs(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy",
		"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'")
	switch strings.TrimSuffix(r.URL.Path, "/") {
	case "/docs":
		s.writeDocsPage(w, r)
		return
	case "/docs/docs.css":
		writeDocsStyle(w)
		return
	}
	docsReader.ServeHTTP(&missing{ResponseWriter: w}, r)
}

// writeDocsPage writes the reader's page with links that are relative to the
// path it was asked for at, because the gateway may be below another one.
func (s *Server) writeDocsPage(w http.ResponseWriter, r *http.Request) {
	page := &recorded{header: http.Header{}}
	asked := r.Clone(r.Context())
	asked.Method, asked.URL.Path, asked.Header = http.MethodGet, "/docs/", http.Header{}
	docsReader.ServeHTTP(page, asked)
	root := rootOf(r)
	// The page puts it behind its own path, and a slash.
	text := strings.ReplaceAll(page.body.String(), `"/openapi.yaml"`, `"../openapi.yaml"`)
	text = strings.ReplaceAll(text, `"/docs/`, `"`+root+`docs/`)
	text = strings.Replace(text, "</head>", `<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="`+root+`docs/docs.css"></head>`, 1)
	text = strings.Replace(text, "<body>", "<body>"+s.docsLinks(root, "docs"), 1)
	w.Header().Set("Content-Type", page.header.Get("Content-Type"))
	_, _ = io.WriteString(w, text)
}

// recorded is an answer in memory.
type recorded struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) Write(p []byte) (int, error) { return r.body.Write(p) }
func (*recorded) WriteHeader(int)               {}

// missing answers in our words when the reader has no such file.
type missing struct {
	http.ResponseWriter
	answered bool
}

func (m *missing) WriteHeader(status int) {
	if status == http.StatusNotFound {
		m.answered = true
		writeProblem(m.ResponseWriter, problem(wire.CodeNotFound, "There is nothing at this path."))
		return
	}
	m.ResponseWriter.WriteHeader(status)
}

func (m *missing) Write(p []byte) (int, error) {
	if m.answered {
		return len(p), nil
	}
	return m.ResponseWriter.Write(p)
}

var errorsPage = template.Must(template.New("errors").Parse(`<h1>Errors</h1>
<p>Every error is <code>application/problem+json</code> (RFC 9457). Its <code>code</code> is stable; these are all there are.</p>
{{range .}}<h2 id="{{.Code}}">{{.Code}}</h2><p><small>{{.Status}} {{.Title}}{{if .Retryable}} · the same request may work later{{end}}</small></p><p>{{.Meaning}}</p>
{{end}}`))

// getErrors is the page that a problem's type links to.
func (s *Server) getErrors(w http.ResponseWriter, r *http.Request) {
	type row struct {
		Code, Title, Meaning string
		Status               int
		Retryable            bool
	}
	rows := make([]row, 0, len(kinds))
	for _, k := range kinds {
		rows = append(rows, row{string(k.code), k.title, strings.ReplaceAll(k.meaning, "`", ""), k.status, k.retryable})
	}
	s.writeDocs(w, r, "docs/errors", "errors", errorsPage, rows)
}
