package docs_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// defaults are those of the configuration, by variable, from the tags in the
// code.
func defaults(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range regexp.MustCompile("envconfig:\"(GATEWAY_[A-Z_]+)\" default:\"([^\"]*)\"").FindAllStringSubmatch(sources(t, "internal/config/config.go"), -1) {
		all[m[1]] = m[2]
	}
	if len(all) < 10 {
		t.Fatalf("found the defaults %v, want at least 10: is the pattern still right?", all)
	}
	return all
}

// amount is how documents write a quantity: 10 minutes, 1 MiB, 64.
const amount = `\d+(?:\.\d+)? (?:[KMG]iB|bytes|ms|s|seconds?|minutes?|hours?)|\d+(?:ms|s|m|h)|\d+`

// same reports whether an amount is the value of a variable.
func same(written, value string) bool {
	if d, err := time.ParseDuration(value); err == nil {
		number, unit, _ := strings.Cut(written, " ")
		if unit == "" {
			w, err := time.ParseDuration(written)
			return err == nil && w == d
		}
		n, err := strconv.ParseFloat(number, 64)
		units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "second": time.Second, "minute": time.Minute, "hour": time.Hour}
		if unit != "s" && unit != "ms" {
			unit = strings.TrimSuffix(unit, "s")
		}
		return err == nil && time.Duration(n*float64(units[unit])) == d
	}
	number, unit, _ := strings.Cut(written, " ")
	n, err := strconv.Atoi(number)
	size := map[string]int{"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
	return err == nil && strconv.Itoa(n*size) == value
}

// told are sentences that tell a default without the name of its variable: the
// text, with % for an amount, and the variables.
var told = map[string][]struct {
	text      string
	variables []string
}{
	"docs/protocol.md":   {{"The history is the newest % and %,", []string{"GATEWAY_HISTORY_BYTES", "GATEWAY_HISTORY_AGE"}}},
	"docs/quickstart.md": {{"The window is % and % by default", []string{"GATEWAY_HISTORY_BYTES", "GATEWAY_HISTORY_AGE"}}},
}

// Where prose tells the default of a variable, it is the default. It stands in
// brackets behind the variable or before it, in a table with the variable in the
// last column, or in a sentence that is listed above.
func TestDefaultsInProseAreThoseOfTheCode(t *testing.T) {
	all := defaults(t)
	files := markdown(t)
	for _, name := range []string{"api/openapi.yaml", "api/asyncapi.yaml"} {
		b, err := os.ReadFile(root + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(b)
	}
	seen := 0
	check := func(name, variable, written, where string) {
		value, ok := all[variable]
		if !ok {
			return // it has no default
		}
		if seen++; !same(written, value) {
			t.Errorf("%s: %s is not the default of %s, %s: %s", name, written, variable, value, strings.TrimSpace(where))
		}
	}
	behind := regexp.MustCompile("`(GATEWAY_[A-Z_]+)` \\((" + amount + ")\\)")
	before := regexp.MustCompile("(" + amount + ") \\(`(GATEWAY_[A-Z_]+)`\\)")
	for name, text := range files {
		if name == "CHANGELOG.md" { // it tells what was
			continue
		}
		for _, m := range behind.FindAllStringSubmatch(text, -1) {
			check(name, m[1], m[2], m[0])
		}
		for _, m := range before.FindAllStringSubmatch(text, -1) {
			check(name, m[2], m[1], m[0])
		}
		for line := range strings.Lines(text) {
			variables, amounts := limitsRow(line)
			for i, v := range variables {
				check(name, v, amounts[i], line)
			}
		}
	}
	for name, sentences := range told {
		for _, s := range sentences {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(s.text), "%", "("+amount+")")
			m := regexp.MustCompile(pattern).FindStringSubmatch(files[name])
			if m == nil {
				t.Errorf("%s does not say %q; if it says so in other words now, change the list in this test", name, s.text)
				continue
			}
			for i, v := range s.variables {
				check(name, v, m[1+i], m[0])
			}
		}
	}
	if seen < 14 {
		t.Errorf("found %d defaults, want at least 14: are the patterns still right?", seen)
	}
}

// limitsRow gives the variables in the last cell of a table's row, and the
// amounts in the cell before, if there is one for each.
func limitsRow(line string) (variables, amounts []string) {
	cells := strings.Split(strings.TrimSuffix(strings.TrimSpace(line), " |"), " | ")
	if len(cells) < 3 || !regexp.MustCompile("^`GATEWAY_[A-Z_]+`(, `GATEWAY_[A-Z_]+`)*$").MatchString(cells[len(cells)-1]) {
		return nil, nil
	}
	variables = regexp.MustCompile(`GATEWAY_[A-Z_]+`).FindAllString(cells[len(cells)-1], -1)
	amounts = regexp.MustCompile(amount).FindAllString(cells[len(cells)-2], -1)
	if len(amounts) < len(variables) {
		return nil, nil
	}
	return variables, amounts
}

func TestAmountsAreRead(t *testing.T) {
	for _, row := range []struct {
		written, value string
		want           bool
	}{
		{"10 minutes", "10m", true}, {"10m", "10m", true}, {"600 seconds", "10m", true}, {"15 minutes", "10m", false}, {"5 s", "5s", true}, {"5", "5s", false},
		{"64 MiB", "67108864", true}, {"64 KiB", "67108864", false}, {"10000", "10000", true}, {"262144 bytes", "262144", true}, {"4", "5", false},
	} {
		if got := same(row.written, row.value); got != row.want {
			t.Errorf("%q and %q: got %t, want %t", row.written, row.value, got, row.want)
		}
	}
}
