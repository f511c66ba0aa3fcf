package topic_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/topic"
)

// matchTable: what the standard and mosquitto say, with empty levels and reserved topics.
var matchTable = []struct {
	filter, name string
	want         bool
}{
	{"foo/bar", "foo/bar", true},
	{"foo/bar", "foo", false},
	{"foo/bar", "foo/bar/baz", false},
	{"foo/bar", "foo/baz", false},
	{"foo", "foobar", false},
	{"foobar", "foo", false},
	{"foo/+", "foo/bar", true},
	{"foo/+", "foo/", true},
	{"foo/+", "foo", false},
	{"foo/+", "foo/bar/baz", false},
	{"foo/+/baz", "foo/bar/baz", true},
	{"foo/+/baz", "foo//baz", true},
	{"foo/+/baz", "foo/bar/bar", false},
	{"foo/+/#", "foo/bar/baz", true},
	{"foo/+/#", "foo/bar", true},
	{"foo/+/#", "foo/", true},
	{"foo/+/#", "foo", false},
	{"foo/+/#", "fo2/bar/baz", false},
	{"A/B/+/#", "A/B/B/C", true},
	{"#", "foo/bar/baz", true},
	{"#", "/", true},
	{"#", "/foo", true},
	{"/#", "/foo/bar", true},
	{"/#", "/", true},
	{"/#", "foo/bar", false},
	{"foo/#", "foo", true},
	{"foo/#", "foo/", true},
	{"foo/#", "foo/bar/baz", true},
	{"foo/#", "foobar", false},
	{"foo//bar", "foo//bar", true},
	{"foo//bar", "foo/bar", false},
	{"foo//+", "foo//bar", true},
	{"foo//+", "foo//", true},
	{"+/+", "/finance", true},
	{"/+", "/finance", true},
	{"+", "/finance", false},
	{"+", "finance", true},
	{"+/", "a/", true},
	{"+/", "a", false},
	{"//", "//", true},
	{"//", "/", false},
	{"+/+/+", "//", true},
	{"sport/tennis/player1/#", "sport/tennis/player1", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"test/6/#", "test/3", false},
	{"A/b", "a/b", false},
	{"caf\u00e9", "cafe\u0301", false},
	{"a ", "a", false},
	{" a", "a", false},
	{"a/+/b", "a/+/b", true}, // a filter looked at as a name

	{"#", "$SYS", false},
	{"#", "$SYS/broker", false},
	{"+/broker", "$SYS/broker", false},
	{"+/SYS", "$/SYS", false},
	{"+/+", "$SYS/broker", false},
	{"+/#", "$SYS/broker", false},
	{"+", "$", false},
	{"$SYS/#", "$SYS/broker/load", true},
	{"$SYS/#", "$SYS", true},
	{"$SYS/+", "$SYS/broker", true},
	{"$SYS/broker/+", "$SYS/broker/$x", true},
	{"$BOB/bar", "$SYS/bar", false},
	{"a/+", "a/$SYS", true},
	{"a/#", "a/$SYS/b", true},
	{"/+", "/$SYS", true},
}

func TestMatchFollowsMQTT(t *testing.T) {
	for _, c := range matchTable {
		if got := topic.Match(c.filter, c.name); got != c.want {
			t.Errorf("Match(%q, %q): got %t, want %t", c.filter, c.name, got, c.want)
		}
		if got := naiveMatch(c.filter, c.name); got != c.want {
			t.Errorf("the oracle of these tests, on %q and %q: got %t, want %t", c.filter, c.name, got, c.want)
		}
	}
}

func TestMatchAgreesWithTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		filter, name := someFilter.Draw(t, "filter"), someName.Draw(t, "name")
		if got, want := topic.Match(filter, name), naiveMatch(filter, name); got != want {
			t.Errorf("Match(%q, %q): got %t, want %t", filter, name, got, want)
		}
	})
}

// FuzzMatch takes any two strings: what is no filter or no name must not panic, and must agree with the rest.
func FuzzMatch(f *testing.F) {
	for _, c := range matchTable {
		f.Add(c.filter, c.name)
	}
	for _, s := range []string{"", "a+", "+a/b", "a/b#", "a/#/b", "##", "#/", "+#"} {
		f.Add(s, s)
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		want := naiveMatch(filter, name)
		if got := topic.Match(filter, name); got != want {
			t.Errorf("Match(%q, %q): got %t, want %t", filter, name, got, want)
		}
		var trie topic.Trie[int]
		trie.Add(filter, 1)
		if got := len(trie.Match(nil, name)) == 1; got != want {
			t.Errorf("a trie of %q matches %q: got %t, want %t", filter, name, got, want)
		}
		var names topic.Names[int]
		names.Set(name, 1)
		var got bool
		names.Walk(filter, func(string, int) bool { got = true; return true })
		if got != want {
			t.Errorf("a walk with %q finds %q: got %t, want %t", filter, name, got, want)
		}
		if got := topic.Covers(filter, name); !strings.ContainsAny(name, "+#") && got != want {
			t.Errorf("Covers(%q, %q): got %t, want %t", filter, name, got, want)
		}
	})
}

func TestMatchAllocatesNothing(t *testing.T) {
	matched := false
	for _, c := range matchTable {
		if got := testing.AllocsPerRun(10, func() { matched = topic.Match(c.filter, c.name) || matched }); got != 0 {
			t.Errorf("Match(%q, %q): got %v allocations, want 0", c.filter, c.name, got)
		}
	}
	if !matched {
		t.Error("nothing in the table matches")
	}
}
