// Package console is the web page of the gateway: a handler for / and the files
// below /console/. The page is plain ES modules; they are joined here, so that
// nothing has to be built and a browser has few files to fetch. It reaches the
// gateway as any other page does, through /sdk.js and the public routes.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

//go:embed page
var page embed.FS

// policy keeps everything out that is not the page's own. What topics and
// payloads hold can never become markup: in browsers that know trusted types,
// even a mistake of the page's would be an error.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

type asset struct {
	body        []byte
	contentType string
}

// Handler serves the page. It may be called concurrently.
type Handler struct {
	base   string // the path that the gateway is below, without a slash at its end
	index  []byte
	tag    string
	assets map[string]asset // by file name, which has the content's hash in it
}

// New joins the page's files. Base is the path that the gateway is below, "" for
// none; the page itself need not know it.
func New(base string) *Handler {
	h := &Handler{base: base, assets: map[string]asset{}}
	index := string(file("index.html"))
	index = strings.Replace(index, "style.css", h.add("style.css", "text/css; charset=utf-8", file("style.css")), 1)
	index = strings.Replace(index, "app.js", h.add("app.js", "text/javascript; charset=utf-8", join()), 1)
	h.index, h.tag = []byte(index), `"`+hash([]byte(index))+`"`
	return h
}

func file(name string) []byte {
	b, err := page.ReadFile("page/" + name)
	if err != nil {
		panic("console: " + err.Error()) // it is embedded
	}
	return b
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// add gives the name under which the content is served for good.
func (h *Handler) add(name, contentType string, body []byte) string {
	ext := path.Ext(name)
	name = strings.TrimSuffix(name, ext) + "." + hash(body) + ext
	h.assets[name] = asset{body, contentType}
	return name
}

// ServeHTTP answers for / and /console/*.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if name, isAsset := strings.CutPrefix(r.URL.Path, "/console/"); isAsset {
		h.asset(w, name)
		return
	}
	header := w.Header()
	header.Add("Vary", "Accept")
	header.Set("Cache-Control", "no-cache")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		header.Set("Content-Type", "text/plain; charset=utf-8")
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		fmt.Fprintf(w, hello, scheme+"://"+r.Host+h.base, h.base)
		return
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", policy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("ETag", h.tag)
	if r.Header.Get("If-None-Match") == h.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(h.index)
}

// hello is what somebody with curl needs first.
const hello = `Vulture Gateway. A browser shows the console at this address, and the reference at %[2]s/docs.
Read all messages:  curl -N '%[1]s/events?topic=%%23'
Publish one:        curl -d on %[1]s/topics/pi/3/led
Read the newest:    curl %[1]s/topics/pi/3/led
`

func (h *Handler) asset(w http.ResponseWriter, name string) {
	a, known := h.assets[name]
	if !known {
		http.Error(w, "There is no such file; reload the page.", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.body)
}

// modules are the page's, each behind those that it imports.
var modules = []string{
	"dom.js", "format.js", "rows.js", "topics.js", "session.js", "login.js", "tree.js",
	"values.js", "diff.js", "chart.js", "topic.js", "stream.js", "publish.js", "devices.js", "main.js",
}

// join makes one module of all: what they import from each other is in the same
// file, so those lines go, and the word export. What they import from elsewhere
// is sdk.js alone, and stands once at the beginning.
func join() []byte {
	var body bytes.Buffer
	fromSDK := map[string]bool{}
	for _, name := range modules {
		for line := range strings.Lines(string(file(name))) {
			names, from, isImport := strings.Cut(strings.TrimPrefix(line, "import {"), "} from ")
			switch {
			case isImport && strings.HasPrefix(from, "'../sdk.js'"):
				for n := range strings.SplitSeq(names, ",") {
					fromSDK[strings.TrimSpace(n)] = true
				}
			case isImport && strings.HasPrefix(line, "import {"):
			default:
				body.WriteString(strings.TrimPrefix(line, "export "))
			}
		}
	}
	head := "import { " + strings.Join(slices.Sorted(maps.Keys(fromSDK)), ", ") + " } from '../sdk.js';\n"
	return append([]byte(head), body.Bytes()...)
}
