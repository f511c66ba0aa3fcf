package api

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	spec "github.com/vulturepi/gateway/api"
)

//go:embed page/frames.html
var framesText string

var framesPage = template.Must(template.New("frames").Parse(framesText))

// getFrames is the WebSocket's reference: asyncapi.yaml as a page.
func (s *Server) getFrames(w http.ResponseWriter, r *http.Request) {
	data := frames()
	data.Root = rootOf(r)
	s.writeDocs(w, r, "docs/websocket", "WebSocket", framesPage, data)
}

type (
	framesData struct {
		Root  string
		Sides []framesSide
		About template.HTML
	}
	framesSide struct {
		Title  string
		Frames []frameData
	}
	frameData struct {
		Name                 string
		Summary, Description template.HTML
		Fields               []fieldData
		Examples             []exampleData
	}
	fieldData struct {
		Name, Type  string
		Required    bool
		Description template.HTML
	}
	exampleData struct {
		Summary template.HTML
		Text    string
	}
)

// frames reads asyncapi.yaml, which is embedded and tested, so it is in order.
var frames = sync.OnceValue(func() framesData {
	var root yaml.Node
	if err := yaml.Unmarshal(spec.AsyncAPI, &root); err != nil {
		panic(err)
	}
	doc := document{root.Content[0]}
	client, gateway := framesSide{Title: "From the client"}, framesSide{Title: "From the gateway"}
	for _, message := range entries(doc.at(doc.top, "components", "messages")) {
		f := doc.frame(message)
		if slices.ContainsFunc(f.Fields, func(f fieldData) bool { return f.Name == "op" }) {
			client.Frames = append(client.Frames, f)
		} else {
			gateway.Frames = append(gateway.Frames, f)
		}
	}
	return framesData{Sides: []framesSide{client, gateway}, About: markdown(valueOf(doc.at(doc.top, "info", "description")))}
})

// document is a YAML document whose references are followed.
type document struct{ top *yaml.Node }

type entry struct {
	name  string
	value *yaml.Node
}

// entries are the members of an object, in their order.
func entries(n *yaml.Node) []entry {
	var all []entry
	for i := 0; n != nil && i+1 < len(n.Content); i += 2 {
		all = append(all, entry{n.Content[i].Value, n.Content[i+1]})
	}
	return all
}

// at is what is at a path below n; nil if nothing is.
func (d document) at(n *yaml.Node, path ...string) *yaml.Node {
	for _, name := range path {
		if n = d.member(n, name); n == nil {
			return nil
		}
	}
	return n
}

func (d document) member(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for _, e := range entries(n) {
		if e.name == name {
			return d.follow(e.value)
		}
	}
	return nil
}

// follow is n, or what it refers to.
func (d document) follow(n *yaml.Node) *yaml.Node {
	for _, e := range entries(n) {
		if path, ok := strings.CutPrefix(e.value.Value, "#/"); ok && e.name == "$ref" {
			return d.at(d.top, strings.Split(path, "/")...)
		}
	}
	return n
}

func valueOf(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

func (d document) frame(message entry) frameData {
	m, payload := d.follow(message.value), d.at(message.value, "payload")
	f := frameData{Name: message.name, Summary: markdown(valueOf(d.at(m, "summary"))), Description: markdown(valueOf(d.at(m, "description")))}
	if f.Description == "" {
		f.Description = markdown(valueOf(d.at(payload, "description")))
	}
	var required []string
	if n := d.at(payload, "required"); n != nil {
		_ = n.Decode(&required)
	}
	for _, e := range entries(d.at(payload, "properties")) {
		schema := d.follow(e.value)
		f.Fields = append(f.Fields, fieldData{e.name, d.typeOf(schema), slices.Contains(required, e.name), markdown(valueOf(d.at(schema, "description")))})
	}
	if examples := d.at(m, "examples"); examples != nil {
		for _, x := range examples.Content {
			f.Examples = append(f.Examples, exampleData{markdown(valueOf(d.at(x, "summary"))), d.json(d.at(x, "payload"))})
		}
	}
	return f
}

// typeOf says in a few words what a schema takes.
func (d document) typeOf(schema *yaml.Node) string {
	if c := d.at(schema, "const"); c != nil {
		return d.json(c)
	}
	if list := d.at(schema, "enum"); list != nil {
		var all []string
		for _, n := range list.Content {
			all = append(all, d.json(n))
		}
		return strings.Join(all, " | ")
	}
	for _, name := range []string{"allOf", "oneOf", "anyOf"} {
		list := d.at(schema, name)
		if list == nil {
			continue
		}
		var all []string
		for _, n := range list.Content {
			if t := d.typeOf(d.follow(n)); t != "" && !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
		return strings.Join(all, " | ")
	}
	t := d.at(schema, "type")
	switch {
	case t == nil:
		return ""
	case t.Kind == yaml.SequenceNode:
		var all []string
		_ = t.Decode(&all)
		return strings.Join(all, " | ")
	case t.Value == "array":
		return "array of " + d.typeOf(d.at(schema, "items"))
	}
	return t.Value
}

// json is a value as it stands in a frame, its members in their order.
func (d document) json(n *yaml.Node) string {
	var parts []string
	switch {
	case n == nil:
		return ""
	case n.Kind == yaml.MappingNode:
		for _, e := range entries(n) {
			parts = append(parts, quoted(e.name)+":"+d.json(e.value))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case n.Kind == yaml.SequenceNode:
		for _, child := range n.Content {
			parts = append(parts, d.json(child))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case n.Tag == "!!str" || n.Tag == "!!timestamp":
		return quoted(n.Value)
	}
	return n.Value
}

func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}
