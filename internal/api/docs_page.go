package api

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
)

// docsStyle is what all pages below /docs wear.
//
//go:embed page/docs.css
var docsStyle []byte

// docsCSP lets a page load what the gateway serves, and nothing else.
const docsCSP = "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'"

// docsPages are the pages that each of them leads to.
var docsPages = []struct{ path, title string }{
	{"", "Console"}, {"docs", "HTTP"}, {"docs/websocket", "WebSocket"}, {"docs/errors", "Errors"}, {"openapi.yaml", "openapi.yaml"}, {"asyncapi.yaml", "asyncapi.yaml"},
}

// docsLinks is the row of links on top of the page at path; root leads from it
// to the gateway's.
func (s *Server) docsLinks(root, path string) string {
	b := []byte(`<nav class="pages" aria-label="Pages">`)
	for _, p := range docsPages {
		if p.path == "" && s.opts.Console == nil {
			continue
		}
		current := ""
		if p.path == path {
			current = ` aria-current="page"`
		}
		b = fmt.Appendf(b, `<a href="%s"%s>%s</a>`, cmp.Or(root+p.path, "./"), current, p.title)
	}
	return string(append(b, "</nav>"...))
}

// writeDocs writes a page whose content is made from a template.
func (s *Server) writeDocs(w http.ResponseWriter, r *http.Request, path, title string, content *template.Template, data any) {
	root := rootOf(r)
	var page bytes.Buffer
	fmt.Fprintf(&page, `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Vulture Gateway: %s</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="%sdocs/docs.css">
%s
<main>
`, title, root, s.docsLinks(root, path))
	_ = content.Execute(&page, data) // a buffer takes all
	page.WriteString("</main>\n</html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", docsCSP)
	_, _ = w.Write(page.Bytes())
}

func writeDocsStyle(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(docsStyle)
}
