package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// section is what one measurement found.
type section struct {
	name, title string
	head        []string
	rows        [][]string
	verdicts    []verdict
	growth      *growth // what it plots, if it does
	note        string
}

func (s *section) row(cells ...string) { s.rows = append(s.rows, cells) }

// verdict is one figure beside its target.
type verdict struct {
	what  string
	value series // empty: not measured
	op    string // "≥", "≤" or "<"
	limit float64
	unit  string
	why   string // it was not measured
	smoke bool   // it was measured too briefly to judge
}

func (v verdict) cells() []string {
	target := strings.TrimSpace(fmt.Sprintf("%s %s %s", v.op, number(v.limit), v.unit))
	if len(v.value) == 0 {
		return []string{v.what, "not measured: " + v.why, target, "-"}
	}
	return []string{v.what, strings.TrimSpace(v.value.text() + " " + v.unit), target, v.outcome()}
}

func (v verdict) outcome() string {
	m := v.value.median()
	switch {
	case v.smoke:
		return "-"
	case v.op == "≥" && m >= v.limit, v.op == "≤" && m <= v.limit, v.op == "<" && m < v.limit:
		return "reached"
	}
	return "not reached"
}

func atLeast(limit float64, unit, what string, value series) verdict {
	return verdict{what: what, value: value, op: "≥", limit: limit, unit: unit}
}

func atMost(limit float64, unit, what string, value series) verdict {
	return verdict{what: what, value: value, op: "≤", limit: limit, unit: unit}
}

// table writes Markdown with columns of one width, so that it can be read as
// text, too.
func table(head []string, rows [][]string) string {
	width := make([]int, len(head))
	for _, r := range append([][]string{head}, rows...) {
		for i, c := range r {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, c := range cells {
			b.WriteString("| " + c + strings.Repeat(" ", width[i]-len([]rune(c))) + " ")
		}
		b.WriteString("|\n")
	}
	line(head)
	for _, w := range width {
		b.WriteString("|" + strings.Repeat("-", w+2))
	}
	b.WriteString("|\n")
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

var verdictHead = []string{"Figure", "Measured", "Target", ""}

// body is the section's tables.
func (s *section) body() string {
	var b strings.Builder
	if len(s.rows) > 0 {
		b.WriteString(table(s.head, s.rows))
	}
	if len(s.verdicts) > 0 {
		var rows [][]string
		for _, v := range s.verdicts {
			rows = append(rows, v.cells())
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(table(verdictHead, rows))
	}
	if s.note != "" {
		b.WriteString("\n" + s.note + "\n")
	}
	return b.String()
}

// text is the section for the terminal.
func (s *section) text() string { return "## " + s.title + "\n\n" + s.body() }

// report is one run.
type report struct {
	machine  string
	quick    bool
	sections []*section
}

// summary is one table of all figures that have a target.
func (r *report) summary() string {
	var rows [][]string
	for _, s := range r.sections {
		for _, v := range s.verdicts {
			rows = append(rows, append([]string{s.title}, v.cells()...))
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return table(append([]string{"Work"}, verdictHead...), rows)
}

func (r *report) heading() string {
	if r.quick {
		return r.machine + "\n\nThis was a smoke run (`-quick`): it counts messages and measures nothing.\n"
	}
	return r.machine + "\n"
}

// write writes the files that the options name.
func (r *report) write(o options) error {
	if o.out != "" {
		var b strings.Builder
		b.WriteString("# Results\n\nWritten by the load tool; [README.md](README.md) has the method and says what the columns mean.\n\n" + r.heading())
		if s := r.summary(); s != "" {
			b.WriteString("\n## Targets\n\n" + s)
		}
		for _, s := range r.sections {
			b.WriteString("\n" + s.text())
		}
		if err := os.WriteFile(o.out, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	if o.docs == "" {
		return nil
	}
	for _, s := range r.sections {
		if s.growth == nil {
			continue
		}
		if err := s.growth.draw(filepath.Join(o.docs, "performance", s.name+".svg")); err != nil {
			return err
		}
	}
	if err := refill(filepath.Join(o.docs, "performance.md"), r.fill); err != nil {
		return err
	}
	if o.readme == "" {
		return nil
	}
	return refill(o.readme, func(doc string) (string, error) {
		return fillWith(doc, map[string]string{"headlines": r.headlines()})
	})
}

// refill writes a file anew with its markers filled.
func refill(file string, fill func(doc string) (string, error)) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := fill(string(old))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// headlines is the first figure of some measurements, for those who only want
// to know what to expect.
func (r *report) headlines() string {
	var rows [][]string
	for _, s := range r.sections {
		switch s.name {
		case "fanout", "paced", "batch", "idle", "start":
			v := s.verdicts[0]
			rows = append(rows, []string{s.title, v.what, v.cells()[1]})
		}
	}
	return table([]string{"Work", "Figure", "Measured"}, rows)
}

var marker = regexp.MustCompile(`(?s)<!-- bench: ([a-z]+) -->\n.*?<!-- /bench -->`)

// fill replaces what stands between the markers of a document. A marker that
// this run has nothing for keeps its text.
func (r *report) fill(doc string) (string, error) {
	blocks := map[string]string{"machine": r.heading(), "summary": r.summary()}
	for _, s := range r.sections {
		blocks[s.name] = s.body()
	}
	return fillWith(doc, blocks)
}

// fillWith puts each block between its markers.
func fillWith(doc string, blocks map[string]string) (string, error) {
	found := map[string]bool{}
	doc = marker.ReplaceAllStringFunc(doc, func(old string) string {
		name := marker.FindStringSubmatch(old)[1]
		found[name] = true
		text, ok := blocks[name]
		if !ok {
			return old
		}
		return "<!-- bench: " + name + " -->\n" + text + "<!-- /bench -->"
	})
	for name := range blocks {
		if !found[name] {
			return "", fmt.Errorf("there is no marker <!-- bench: %s -->", name)
		}
	}
	return doc, nil
}

// describeMachine says what the figures depend on, and nothing that tells
// whose machine it is.
func describeMachine(o options) string {
	kernel, _, _ := strings.Cut(firstLine("uname", "-sr"), "-") // without a builder's own suffix
	rivals := firstLine(mosquittoPath(), "-h")
	if v := firstLine(o.nats, "--version"); v != "" {
		rivals += ", " + strings.ReplaceAll(v, ": v", " ")
	} else {
		rivals += "; no nats-server, its figures are left out"
	}
	return fmt.Sprintf("%d cores, %s, %s, %s; %s; %s. Rounds of %v, %d each. Load of the machine before the run: %s.", runtime.NumCPU(), runtime.GOARCH, kernel,
		strings.Replace(runtime.Version(), "go", "Go ", 1), rivals, time.Now().UTC().Format("2006-01-02"), o.time, o.rounds, load())
}

// load is the load average of the last minute: on a machine that is busy with
// something else, the figures are worth less.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func firstLine(command string, args ...string) string {
	out, _ := exec.Command(command, args...).Output() // mosquitto -h exits with 1
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
