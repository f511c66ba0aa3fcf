package gauge

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// rig is a set with a clock and a log of its own.
type rig struct {
	*Set
	now time.Time
	log bytes.Buffer
}

func newRig(t *testing.T, file string) *rig {
	t.Helper()
	r := &rig{now: time.Unix(1_000_000, 0)}
	set, err := New([]byte(file), Options{
		Decode: func(topic string, payload []byte) ([]byte, string) {
			switch {
			case strings.HasPrefix(topic, "panic/"):
				panic(string(payload))
			case topic == "sw/1" && string(payload) == "ON":
				return []byte("true"), ""
			case topic == "sw/1":
				return nil, "The payload is none of the words."
			}
			return nil, ""
		},
		Log: slog.New(slog.NewTextHandler(&r.log, nil)), Now: func() time.Time { return r.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Set = set
	return r
}

// shown are all series, as in /metrics.
func (r *rig) shown() (all []string) {
	for _, m := range r.Stats().Metrics {
		for _, s := range m.Series {
			line := m.Name
			for i, name := range m.Labels {
				line += fmt.Sprintf(" %s=%s", name, s.Labels[i])
			}
			all = append(all, fmt.Sprintf("%s %v", line, s.Value))
		}
	}
	slices.Sort(all)
	return all
}

func (r *rig) want(t *testing.T, want ...string) {
	t.Helper()
	if got := r.shown(); !slices.Equal(got, want) {
		t.Errorf("got the series %q, want %q", got, want)
	}
}

func (r *rig) wantDropped(t *testing.T, want map[Reason]uint64) {
	t.Helper()
	got := r.Stats().Dropped
	if len(got) != len(Reasons) {
		t.Errorf("got the reasons %v, want all of %v", got, Reasons)
	}
	maps.DeleteFunc(got, func(_ Reason, n uint64) bool { return n == 0 })
	if !maps.Equal(got, want) {
		t.Errorf("dropped: got %v, want %v", got, want)
	}
}

func TestNumbersBecomeSeries(t *testing.T) {
	r := newRig(t, `
value_metrics:
  - {metric: battery_volts, topic: "pi/{device}/battery"}
  - metric: climate_celsius
    topic: rooms/{room}/+/#
    field: /t/0/a~1b
    labels: {sensor: /id, floor: /floor, wet: /wet}
  - {metric: switched_on, topic: "{x}/1"}
  - {metric: switches, topic: sw/+}
`)
	for _, m := range [][2]string{
		{"pi/3/battery", "3.7"}, {"pi/4/battery", " 1e1\n"}, {"pi/3/battery", "-3.25"}, {"pi//battery", "0"},
		{"pi/3/other", "1"}, {"pi/3/battery/x", "1"},
		{"rooms/hall/x", `{"t":[{"a/b":21.5}],"id":"s 1","floor":2.0,"wet":false}`},
		{"rooms/hall/y/z", `{"t":[{"a/b":20}],"id":"s 1","floor":2.0,"wet":false}`}, // the same series
		{"rooms/hall/y", `{"t":[{"a/b":true}],"id":"","floor":"ü","wet":true}`},
		{"sw/1", "ON"},
	} {
		r.Message(m[0], []byte(m[1]))
	}
	r.want(t, "battery_volts device= 0", "battery_volts device=3 -3.25", "battery_volts device=4 10",
		"climate_celsius room=hall sensor= floor=ü wet=true 1", "climate_celsius room=hall sensor=s 1 floor=2.0 wet=false 20",
		"switched_on x=sw 1", "switches 1")
	r.wantDropped(t, map[Reason]uint64{})
	if n := r.Stats().Bytes; n <= 0 || n > 4000 {
		t.Errorf("seven series take %d bytes", n)
	}
}

func TestWhatGivesNoValueIsCounted(t *testing.T) {
	r := newRig(t, `
value_metrics:
  - {metric: plain, topic: n/+}
  - {metric: deep, topic: d/+, field: /list/1, labels: {id: /id}}
  - {metric: panics, topic: panic/+}
  - {metric: words, topic: sw/1}
`)
	for _, payload := range []string{"", "on", `"1"`, "1 2", "01", "NaN", "1e999", "null", "[1]", "\xff", `{"a":1}`} {
		r.Message("n/1", []byte(payload))
	}
	for _, payload := range []string{`1`, `{"list":[1]}`, `{"list":{"1":"x"}}`, `{"list":"11"}`} {
		r.Message("d/1", []byte(payload))
	}
	r.Message("panic/1", []byte("1"))
	r.Message("sw/1", []byte("1"))
	for _, payload := range []string{`{"list":[0,1]}`, `{"list":[0,1],"id":null}`, `{"list":[0,1],"id":{}}`, `{"list":[0,1],"id":"` + strings.Repeat("x", maxLabelBytes+1) + `"}`} {
		r.Message("d/1", []byte(payload))
	}
	r.Message("n/1", append([]byte("1"), bytes.Repeat([]byte(" "), maxPayload)...))
	r.want(t)
	r.wantDropped(t, map[Reason]uint64{NoNumber: 17, NoLabel: 4, TooLarge: 1})
}

func TestATopicThatIsNoUTF8IsNoLabel(t *testing.T) {
	r := newRig(t, `value_metrics: [{metric: m, topic: "n/{id}"}]`)
	r.Message("n/\xff", []byte("1"))
	r.want(t)
	r.wantDropped(t, map[Reason]uint64{NoLabel: 1})
}

// What devices invent does not take the place of what is there, and the log
// tells of it once an hour.
func TestSeriesAreBounded(t *testing.T) {
	r := newRig(t, `
value_metrics:
  - {metric: small, topic: "s/{id}", max_series: 2, expires: 2h}
  - {metric: other, topic: "o/{id}"}
`)
	for i := range 1000 {
		r.Message(fmt.Sprintf("s/%d", i), []byte("1"))
	}
	r.Message("s/1", []byte("5"))
	r.Message("o/1", []byte("1"))
	r.want(t, "other id=1 1", "small id=0 1", "small id=1 5")
	r.wantDropped(t, map[Reason]uint64{SeriesLimit: 998})
	if n := strings.Count(r.log.String(), "metric=small max_series=2"); n != 1 {
		t.Errorf("the log tells of it %d times, want once: %s", n, r.log.String())
	}
	r.now = r.now.Add(time.Hour + time.Second)
	r.Message("s/x", []byte("1"))
	if n := strings.Count(r.log.String(), "metric=small max_series=2"); n != 2 {
		t.Errorf("an hour later the log has told of it %d times, want twice", n)
	}
}

func TestAllSeriesTogetherHaveABound(t *testing.T) {
	r := newRig(t, `value_metrics: [{metric: m, topic: "n/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}", max_series: 10000}]`)
	wide := strings.Repeat("x", maxLabelBytes-20)
	for i := range maxSeries {
		r.Message(fmt.Sprintf("n/1/2/3/4/5/6/%05d/%s", i, wide), []byte("1"))
	}
	held := r.Stats().Bytes
	each := held / int64(len(r.shown()))
	if most := int64(maxSeries) * (seriesBytes + maxLabels*labelBytes + maxLabelBytes); held > Limit || most < Limit || held < Limit-2*each {
		t.Errorf("the series take %d bytes, want just under %d; %d of the longest would take %d", held, Limit, maxSeries, most)
	}
	if r.Stats().Dropped[SeriesLimit] == 0 {
		t.Error("nothing was left out")
	}
}

func TestSilentSeriesExpire(t *testing.T) {
	r := newRig(t, `value_metrics: [{metric: m, topic: "n/{id}", max_series: 2, expires: 1m}]`)
	r.Message("n/1", []byte("1"))
	r.now = r.now.Add(30 * time.Second)
	r.Message("n/2", []byte("2"))
	r.now = r.now.Add(29 * time.Second)
	r.want(t, "m id=1 1", "m id=2 2")
	r.Message("n/3", []byte("3"))
	r.now = r.now.Add(time.Second)
	r.Message("n/3", []byte("4")) // nobody has read: the place of the first is free
	r.want(t, "m id=2 2", "m id=3 4")
	r.now = r.now.Add(time.Minute)
	r.want(t)
	if n := r.Stats().Bytes; n != 0 {
		t.Errorf("no series take %d bytes", n)
	}
	r.Message("n/2", []byte("5"))
	r.want(t, "m id=2 5")
	r.wantDropped(t, map[Reason]uint64{SeriesLimit: 1})
}

func TestNoSetHasNothing(t *testing.T) {
	var none *Set
	none.Message("a", []byte("1"))
	if st := none.Stats(); len(st.Metrics) != 0 || len(st.Dropped) != len(Reasons) || none.Filters() != nil {
		t.Errorf("got %+v", st)
	}
}

func TestReadingAndWritingAtOnce(t *testing.T) {
	r := newRig(t, `value_metrics: [{metric: m, topic: "n/{id}", max_series: 10}]`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			r.Message(fmt.Sprintf("n/%d", i%20), []byte("1"))
		}
	}()
	for range 200 {
		if n := len(r.shown()); n > 10 {
			t.Errorf("got %d series, want 10 at most", n)
		}
	}
	<-done
}

// An error names the metric and what to do, and no more of the file than a word.
func TestFilesAreRefused(t *testing.T) {
	one := func(rest string) string { return "value_metrics: [{" + rest + "}]" }
	many := "value_metrics:\n" + strings.Repeat("  - {metric: x, topic: a}\n", maxRules+1)
	for _, tc := range []struct{ name, file, want string }{
		{"empty", "# nothing\n", "write value_metrics: and a list"},
		{"no YAML", "\tx", "not YAML"},
		{"another key", "metrics: []", `the key "metrics" at line 1 does not exist here`},
		{"no list", "value_metrics: {}", "must be a list of 1 to 100"},
		{"an empty list", "value_metrics: []", "must be a list of 1 to 100"},
		{"too many", many, "must be a list of 1 to 100"},
		{"an unknown key", one("metric: x, topic: a, scale: 2"), `metric 1 (line 1): the key "scale"`},
		{"no name", one("topic: a"), "metric is missing"},
		{"a bad name", one("metric: Volts, topic: a"), "write small letters"},
		{"our name", one("metric: gateway_topics, topic: a"), "the gateway's own"},
		{"Go's name", one("metric: go_goroutines, topic: a"), "the gateway's own"},
		{"a counter", one("metric: rain_total, topic: a"), "ends like a counter"},
		{"no topic", one("metric: x"), "topic is missing"},
		{"a bad topic", one("metric: x, topic: a/#/b"), "metric 1 (line 1)"},
		{"the broker's", one("metric: x, topic: $SYS/broker/uptime"), "topics of the broker itself"},
		{"half a label", one(`metric: x, topic: "pi-{id}/b"`), "neither a name nor a label"},
		{"a bad label", one(`metric: x, topic: "{Id}/b"`), "is none for a label"},
		{"a label twice", one(`metric: x, topic: "{id}/{id}"`), "the label id is there twice"},
		{"a label twice, too", one(`metric: x, topic: "{id}", labels: {id: /id}`), "the label id is there twice"},
		{"too many labels", one(`metric: x, topic: "{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"`), "more than 8 labels"},
		{"labels in a list", one("metric: x, topic: a, labels: [id]"), "labels must be names and fields"},
		{"no pointer", one("metric: x, topic: a, field: temperature"), "write a JSON pointer"},
		{"no series", one("metric: x, topic: a, max_series: 0"), "from 1 to 10000"},
		{"too many series", one("metric: x, topic: a, max_series: 10001"), "from 1 to 10000"},
		{"too many together", "value_metrics: [{metric: x, topic: a, max_series: 9950}, {metric: y, topic: b}]", "metric 2 (line 1): max_series of the metrics up to here are 10050 together"},
		{"no unit", one("metric: x, topic: a, expires: 10"), "write a duration"},
		{"too short", one("metric: x, topic: a, expires: 1ms"), "write a duration"},
		{"twice", "value_metrics: [{metric: x, topic: a}, {metric: x, topic: b}]", "metric 1 has the same name"},
		{"an alias", "value_metrics: [{metric: &n x, topic: a, help: *n}]", "aliases"},
	} {
		_, err := New([]byte(tc.file), Options{})
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", tc.name, err, tc.want)
		}
	}
}

// The file that is shown is one that the gateway takes, and does what the page
// says of it.
func TestShownFileIsSound(t *testing.T) {
	page, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "<!-- value metrics -->\n```yaml\n")
	file, rest, _ := strings.Cut(rest, "```\n")
	_, rest, _ = strings.Cut(rest, "<!-- messages -->\n")
	r := newRig(t, file)
	var want []string
	for line := range strings.Lines(rest) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 3 && !strings.HasPrefix(line, "|--") {
			break
		}
		if topic := strings.Trim(cells[0], "`"); strings.Contains(topic, "/") {
			r.Message(topic, []byte(strings.Trim(cells[1], "`")))
			want = append(want, strings.NewReplacer("{", " ", "}", "", `"`, "", ",", " ").Replace(strings.Trim(cells[2], "`")))
		}
	}
	if slices.Sort(want); len(want) < 2 {
		t.Fatalf("docs/monitoring.md shows %d messages, want 2 at least", len(want))
	}
	r.want(t, want...)
	r.wantDropped(t, map[Reason]uint64{})
}
