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
	"github.com/vulturepi/gateway/internal/spectest"
	"github.com/vulturepi/gateway/wire"
)

const authAck = "auth_ack"

// frames are the structs of package wire that the gateway sends, by type.
var frames = map[string]any{
	"welcome":      wire.Welcome{},
	"ack":          wire.Ack{},
	authAck:        wire.AuthAck{}, // its type is ack
	"published":    wire.Published{},
	"reply":        wire.Reply{},
	"message":      wire.Message{},
	"gap":          wire.Gap{},
	"snapshot_end": wire.SnapshotEnd{},
	"broker":       wire.Broker{},
	"error":        wire.ErrorFrame{},
	"pong":         wire.Pong{},
	"device":       wire.Device{},
	"silent":       wire.Silence{},
	"back":         wire.Silence{},
	"forgotten":    wire.Forgotten{},
}

// parts are the structs inside of frames, by schema.
var parts = map[string]any{
	"Limits":     wire.Limits{},
	"Result":     wire.Result{},
	"Problem":    wire.Problem{},
	"FieldError": wire.FieldError{},
}

// ops are the messages of the client.
var ops = []string{wire.OpSubscribe, wire.OpUnsubscribe, wire.OpPublish, wire.OpRequest, wire.OpPing, wire.OpAuth}

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
	want = slices.DeleteFunc(spectest.Keys(frames), func(name string) bool { return name == authAck })
	slices.Sort(want)
	if got := constants(t, "Type"); !slices.Equal(got, want) {
		t.Errorf("package wire has the types %v, want those of the frames, %v", got, want)
	}
}

func TestAsyncAPIStructure(t *testing.T) {
	d := spectest.AsyncAPI(t)
	if got := d.At(t, "/asyncapi"); got != "3.0.0" {
		t.Errorf("got asyncapi %v, want 3.0.0", got)
	}
	for _, pointer := range []string{"/info/title", "/info/version", "/info/description", "/channels/gateway/bindings/ws/query"} {
		d.At(t, pointer)
	}
	if got := d.At(t, "/channels/gateway/address"); got != "/ws" {
		t.Errorf("got address %v, want /ws", got)
	}
	want := append(spectest.Keys(frames), ops...)
	slices.Sort(want)
	for _, pointer := range []string{"/components/messages", "/channels/gateway/messages"} {
		if got := spectest.Keys(d.Object(pointer)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", pointer, got, want)
		}
	}
	inOperation := map[string]string{} // message to action
	for name, v := range d.Object("/operations") {
		op := v.(map[string]any)
		for _, m := range op["messages"].([]any) {
			ref := m.(map[string]any)["$ref"].(string)
			inOperation[ref[strings.LastIndexByte(ref, '/')+1:]] = op["action"].(string)
		}
		if reply := d.Object("/operations/" + name + "/reply"); reply != nil {
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

func TestAsyncAPIExamplesMatchTheirSchemas(t *testing.T) {
	d := spectest.AsyncAPI(t)
	for _, name := range spectest.Keys(d.Object("/components/messages")) {
		list := d.FrameExamples(name)
		if len(list) == 0 {
			t.Errorf("message %s has no example", name)
		}
		for _, e := range list {
			if err := d.Validate(d.MessageSchema(name), spectest.Encode(t, e.Value)); err != nil {
				t.Errorf("%s, example %s: %v", name, e.Name, err)
			}
		}
	}
	for name, v := range d.Object("/components/schemas") {
		list, _ := v.(map[string]any)["examples"].([]any)
		for i, e := range list {
			if err := d.Validate("/components/schemas/"+name, spectest.Encode(t, e)); err != nil {
				t.Errorf("schema %s, example %d: %v", name, i, err)
			}
		}
	}
}

func TestFramesHaveTheFieldsOfPackageWire(t *testing.T) {
	d := spectest.AsyncAPI(t)
	for name, frame := range frames {
		compareFields(t, name, d.SchemaOf(t, name), reflect.TypeOf(frame))
	}
	for name, part := range parts {
		compareFields(t, name, d.Object("/components/schemas/"+name), reflect.TypeOf(part))
	}
	compareFields(t, "PublishResult", spectest.OpenAPI(t).Object("/components/schemas/PublishResult"), reflect.TypeOf(wire.PublishResult{}))
	compareBatchResult(t)
	for name, v := range map[string]any{
		"Whoami": wire.Whoami{}, "Explanation": wire.Explanation{}, "Account": wire.Account{}, "Ticket": wire.Ticket{}, "Expired": wire.Expired{},
	} {
		compareFields(t, name, spectest.OpenAPI(t).Object("/components/schemas/"+name), reflect.TypeOf(v))
	}
	compareFields(t, "Health", spectest.OpenAPI(t).Object("/components/schemas/Health"), reflect.TypeOf(wire.Health{}))

	var all []string
	for _, op := range ops {
		all = append(all, spectest.Keys(d.SchemaOf(t, op)["properties"].(map[string]any))...)
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
	if got := spectest.Keys(properties); !slices.Equal(got, spectest.Keys(want)) {
		t.Errorf("%s has fields %v, want those of %s: %v", name, got, typ, spectest.Keys(want))
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
	schema := spectest.OpenAPI(t).Object("/components/schemas/BatchResult")
	want := spectest.Keys(jsonFields(reflect.TypeOf(wire.BatchResult{})))
	if got := spectest.Keys(schema["properties"].(map[string]any)); !slices.Equal(got, want) {
		t.Errorf("BatchResult has fields %v, want those of wire.BatchResult: %v", got, want)
	}
	no := false
	for name, v := range map[string]any{
		"good outcome": wire.BatchResult{Status: 200, PublishResult: &wire.PublishResult{Topic: "a", QoS: 1, Delivery: "acknowledged"}},
		"bad outcome":  wire.BatchResult{Status: 422, Code: "invalid_qos", Detail: "No.", Retryable: &no},
	} {
		if err := spectest.OpenAPI(t).Validate("/components/schemas/BatchResult", spectest.Encode(t, v)); err != nil {
			t.Errorf("BatchResult, %s: %v", name, err)
		}
	}
	for name, v := range map[string]any{
		"neither": wire.BatchResult{Status: 200},
		"both": wire.BatchResult{
			Status: 200, PublishResult: &wire.PublishResult{Topic: "a", Delivery: "sent"}, Code: "invalid_qos", Detail: "No.", Retryable: &no,
		},
	} {
		if err := spectest.OpenAPI(t).Validate("/components/schemas/BatchResult", spectest.Encode(t, v)); err == nil {
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
		if name == "-" { // it goes another way
			continue
		}
		all[name] = !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero")
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
	want := []string{wire.GapHistoryExpired, wire.GapGatewayRestarted, wire.GapBrokerConnectionLost, wire.GapSlowConsumer, wire.GapBrokerOverflow, wire.GapTooLarge}
	if got := spectest.AsyncAPI(t).At(t, "/components/schemas/Gap/properties/reason/enum"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got reasons %v, want %v", got, want)
	}
	want = []string{wire.EncodingJSON, wire.EncodingText, wire.EncodingBase64}
	if got := spectest.AsyncAPI(t).At(t, "/components/schemas/Encoding/enum"); fmt.Sprint(got) != fmt.Sprint(want) {
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
