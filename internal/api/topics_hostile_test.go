package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// badTopics are refused as topics to publish to.
var badTopics = []struct {
	topic string
	code  wire.Code
}{
	{"a/+", "topic_wildcard"}, {"a/#", "topic_wildcard"}, {"+", "topic_wildcard"}, {"#", "topic_wildcard"}, {"a+b", "topic_wildcard"},
	{"a\x00b", "topic_control_char"}, {"\x00", "topic_control_char"}, {"a\x01", "topic_control_char"}, {"a\nb", "topic_control_char"}, {"a\r\nb", "topic_control_char"},
	{"a\tb", "topic_control_char"}, {"a\x1b[31m", "topic_control_char"}, {"a\x7f", "topic_control_char"}, {"a\u0085", "topic_control_char"}, {"a\u009f", "topic_control_char"},
	{"a\ufffe", "topic_noncharacter"}, {"a\uffff", "topic_noncharacter"}, {"\ufdd0", "topic_noncharacter"}, {"\ufdef", "topic_noncharacter"}, {"\U0001fffe", "topic_noncharacter"}, {"\U0010ffff", "topic_noncharacter"},
	{"a\u202e", "topic_format_char"}, {"a\u200b", "topic_format_char"}, {"\ufeffa", "topic_format_char"}, {"a\u00ad", "topic_format_char"}, {"a\u2066", "topic_format_char"}, {"\U000e0041", "topic_format_char"},
	{strings.Repeat("a", 1025), "topic_too_long"}, {strings.Repeat("é", 513), "topic_too_long"}, {strings.Repeat("a", 65536), "topic_too_long"},
	{"$SYS/" + strings.Repeat("a", 65536), "topic_too_long"}, {strings.Repeat("a/", 40_000), "topic_too_long"},
	{strings.Repeat("a/", 32) + "a", "topic_too_deep"}, {strings.Repeat("/", 201), "topic_too_deep"}, {strings.Repeat("/", 32), "topic_too_deep"},
	{"$SYS/x", "topic_reserved"}, {"$CONTROL/dynamic-security/v1", "topic_reserved"}, {"$share/g/a", "topic_reserved"}, {"$", "topic_reserved"}, {"$a", "topic_reserved"}, {"$delayed/9/x", "topic_reserved"},
	{"", "topic_required"},
}

// badFilters are refused as filters to subscribe to.
var badFilters = []struct {
	filter string
	code   wire.Code
}{
	{"a+", "filter_syntax"}, {"+a/b", "filter_syntax"}, {"a/b#", "filter_syntax"}, {"a/#/b", "filter_syntax"}, {"##", "filter_syntax"}, {"++", "filter_syntax"}, {"#/", "filter_syntax"}, {"a/+b/c", "filter_syntax"},
	{"", "filter_required"},
	{"$share/g/a", "filter_reserved"}, {"$share/g", "filter_reserved"}, {"$share", "filter_reserved"}, {"$sharex", "filter_reserved"}, {"$share//a", "filter_reserved"}, {"$queue/a", "filter_reserved"}, {"$SYS/#", "filter_reserved"},
	{"$SYS", "filter_reserved"}, {"$CONTROL/#", "filter_reserved"}, {"$", "filter_reserved"}, {"$/#", "filter_reserved"}, {"$+/x", "filter_reserved"},
	{strings.Repeat("+/", 200) + "+", "filter_too_complex"}, {strings.Repeat("a/", 200) + "#", "filter_too_complex"},
	{strings.Repeat("a", 4097), "filter_too_long"}, {"a\x00", "filter_control_char"}, {"a\nb/#", "filter_control_char"},
	{"a\uffff/+", "filter_noncharacter"},
}

