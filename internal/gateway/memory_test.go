package gateway

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/config"
)

func TestMemoryIsWhatTheDocumentationAddsUp(t *testing.T) {
	cfg, _, err := config.Load()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("With the defaults that is %d MiB in all", Memory(cfg)>>20); !strings.Contains(string(page), want) {
		t.Errorf("docs/operations.md does not say %q", want)
	}
	var sum int64
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, " | ")
		var mib int64
		if len(cells) == 4 && strings.HasPrefix(cells[3], "`gateway_") {
			if _, err := fmt.Sscanf(cells[2], "%d MiB", &mib); err != nil {
				t.Errorf("%q: %v", cells[2], err)
			}
			sum += mib
		}
	}
	rest := int64(memoryFixed + cfg.MaxConnections*(memoryStream+memoryConnection))
	if got := sum<<20 + rest; got != Memory(cfg) {
		t.Errorf("the table adds up to %d bytes with the rest, want %d", got, Memory(cfg))
	}
}
