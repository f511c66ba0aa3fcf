package spec_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	spec "github.com/vulturepi/gateway/api"
	"github.com/vulturepi/gateway/wire"
)

// frames are the structs of package wire that the gateway sends, by type.
var frames = map[string]any{
	"welcome":      wire.Welcome{},
	"ack":          wire.Ack{},
	"published":    wire.Published{},
	"reply":        wire.Reply{},
	"message":      wire.Message{},
	"gap":          wire.Gap{},
	"snapshot_end": wire.SnapshotEnd{},
	"broker":       wire.Broker{},
	"error":        wire.ErrorFrame{},
	"pong":         wire.Pong{},
}

// parts are the structs inside of frames, by schema.
var parts = map[string]any{
	"Limits":     wire.Limits{},
	"Result":     wire.Result{},
	"Problem":    wire.Problem{},
	"FieldError": wire.FieldError{},
}

// ops are the messages of the client.
var ops = []string{wire.OpSubscribe, wire.OpUnsubscribe, wire.OpPublish, wire.OpRequest, wire.OpPing}

// constants are the values of the string constants of ../wire/fields.go whose
// names begin with prefix.
func constants(t *testing.T, prefix string) (all []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "../wire/fields.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, prefix) {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatalf("%s: %v", spec.Names[0].Name, err)
			}
			all = append(all, value)
		}
		return true
	})
	slices.Sort(all)
	return all
}

func TestOpsAndTypesAreThoseOfPackageWire(t *testing.T) {
	want := slices.Clone(ops)
	slices.Sort(want)
	if got := constants(t, "Op"); !slices.Equal(got, want) {
		t.Errorf("package wire has the ops %v, want %v", got, want)
	}
	want = keys(frames)
	slices.Sort(want)
	if got := constants(t, "Type"); !slices.Equal(got, want) {
		t.Errorf("package wire has the types %v, want those of the frames, %v", got, want)
	}
}

func TestAsyncAPIStructure(t *testing.T) {
	d := asyncAPI(t)
	if got := d.at(t, "/asyncapi"); got != "3.0.0" {
		t.Errorf("got asyncapi %v, want 3.0.0", got)
	}
	for _, pointer := range []string{"/info/title", "/info/version", "/info/description", "/channels/gateway/bindings/ws/query"} {
		d.at(t, pointer)
	}
	if got := d.at(t, "/channels/gateway/address"); got != "/ws" {
		t.Errorf("got address %v, want /ws", got)
	}
	want := append(keys(frames), ops...)
	slices.Sort(want)
	for _, pointer := range []string{"/components/messages", "/channels/gateway/messages"} {
		if got := keys(d.object(pointer)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", pointer, got, want)
		}
	}
	inOperation := map[string]string{} // message to action
	for name, v := range d.object("/operations") {
		op := v.(map[string]any)
		for _, m := range op["messages"].([]any) {
			ref := m.(map[string]any)["$ref"].(string)
			inOperation[ref[strings.LastIndexByte(ref, '/')+1:]] = op["action"].(string)
		}
		if reply := d.object("/operations/" + name + "/reply"); reply != nil {
			for _, m := range reply["messages"].([]any) {
				ref := m.(map[string]any)["$ref"].(string)
				inOperation[ref[strings.LastIndexByte(ref, '/')+1:]] = "send"
			}
		}
	}
	for _, name := range want {
		action := "send"
		if slices.Contains(ops, name) {
			action = "receive"
		}
		if inOperation[name] != action {
			t.Errorf("message %s: got action %q, want %q", name, inOperation[name], action)
		}
	}
}

func (d *document) messageSchema(name string) string {
	return "/components/messages/" + name + "/payload"
}

func TestAsyncAPIExamplesMatchTheirSchemas(t *testing.T) {
	d := asyncAPI(t)
	for _, name := range keys(d.object("/components/messages")) {
		list := d.frameExamples(name)
		if len(list) == 0 {
			t.Errorf("message %s has no example", name)
		}
		for _, e := range list {
			if err := d.validate(d.messageSchema(name), encode(t, e.value)); err != nil {
				t.Errorf("%s, example %s: %v", name, e.name, err)
			}
		}
	}
	for name, v := range d.object("/components/schemas") {
		list, _ := v.(map[string]any)["examples"].([]any)
		for i, e := range list {
			if err := d.validate("/components/schemas/"+name, encode(t, e)); err != nil {
				t.Errorf("schema %s, example %d: %v", name, i, err)
			}
		}
	}
}

// frameExamples are the named examples of a message.
func (d *document) frameExamples(message string) []example {
	list, _ := d.object("/components/messages/" + message)["examples"].([]any)
	var all []example
	for _, v := range list {
		e := v.(map[string]any)
		all = append(all, example{name: e["name"].(string), value: e["payload"]})
	}
	return all
}

// schemaOf is the schema of a message, behind its $ref.
func (d *document) schemaOf(t *testing.T, message string) map[string]any {
	t.Helper()
	ref := d.at(t, d.messageSchema(message)+"/$ref").(string)
	return d.at(t, strings.TrimPrefix(ref, "#")).(map[string]any)
}

