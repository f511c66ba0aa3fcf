package device

import (
	"strings"
	"testing"
)

func TestPatternsAreChecked(t *testing.T) {
	for _, bad := range []string{
		"", "a/b", "a/{id", "a/x{id}", "{id}/{id}", "{id}/LWT=Online", "{id}/LWT=Online|", "{id}/LWT=a|a", "{id}/#=a|b", "$SYS/{id}",
		"{id}/a,", strings.Repeat("{id}/x,", MaxPatterns) + "{id}/x", "#/{id}",
		"{id}/a={|},b/{id}=1|0}", "{id}/a={on|off,b/{id}=1|0", `{id}/a="on|off,b/{id}=1|0`, "{id}/a=}|{,b/{id}=1|0",
	} {
		if got, err := ParsePatterns(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
	for _, bad := range []string{"", "a", "a=", "a=3", "a=100ms", "a=8000h", "a/#/b=1s", "a=1s,a=2s", `a"=1s,b=1x,c=1s`} {
		if got, err := ParseQuiet(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
	if got, err := ParseQuiet(`a"=1s,{b=1s`); err != nil || len(got) != 2 {
		t.Errorf("quotes and braces in filters: got %+v, %v, want two", got, err)
	}
}
