package api

import (
	"net/http/httptest"
	"testing"
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