func TestFramesHaveTheFieldsOfPackageWire(t *testing.T) {
	d := asyncAPI(t)
	for name, frame := range frames {
		compareFields(t, name, d.schemaOf(t, name), reflect.TypeOf(frame))
	}
	for name, part := range parts {
		compareFields(t, name, d.object("/components/schemas/"+name), reflect.TypeOf(part))
	}
	compareFields(t, "PublishResult", openAPI(t).object("/components/schemas/PublishResult"), reflect.TypeOf(wire.PublishResult{}))
	compareBatchResult(t)
	compareFields(t, "Health", openAPI(t).object("/components/schemas/Health"), reflect.TypeOf(wire.Health{}))

	var all []string
	for _, op := range ops {
		all = append(all, keys(d.schemaOf(t, op)["properties"].(map[string]any))...)
	}
	slices.Sort(all)
	if got, want := slices.Compact(all), constants(t, "Field"); !slices.Equal(got, want) {
		t.Errorf("the ops have fields %v, want those of package wire: %v", got, want)
	}
}

// compareFields holds a schema against a struct: the same names, and required
// is what the struct always encodes.
func compareFields(t *testing.T, name string, schema map[string]any, typ reflect.Type) {
	t.Helper()
	want := jsonFields(typ)
	properties, _ := schema["properties"].(map[string]any)
	if got := keys(properties); !slices.Equal(got, keys(want)) {
		t.Errorf("%s has fields %v, want those of %s: %v", name, got, typ, keys(want))
	}
	var required []string
	list, _ := schema["required"].([]any)
	for _, r := range list {
		required = append(required, r.(string))
	}
	for field, always := range want {
		if got := slices.Contains(required, field); got != always {
			t.Errorf("%s.%s: got required %t, want %t", name, field, got, always)
		}
	}
}

// compareBatchResult holds the schema of a batch's outcome against its struct,
// which has either the fields of a PublishResult or those of a problem.
func compareBatchResult(t *testing.T) {
	t.Helper()
	schema := openAPI(t).object("/components/schemas/BatchResult")
	want := keys(jsonFields(reflect.TypeOf(wire.BatchResult{})))
	if got := keys(schema["properties"].(map[string]any)); !slices.Equal(got, want) {
		t.Errorf("BatchResult has fields %v, want those of wire.BatchResult: %v", got, want)
	}
	no := false
	for name, v := range map[string]any{
		"good outcome": wire.BatchResult{Status: 200, PublishResult: &wire.PublishResult{Topic: "a", QoS: 1, Delivery: "acknowledged"}},
		"bad outcome":  wire.BatchResult{Status: 422, Code: "invalid_qos", Detail: "No.", Retryable: &no},
	} {
		if err := openAPI(t).validate("/components/schemas/BatchResult", encode(t, v)); err != nil {
			t.Errorf("BatchResult, %s: %v", name, err)
		}
	}
	for name, v := range map[string]any{
		"neither": wire.BatchResult{Status: 200},
		"both": wire.BatchResult{
			Status: 200, PublishResult: &wire.PublishResult{Topic: "a", Delivery: "sent"}, Code: "invalid_qos", Detail: "No.", Retryable: &no,
		},
	} {
		if err := openAPI(t).validate("/components/schemas/BatchResult", encode(t, v)); err == nil {
			t.Errorf("BatchResult, %s: the schema takes it", name)
		}
	}
}

// jsonFields are the JSON names of a struct, and whether each is always there.
func jsonFields(typ reflect.Type) map[string]bool {
	all := map[string]bool{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for name, always := range jsonFields(inner) {
				all[name] = always
			}
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all[name] = !strings.Contains(options, "omitempty")
	}
	return all
}

// A frame that is new in package wire must get into the list above, and so
// into the file.
func TestEveryFrameOfPackageWireIsKnown(t *testing.T) {
	known := map[string]bool{"Problem": true} // its type is a link, not a frame's
	for _, frame := range frames {
		known[reflect.TypeOf(frame).Name()] = true
	}
	for _, file := range []string{"frames.go", "message.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), "../wire/"+file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range s.Fields.List {
				if f.Tag != nil && strings.Contains(f.Tag.Value, `json:"type"`) && !known[spec.Name.Name] {
					t.Errorf("wire.%s looks like a frame; add it to asyncapi.yaml and to this test", spec.Name.Name)
				}
			}
			return true
		})
	}
}

func TestGapReasonsAreThoseOfPackageWire(t *testing.T) {
	want := []string{wire.GapHistoryExpired, wire.GapGatewayRestarted, wire.GapBrokerConnectionLost, wire.GapSlowConsumer, wire.GapBrokerOverflow}
	if got := asyncAPI(t).at(t, "/components/schemas/Gap/properties/reason/enum"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got reasons %v, want %v", got, want)
	}
	want = []string{wire.EncodingJSON, wire.EncodingText, wire.EncodingBase64}
	if got := asyncAPI(t).at(t, "/components/schemas/Encoding/enum"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got encodings %v, want %v", got, want)
	}
}

func TestAsyncAPINamesTheSubprotocol(t *testing.T) {
	for name, body := range map[string][]byte{"openapi.yaml": spec.OpenAPI, "asyncapi.yaml": spec.AsyncAPI} {
		if !strings.Contains(string(body), "`"+wire.Subprotocol+"`") {
			t.Errorf("%s does not name the subprotocol %s", name, wire.Subprotocol)
		}
	}
}
