//go:build unix

package lan

import (
	"os"
	"syscall"
	"testing"
)

// Root may mend what belongs to others, and it stays theirs.
func TestMendFileKeepsTheOwner(t *testing.T) {
	path := write(t, oldConf, 0o640)
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 12345, 23456
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if _, err := MendFile(path, target); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, newConf, 0o640)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != uid || int(stat.Gid) != gid {
		t.Errorf("owner and group: got %d and %d, want %d and %d", stat.Uid, stat.Gid, uid, gid)
	}
}