// goodTopics are legal, and each is another topic than all the others.
var goodTopics = []string{
	"/", "//", "a//b", "/a", "a/", "a", "A/b", "a/b", "\u00e9", "e\u0301", " a", "a ", " ", "a/b c", `a"b\`, "a/$x", "a\ufffd", "😀/🛰", ".", "..", "a/../b", "%2B", "<b>", strings.Repeat("a", 1024), strings.Repeat("/", 31),
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// A broker that takes control characters and non-characters delivers them. What is listed can be read; a broker is never
// asked for such a name, because others cut the connection on it.
func TestListedTopicsCanBeReadWhateverTheBrokerTakes(t *testing.T) {
	g := startRig(t)
	g.broker.dynamic = true // then the broker is told of whatever is looked for
	ws := g.dial(t, "/ws?topic=a/%2B")
	for ws.next()["type"] != "ack" {
	}
	odd := []string{"a/\x01", "a/\t", "a/\x7f", "a/\u0085", "a/\uffff", "a/\ufdd0"}
	for i, name := range odd {
		g.ingest(name, fmt.Sprint(i))
		if a := g.get("/topics/" + url.PathEscape(name)); a.status != 200 || string(a.body) != fmt.Sprint(i) {
			t.Errorf("%q: got %d %s, want its value", name, a.status, a.body)
		}
		g.get("/topics/"+url.PathEscape(name+"x")).wantProblem(t, 422, kindOfOdd(name))
		exchange(t, g.public, request("DELETE", "/topics/"+url.PathEscape(name), "")).wantProblem(t, 422, kindOfOdd(name))
	}
	var listed []wire.Message
	if a := g.get("/topics?filter=a/%2B"); json.Unmarshal(a.body, &listed) != nil || len(listed) != len(odd) {
		t.Errorf("got %s, want all of them listed", a.body)
	}
	g.get("/topics/a%00").wantProblem(t, 422, "topic_control_char")
	g.broker.mu.Lock()
	defer g.broker.mu.Unlock()
	for _, f := range g.broker.wanted {
		if topic.CheckFilter(f) != nil {
			t.Errorf("the broker was asked for %q", f)
		}
	}
}

// kindOfOdd is the code of a name that no broker is asked for.
func kindOfOdd(name string) wire.Code {
	if strings.ContainsAny(name, "\uffff\ufdd0") {
		return "topic_noncharacter"
	}
	return "topic_control_char"
}

// Who may not read an odd name does not learn whether it is there.
func TestOddTopicsAreReadByRight(t *testing.T) {
	g, authorization, _ := startGuarded(t, `subscribe: ["a/#"], deny: ["a/+"]`)
	g.ingest("a/\x01", canary)
	g.ingest("b/\x01", canary)
	for _, name := range []string{"a/%01", "b/%01", "b/%02"} {
		if a := exchange(t, g.public, request("GET", "/topics/"+name, "", authorization)); a.status != 403 || strings.Contains(string(a.body), canary) {
			t.Errorf("%s: got %d %s, want 403", name, a.status, a.body)
		}
	}
}

func TestBadTopicsAreRefusedOverHTTP(t *testing.T) {
	g := startRig(t)
	for _, row := range badTopics {
		t.Run(fmt.Sprintf("%.20q", row.topic), func(t *testing.T) {
			a := exchange(t, g.public, publishRequest(`{"topic":`+quote(row.topic)+`,"payload":"`+canary+`"}`))
			a.wantProblem(t, kindOf(row.code).status, row.code)
			if !strings.Contains(string(a.body), `"pointer":"/topic"`) {
				t.Errorf("got %s, want a pointer to /topic", a.body)
			}
		})
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

func TestBadTopicsAreRefusedOverWebSocket(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	for i, row := range badTopics {
		s.text(fmt.Sprintf(`{"op":"publish","id":%d,"topic":%s,"payload":"%s"}`, i, quote(row.topic), canary))
		if f := s.nextError(row.code); f["id"] != float64(i) {
			t.Errorf("%.20q: got id %v, want %d", row.topic, f["id"], i)
		}
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

func TestOddTopicsArePublishedAsTheyAre(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	for i, topic := range goodTopics {
		a := exchange(t, g.public, publishRequest(`{"topic":`+quote(topic)+`,"payload":"1"}`))
		var res struct{ Topic string }
		if err := json.Unmarshal(a.body, &res); err != nil || a.status != http.StatusOK || res.Topic != topic {
			t.Errorf("%.20q: got %d %s, want 200 and the same topic", topic, a.status, a.body)
		}
		s.text(`{"op":"publish","topic":` + quote(topic) + `,"payload":"2"}`)
		if f := s.next(); f["status"] != 200.0 || f["topic"] != topic {
			t.Errorf("%.20q: got %v, want status 200 and the same topic", topic, f)
		}
		got := g.published()
		if len(got) != 2*i+2 || got[2*i] != topic+" 1 1 false" || got[2*i+1] != topic+" 2 1 false" {
			t.Fatalf("%.20q: the broker side got %.100q", topic, got[2*i:])
		}
	}
	g.cleanLog(t)
}

func TestBadFiltersAreRefusedInTheQuery(t *testing.T) {
	g := startRig(t)
	for _, row := range badFilters {
		t.Run(fmt.Sprintf("%.20q", row.filter), func(t *testing.T) {
			a := g.upgrade("/ws?topic=ok&topic=" + url.QueryEscape(row.filter))
			a.wantProblem(t, kindOf(row.code).status, row.code)
		})
	}
	g.upgrade("/ws?topic=%ff").wantProblem(t, http.StatusUnprocessableEntity, "filter_utf8")
	g.upgrade("/ws?topic=a%c0%afb").wantProblem(t, http.StatusUnprocessableEntity, "filter_utf8")
	g.upgrade("/ws?topic=%ed%a0%80").wantProblem(t, http.StatusUnprocessableEntity, "filter_utf8")
	g.upgrade("/ws?topics=a").wantProblem(t, http.StatusBadRequest, "unknown_parameter")
	g.upgrade("/ws?topic=a&access_token="+canary).wantProblem(t, http.StatusBadRequest, "token_in_url")
	g.upgrade("/ws?topic=a;topic=b").wantProblem(t, http.StatusBadRequest, "unknown_parameter")
	g.upgrade("/ws?topic=%zz").wantProblem(t, http.StatusBadRequest, "unknown_parameter")
	if got := g.broker.filters(); len(got) != 0 {
		t.Errorf("the broker side was asked for %q, want nothing", got)
	}
	g.cleanLog(t)
}

// A bad filter in an op is refused alone; the good one beside it counts, and
// the connection lives.
func TestBadFiltersAreRefusedInTheOp(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	for i, row := range badFilters {
		good := fmt.Sprintf("good/%d", i)
		s.text(`{"op":"subscribe","id":"x","topics":[` + quote(row.filter) + `,` + quote(good) + `]}`)
		f := s.next()
		results, _ := f["results"].([]any)
		if f["type"] != "ack" || len(results) != 2 {
			t.Fatalf("%.20q: got %v, want an ack of two", row.filter, f)
		}
		bad, ok := results[0].(map[string]any), results[1].(map[string]any)
		if bad["ok"] != false || bad["code"] != string(row.code) || bad["detail"] == "" || bad["topic"] != row.filter || ok["ok"] != true {
			t.Errorf("%.20q: got %v, want %s for it alone", row.filter, results, row.code)
		}
		g.hub.Ingest(hub.Inbound{Topic: good, Payload: []byte("x")})
		if m := s.next(); m["topic"] != good {
			t.Errorf("%.20q: got %v, want the message on %s", row.filter, m, good)
		}
	}
	for _, f := range g.broker.filters() {
		if !strings.HasPrefix(f, "good/") {
			t.Errorf("the broker side was asked for %q", f)
		}
	}
	g.cleanLog(t)
}

func TestQueryIsDecodedOnce(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws?topic=a/%252B&topic=b/%2B&topic=c/%2500")
	s.until("ack")
	if got, want := g.broker.filters(), []string{"a/%2B", "b/+", "c/%00"}; !slices.Equal(got, want) {
		t.Errorf("the broker side was asked for %q, want %q", got, want)
	}
}

func TestFilterOutsideTheWatchedOnes(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	s.text(`{"op":"subscribe","topics":["elsewhere/#","refused/x","ok"]}`)
	results := s.next()["results"].([]any)
	for i, want := range []any{"filter_not_covered", "filter_refused", nil} {
		if r := results[i].(map[string]any); r["code"] != want || r["ok"] != (want == nil) {
			t.Errorf("got %v, want code %v", r, want)
		}
	}
}

// receives sends one message per topic and then a mark on "ok", and returns
// how often each topic arrived before the mark.
func (g *rig) receives(s *rawSocket, topics ...string) map[string]int {
	got := map[string]int{}
	for _, topic := range append(topics, "ok") {
		g.hub.Ingest(hub.Inbound{Topic: topic, Payload: []byte("1")})
	}
	for {
		m := s.until("message")
		if m["topic"] == "ok" {
			return got
		}
		got[m["topic"].(string)]++
	}
}

func TestMessageComesOnceHoweverManyFiltersMatch(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws?topic=a/%23&topic=a/%2B&topic=a/b&topic=a/b&topic=ok")
	s.text(`{"op":"subscribe","topics":["a/b","a/b","#","+/b"]}`)
	s.until("ack")
	if f := s.until("ack"); len(f["results"].([]any)) != 4 {
		t.Errorf("got %v, want an ack of four", f)
	}
	if got := g.receives(s, "a/b"); got["a/b"] != 1 {
		t.Errorf("got the message %d times, want once", got["a/b"])
	}
	s.text(`{"op":"unsubscribe","topics":["a/b","#","+/b","a/b"]}`)
	s.until("ack")
	if got := g.receives(s, "a/b"); got["a/b"] != 1 { // a/# and a/+ are left
		t.Errorf("got the message %d times, want once", got["a/b"])
	}
}

func TestUnsubscribeOfUnknownFilter(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws?topic=ok")
	s.until("ack")
	s.text(`{"op":"unsubscribe","id":1,"topics":["never","ok"]}`)
	results := s.until("ack")["results"].([]any)
	for i, was := range []bool{false, true} {
		if r := results[i].(map[string]any); r["ok"] != true || r["was_subscribed"] != was {
			t.Errorf("got %v, want ok and was_subscribed %v", r, was)
		}
	}
}

func TestBrokerTopicsAreNotInWildcards(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws?topic=%23&topic=%2B/x&topic=%2B/SYS&topic=/%23&topic=ok")
	s.until("ack")
	if got := g.receives(s, "$SYS/broker/uptime", "$SYS", "$x/x", "/SYS", "a$/x"); len(got) != 2 || got["/SYS"] != 1 || got["a$/x"] != 1 {
		t.Errorf("got %v, want /SYS and a$/x once each", got)
	}
}

func TestLookAlikeTopicsAreDifferent(t *testing.T) {
	g := startRig(t)
	for _, topic := range goodTopics {
		s := g.dial(t, "/ws?topic=ok&topic="+url.QueryEscape(topic))
		s.until("ack")
		if got := g.receives(s, goodTopics...); len(got) != 1 || got[topic] != 1 {
			t.Errorf("filter %.20q: got %.100v, want only itself", topic, got)
		}
		_ = s.conn.Close()
	}
}

func TestFiltersOfOneConnectionAreLimited(t *testing.T) {
	g := startRig(t)
	names := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, `,"f/%d"`, i)
		}
		return "[" + b.String()[1:] + "]"
	}
	refused := func(ack map[string]any) (n int) {
		for _, r := range ack["results"].([]any) {
			if r.(map[string]any)["code"] == "limit_exceeded" {
				n++
			}
		}
		return n
	}
	s := g.dial(t, "/ws?topic=ok")
	s.until("ack")
	s.text(`{"op":"subscribe","topics":` + names(0, 101) + `}`)
	if n := refused(s.until("ack")); n != 2 {
		t.Errorf("got %d refused of 102, want 2", n)
	}
	s.text(`{"op":"subscribe","topics":["f/1","ok"]}`) // held already
	if n := refused(s.until("ack")); n != 0 {
		t.Errorf("got %d refused that are held, want 0", n)
	}
	s.text(`{"op":"unsubscribe","topics":["f/1"]}`)
	s.until("ack")
	s.text(`{"op":"subscribe","topics":["new"]}`)
	if n := refused(s.until("ack")); n != 0 {
		t.Error("a filter is refused though there is room again")
	}
	if got := g.receives(s, "new"); got["new"] != 1 {
		t.Errorf("got %v, want the message on new: the connection lives", got)
	}
	query := strings.ReplaceAll(strings.Trim(names(0, 101), `[]"`), `","`, "&topic=")
	g.upgrade("/ws?topic="+query).wantProblem(t, 422, "limit_exceeded")
}

func TestSameFilterManyTimesIsOneFilter(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	s.text(`{"op":"subscribe","topics":["a"` + strings.Repeat(`,"a"`, 99) + `,"b","a"]}`)
	for i, r := range s.until("ack")["results"].([]any) {
		if r := r.(map[string]any); r["ok"] != true {
			t.Fatalf("result %d: got %v, want ok: two filters are held", i, r)
		}
	}
}
