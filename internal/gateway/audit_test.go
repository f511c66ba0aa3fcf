package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Lines of the audit log that are lost are told of once, in the log that
// operators read.
func TestAuditLogThatCannotBeWrittenIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	log := NewLog("text", "info", &told)
	audit, err := openAudit(path, os.Stdout, log.Logger)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		audit.lines.Info("audit", "n", 1)
		audit.Flush(logFlush)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	audit.reopen(log.Logger)
	for range 3 {
		audit.lines.Info("audit", "n", 2)
		audit.Flush(logFlush)
	}
	audit.close()
	log.Close()
	lost, again := strings.Count(told.String(), "cannot be written"), strings.Count(told.String(), "is written again")
	if lost != 1 || again != 1 || !strings.Contains(told.String(), "no space left") {
		t.Errorf("got %s, want one line of each kind, and why", told.String())
	}
	written, err := os.ReadFile(path)
	if err != nil || strings.Count(string(written), `"n":2`) != 3 || !strings.Contains(string(written), `"lines":3`) {
		t.Errorf("the audit log has %s (%v), want its lines, and how many are missing", written, err)
	}
}
