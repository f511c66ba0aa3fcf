package lan

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const oldConf, newConf = "listener 1883 10.0.0.3\n", "listener 1883 192.168.1.10\n"

func write(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server_settings.conf")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func wantFile(t *testing.T, path, want string, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != mode {
		t.Errorf("%s: got mode %v, %v, want %v", path, info.Mode(), err, mode)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("got %v beside it, want nothing", names)
	}
}

func TestMendFileReplacesItWithItsMode(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o600, 0o664} {
		path := write(t, oldConf, mode)
		change, err := MendFile(path, target)
		if err != nil || change.Old != "10.0.0.3" || !slices.Equal(change.Lines, []int{1}) {
			t.Errorf("got %+v, %v, want line 1 changed", change, err)
		}
		wantFile(t, path, newConf, mode)
	}
}

// A reader that has the file open goes on reading the old one: it is replaced,
// not written over.
func TestMendFileIsAtomic(t *testing.T) {
	path := write(t, oldConf, 0o644)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := MendFile(path, target); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(oldConf))
	if n, err := f.ReadAt(got, 0); string(got[:n]) != oldConf {
		t.Errorf("the open file: got %q, %v, want %q", got[:n], err, oldConf)
	}
	wantFile(t, path, newConf, 0o644)
}

func TestMendFileWithoutAChangeWritesNothing(t *testing.T) {
	path := write(t, newConf, 0o644)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if change, err := MendFile(path, target); err != nil || len(change.Lines) != 0 {
		t.Errorf("got %+v, %v, want no change", change, err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced, %v", err)
	}
}

func TestMendFileKeepsTheLink(t *testing.T) {
	path := write(t, oldConf, 0o644)
	link := filepath.Join(t.TempDir(), "link.conf")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := MendFile(link, target); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != path {
		t.Errorf("the link: got %q, %v, want one to %q", to, err, path)
	}
	wantFile(t, path, newConf, 0o644)
}

func TestMendFileSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	large := write(t, strings.Repeat("# \n", 1<<19)+oldConf, 0o644)
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):       "none\": no such file",
		dir:                              "it is no file",
		"/dev/null":                      "it is no file",
		large:                            "is it the right file?",
		write(t, "port 1883\n", 0o644):   "; nothing was written",
		write(t, "listener 1\n", 0o644):  "no listener with a LAN address",
		write(t, "[system]\nx=1", 0o644): "has no ip_address",
	} {
		_, err := MendFile(path, target)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), path) != 1 || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("got %v, want one line with %q and the path", err, want)
		}
		if content := strings.Contains(want, "listener") || strings.Contains(want, "written") || strings.Contains(want, "ip_address"); errors.Is(err, ErrContent) != content {
			t.Errorf("%v: is ErrContent: got %v, want %v", err, !content, content)
		}
	}
}
