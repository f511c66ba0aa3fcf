//go:build unix

package access

import (
	"os"
	"syscall"
	"testing"
)

// TestAppendKeepsTheOwner gives the file to somebody else where that is allowed, which is to root.
func TestAppendKeepsTheOwner(t *testing.T) {
	path := tempFile(t, "")
	if err := os.Chown(path, 12345, 12345); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	owner := func() uint32 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	before := owner()
	if err := AppendEntry(path, someEntry("pi-3")); err != nil {
		t.Fatal(err)
	}
	if got := owner(); got != before {
		t.Errorf("got owner %d, want %d", got, before)
	}
}
