package gauge

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vulturepi/gateway/internal/list"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/internal/yamlfile"
)

// Bounds of a file.
const (
	maxRules      = 100
	maxLabels     = 8
	maxSeries     = 10_000 // of all rules together
	defaultSeries = 100

	minExpires     = time.Second
	maxExpires     = 30 * 24 * time.Hour
	defaultExpires = 10 * time.Minute
)

// rule is one metric. What it keeps is guarded by Set.mu.
type rule struct {
	name, help, filter string
	field              []string // where the number stands; nil: the payload is it
	labels             []label
	max                int
	expires            time.Duration

	said time.Time // when the log last told that it is full; of Message alone

	byKey map[string]*series
	heard list.List[series] // all of them, the longest unheard first
}

// label is one label, out of a level of the topic or a field of the payload.
type label struct {
	name  string
	level int
	field []string // nil: the level
}

func (r *rule) labelNames() []string {
	names := make([]string, len(r.labels))
	for i, l := range r.labels {
		names[i] = l.name
	}
	return names
}

// parse reads the rules of a file.
func parse(file []byte) ([]*rule, error) {
	root, err := yamlfile.Document(file, "value_metrics")
	if err != nil {
		return nil, err
	}
	top, err := yamlfile.Object(root, "value_metrics")
	if err != nil {
		return nil, err
	}
	list := top["value_metrics"]
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 || len(list.Content) > maxRules {
		return nil, fmt.Errorf("value_metrics must be a list of 1 to %d metrics, each with its metric and topic", maxRules)
	}
	var rules []*rule
	seen, total := map[string]int{}, 0
	for i, n := range list.Content {
		r, err := ruleOf(n)
		if err == nil && seen[r.name] > 0 {
			err = fmt.Errorf("metric %d has the same name; rename one of them", seen[r.name])
		}
		if err == nil {
			if total += r.max; total > maxSeries {
				err = fmt.Errorf("max_series of the metrics up to here are %d together; all may have %d", total, maxSeries)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("metric %d (line %d): %w", i+1, n.Line, err)
		}
		seen[r.name] = i + 1
		rules = append(rules, r)
	}
	return rules, nil
}

func ruleOf(n *yaml.Node) (*rule, error) {
	keys, err := yamlfile.Object(n, "metric", "help", "topic", "field", "labels", "max_series", "expires")
	if err != nil {
		return nil, err
	}
	r := &rule{max: defaultSeries, expires: defaultExpires, byKey: map[string]*series{}}
	if r.name, err = yamlfile.Scalar(keys["metric"], "metric", "a name such as battery_volts"); err == nil {
		err = checkName(r.name)
	}
	if err != nil {
		return nil, err
	}
	pattern, err := yamlfile.Scalar(keys["topic"], "topic", "a topic such as fleet/{device}/battery")
	if err == nil {
		err = r.topicOf(pattern)
	}
	if err != nil {
		return nil, err
	}
	if r.help = "Newest value on " + pattern + "."; keys["help"] != nil {
		if r.help, err = yamlfile.Scalar(keys["help"], "help", "a sentence"); err != nil {
			return nil, err
		}
	}
	if keys["field"] != nil {
		if r.field, err = pointer(keys["field"], "field"); err != nil {
			return nil, err
		}
	}
	if err := r.fieldLabels(keys["labels"]); err != nil {
		return nil, err
	}
	return r, r.bounds(keys["max_series"], keys["expires"])
}

var (
	goodName  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,127}$`)
	goodLabel = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// Names that are taken by the gateway's own metrics, and endings that mean
// something else than a gauge.
var (
	taken  = []string{"gateway_", "broker_", "go_", "process_", "promhttp_"}
	counts = []string{"_total", "_count", "_sum", "_bucket"}
)

func checkName(name string) error {
	if !goodName.MatchString(name) {
		return fmt.Errorf("the name %s is none for a metric; write small letters, digits and _, such as battery_volts", yamlfile.Quote(name))
	}
	for _, start := range taken {
		if strings.HasPrefix(name, start) {
			return fmt.Errorf("names that begin with %s are the gateway's own; choose another one than %s", start, yamlfile.Quote(name))
		}
	}
	for _, end := range counts {
		if strings.HasSuffix(name, end) {
			return fmt.Errorf("%s ends like a counter, with %s, and a value goes up and down; choose another name", yamlfile.Quote(name), end)
		}
	}
	return nil
}

// topicOf reads a topic, in which {name} is one level that becomes a label.
func (r *rule) topicOf(pattern string) error {
	levels := strings.Split(pattern, "/")
	for i, level := range levels {
		name, opens := strings.CutPrefix(level, "{")
		name, closes := strings.CutSuffix(name, "}")
		if !opens && !closes && !strings.ContainsAny(level, "{}") {
			continue
		}
		if !opens || !closes {
			return fmt.Errorf("the level %s of the topic is neither a name nor a label; write {device} for all of one level", yamlfile.Quote(level))
		}
		if err := r.addLabel(label{name: name, level: i}); err != nil {
			return err
		}
		levels[i] = "+"
	}
	r.filter = strings.Join(levels, "/")
	if err := topic.CheckFilter(r.filter); err != nil {
		if detailed, ok := errors.AsType[*topic.Error](err); ok {
			return errors.New(detailed.Detail)
		}
		return err
	}
	return nil
}

func (r *rule) addLabel(l label) error {
	if !goodLabel.MatchString(l.name) {
		return fmt.Errorf("the name %s is none for a label; write small letters, digits and _, such as device", yamlfile.Quote(l.name))
	}
	for _, other := range r.labels {
		if other.name == l.name {
			return fmt.Errorf("the label %s is there twice; rename one", l.name)
		}
	}
	if r.labels = append(r.labels, l); len(r.labels) > maxLabels {
		return fmt.Errorf("there are more than %d labels; remove some", maxLabels)
	}
	return nil
}

// fieldLabels reads the labels that stand in the payload.
func (r *rule) fieldLabels(n *yaml.Node) error {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return errors.New("labels must be names and fields, such as {sensor: /id}")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		path, err := pointer(n.Content[i+1], "a field of labels")
		if err != nil {
			return err
		}
		if err := r.addLabel(label{name: n.Content[i].Value, field: path}); err != nil {
			return err
		}
	}
	return nil
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// pointer reads a JSON pointer (RFC 6901).
func pointer(n *yaml.Node, key string) ([]string, error) {
	s, err := yamlfile.Scalar(n, key, "a JSON pointer such as /temperature")
	if err != nil {
		return nil, err
	}
	rest, ok := strings.CutPrefix(s, "/")
	if !ok || len(s) > 256 {
		return nil, fmt.Errorf("%s is %s; write a JSON pointer of at most 256 bytes such as /temperature or /sensors/0/value", key, yamlfile.Quote(s))
	}
	path := strings.Split(rest, "/")
	for i := range path {
		path[i] = unescape.Replace(path[i])
	}
	return path, nil
}

// bounds reads how many series there may be, and for how long.
func (r *rule) bounds(most, expires *yaml.Node) error {
	if most != nil {
		s, err := yamlfile.Scalar(most, "max_series", "a whole number")
		if err != nil {
			return err
		}
		if r.max, err = strconv.Atoi(s); err != nil || r.max < 1 || r.max > maxSeries {
			return fmt.Errorf("max_series is %s; write a whole number from 1 to %d", yamlfile.Quote(s), maxSeries)
		}
	}
	if expires != nil {
		s, err := yamlfile.Scalar(expires, "expires", "a duration such as 10m")
		if err != nil {
			return err
		}
		if r.expires, err = time.ParseDuration(s); err != nil || r.expires < minExpires || r.expires > maxExpires {
			return fmt.Errorf("expires is %s; write a duration from 1s to 720h, such as 10m", yamlfile.Quote(s))
		}
	}
	return nil
}
