package decode_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// The example of the documentation does what stands below it.
func TestDocumentationExampleRuns(t *testing.T) {
	const path = "../../docs/decoders.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "<!-- example -->\n```yaml\n")
	file, rest, ok2 := strings.Cut(rest, "```\n")
	_, rest, ok3 := strings.Cut(rest, "<!-- example values -->\n")
	table, _, ok4 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 || !ok3 || !ok4 {
		t.Fatalf("%s: got no example file and table of values", path)
	}
	r := parse(t, file)
	rows := strings.Split(table, "\n")[2:]
	if len(rows) != r.Len() {
		t.Errorf("got %d rows, want one for each of %d rules", len(rows), r.Len())
	}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		if len(cells) != 3 {
			t.Fatalf("got %q, want three columns", row)
		}
		for i := range cells {
			cells[i] = strings.Trim(cells[i], "`")
		}
		payload := []byte(cells[1])
		if digits, ok := strings.CutPrefix(cells[1], "0x"); ok {
			if payload, err = hex.DecodeString(digits); err != nil {
				t.Fatalf("%s: %v", row, err)
			}
		}
		if value, problem := r.Decode(cells[0], payload); string(value) != cells[2] || problem != "" {
			t.Errorf("%s: got %s %q", row, value, problem)
		}
	}
}
