package spectest

import (
	"strings"
	"testing"
)

// MessageSchema is the pointer to the schema of a message.
func (d *Document) MessageSchema(name string) string {
	return "/components/messages/" + name + "/payload"
}

// FrameExamples are the named examples of a message.
func (d *Document) FrameExamples(message string) []Example {
	list, _ := d.Object("/components/messages/" + message)["examples"].([]any)
	var all []Example
	for _, v := range list {
		e := v.(map[string]any)
		all = append(all, Example{Name: e["name"].(string), Value: e["payload"]})
	}
	return all
}

// SchemaOf is the schema of a message, behind its $ref.
func (d *Document) SchemaOf(t testing.TB, message string) map[string]any {
	t.Helper()
	ref := d.At(t, d.MessageSchema(message)+"/$ref").(string)
	return d.At(t, strings.TrimPrefix(ref, "#")).(map[string]any)
}
