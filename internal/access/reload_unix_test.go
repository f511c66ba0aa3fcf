//go:build unix

package access

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFileBehindALinkIsReadAgainWhenItChanges: a link in one folder leads to a file in another, and later to one in a third.
func TestFileBehindALinkIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.yaml")
	rights := func(n int) string { return fmt.Sprintf("anonymous: {subscribe: [\"%d\"]}", n) }
	var told reports
	var a *Authenticator
	for n := 0; n < 6; n += 2 {
		real := filepath.Join(t.TempDir(), "real.yaml")
		write(t, real, rights(n))
		if err := os.Symlink(real, path+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if a == nil {
			a = open(t, Options{Keys: true, File: path, Report: told.report, Note: told.note})
		}
		for at := n; at < n+2; at++ {
			eventually(t, "the file behind the link is in force", func() bool { return a.Anonymous().Rights.MaySubscribe(fmt.Sprint(at)) })
			if err := os.WriteFile(real, []byte(rights(at+1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, notes := told.lines(); len(notes) != 0 {
		t.Errorf("got notes %q, want none", notes)
	}
}

// TestPipeInPlaceOfTheFileHoldsNothingUp: nobody writes to it, and what comes after it counts.
func TestPipeInPlaceOfTheFileHoldsNothingUp(t *testing.T) {
	path := tempFile(t, loginFile)
	var told reports
	a := open(t, Options{Keys: true, File: path, Report: told.report})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(t.Context()); err == nil {
		t.Error("a pipe was read")
	}
	if _, err := a.Login(Credentials{Token: keyA}); err != nil {
		t.Error("the old rights are gone")
	}
	write(t, path, "# nobody\n")
	if err := a.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	p, err := a.Login(Credentials{Token: keyA})
	wantRefused(t, p, err)
}
