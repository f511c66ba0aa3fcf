package spectest

import (
	"encoding/json"
	"strings"
	"testing"
)

// IsStream reports whether the media type is one of many objects. That of the
// pages, text/html, is none.
func IsStream(media string) bool {
	return media == "application/x-ndjson" || media == "text/event-stream" || media == "text/plain"
}

// Object is one object of a stream, or one field of SSE that stands alone.
type Object struct {
	Event string          `json:"event,omitempty"`
	ID    string          `json:"cursor,omitempty"` // differs from one answer to the next, like a cursor
	Retry string          `json:"since,omitempty"`  // likewise
	Data  json.RawMessage `json:"data,omitempty"`
}

// Objects takes a stream apart.
func Objects(t testing.TB, media, body string) []Object {
	t.Helper()
	var all []Object
	if media != "text/event-stream" {
		for _, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
			data := json.RawMessage(line)
			if media == "text/plain" {
				data = Encode(t, line)
			}
			all = append(all, Object{Data: data})
		}
		return all
	}
	for _, event := range strings.Split(strings.TrimRight(body, "\n"), "\n\n") {
		var o Object
		for _, line := range strings.Split(event, "\n") {
			name, value, found := strings.Cut(line, ": ")
			switch {
			case !found && strings.HasPrefix(line, ":"): // a comment
			case name == "event":
				o.Event = value
			case name == "id":
				o.ID = value
			case name == "retry":
				o.Retry = value
			case name == "data":
				o.Data = json.RawMessage(value)
			default:
				t.Errorf("got the line %q, which is no field", line)
			}
		}
		all = append(all, o)
	}
	return all
}

// ExampleObjects takes an example of a stream apart: a text, or the list of its
// lines.
func ExampleObjects(t testing.TB, media string, example any) (all []Object, ok bool) {
	t.Helper()
	switch v := example.(type) {
	case string:
		return Objects(t, media, v), true
	case []any:
		for _, line := range v {
			all = append(all, Object{Data: Encode(t, line)})
		}
		return all, true
	}
	return nil, false
}

// CheckObjects holds each object of a stream against the schema of its
// content, and SSE's fields against the object.
func (d *Document) CheckObjects(t testing.TB, media, mediaType, body string) {
	t.Helper()
	for i, o := range Objects(t, mediaType, body) {
		if mediaType == "text/plain" {
			continue
		}
		if o.Data == nil {
			t.Errorf("%s: object %d has no data", media, i)
			continue
		}
		if mediaType == "text/event-stream" && string(o.Data) == "{}" {
			if want := o.Event == "cursor"; (o.ID != "") != want || !want && o.Event != "keepalive" {
				t.Errorf("%s: got event %q with id %q and no data, want a cursor with one or a keepalive without", media, o.Event, o.ID)
			}
			continue
		}
		if isKeepAlive(o.Data) {
			continue
		}
		if err := d.Validate(d.lineSchema(media), o.Data); err != nil {
			t.Errorf("%s: %v\n%s", media, err, o.Data)
		}
		if mediaType != "text/event-stream" {
			continue
		}
		inside := Decode[map[string]any](t, o.Data)
		want := inside["type"].(string)
		if want == "message" {
			want = ""
		}
		cursor, _ := inside["cursor"].(string)
		if want == "gap" {
			cursor, _ = inside["before"].(string)
		}
		switch want {
		case "ack", "gap": // before copies without a cursor, they have none either
			if o.ID == "" {
				cursor = ""
			}
		case "snapshot_end": // behind them stands the place where the stream joins
			cursor = o.ID
		}
		if o.Event != want || o.ID != cursor {
			t.Errorf("%s: got event %q with id %q, want %q with %q: %s", media, o.Event, o.ID, want, cursor, o.Data)
		}
	}
}

// lineSchema is where the schema of one object of a stream stands. A stream that
// is also to be had as an array is described as one, so that generated clients
// have one type for both.
func (d *Document) lineSchema(media string) string {
	if d.Object(media+"/schema/items") != nil {
		return media + "/schema/items"
	}
	return media + "/schema/contentSchema"
}

// isKeepAlive: it is in no stream but one that asked for it.
func isKeepAlive(object []byte) bool { return string(object) == `{"type":"keepalive"}` }
