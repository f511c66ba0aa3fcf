package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

func TestWhoAsksForAnUnknownParameterIsToldWhichThereAre(t *testing.T) {
	for want, names := range map[string][]string{
		"The route has no such query parameter; it has filter, since and limit.": {"filter", "since", "limit"},
		"The route has no such query parameter; it has results.":                 {"results"},
		"The route has no query parameters.":                                     nil,
	} {
		bad := onlyParams(httptest.NewRequest("GET", "/history?topic=pi/3", nil), names...)
		if bad == nil || bad.Detail != want || len(bad.Errors) != 1 || bad.Errors[0].Pointer != "/topic" {
			t.Errorf("got %+v, want %q, about /topic", bad, want)
		}
	}
}

func TestWhoSubscribesToATopicIsToldOfTopics(t *testing.T) {
	var f opFields
	if bad := scanObject([]byte(`{"op":"subscribe","topic":"pi/#"}`), f.set); bad != nil {
		t.Fatal(bad)
	}
	bad := noField(wire.OpSubscribe, f.misplaced(wire.OpSubscribe))
	if bad.Code != wire.CodeUnknownField || bad.Errors[0].Pointer != "/topic" || !strings.HasSuffix(bad.Detail, "an array, topics.") {
		t.Errorf("got %+v, want an unknown field /topic, and topics named", bad)
	}
}
