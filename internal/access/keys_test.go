package access

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestKeysAreRandomAndLong(t *testing.T) {
	seen := map[string]bool{}
	form := regexp.MustCompile(`^gwk_[A-Za-z0-9_-]{43}$`)
	for range 1000 {
		key := NewKey()
		if !form.MatchString(key) || seen[key] || !isSecret(key, keyPrefix) {
			t.Fatalf("got %q, again: %t", key, seen[key])
		}
		if raw, err := base64.RawURLEncoding.DecodeString(key[4:]); err != nil || len(raw) != 32 {
			t.Fatalf("%q: got %d bytes, %v; want 32", key, len(raw), err)
		}
		seen[key] = true
	}
}

func TestDigestIsTheSHA256OfTheWholeKey(t *testing.T) {
	key := "gwk_" + strings.Repeat("A", 43)
	if got, want := DigestOf(key).String(), fmt.Sprintf("%x", sha256.Sum256([]byte(key))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOnlyTheFormOfAKeyIsAKey(t *testing.T) {
	key := "gwk_" + strings.Repeat("A", 43)
	for _, s := range []string{
		"", "gwk_", key[:46], key + "A", "gwt_" + key[4:], "GWK_" + key[4:], key[:46] + "=", key[:46] + "+", key[:46] + "/",
		key[:46] + ".", key[:46] + "\n", key[:46] + "\x00", " " + key[:46], strings.Repeat("A", 47), strings.Repeat("gwk_", 1<<18),
	} {
		if isSecret(s, keyPrefix) {
			t.Errorf("%.60q: got a key", s)
		}
	}
}

func someEntry(name string) Entry {
	return Entry{
		Name: name, Key: DigestOf("gwk_" + name), Expires: time.Date(2027, 1, 1, 0, 0, 0, 999, time.UTC),
		Grants: Grants{Publish: []string{"fleet/{principal}/#", `quoted "x\y`}, Subscribe: []string{"ä/#"}, Deny: []string{"$SYS/x"}, Operator: true},
	}
}

func TestEntryIsWhatTheFileReads(t *testing.T) {
	for _, name := range []string{"pi-3", "null", "true", "123", "1e3", "-", "0x1F", "2027-01-01"} {
		for indent := range 4 {
			entry := someEntry(name)
			if err := entry.Check(); err != nil {
				t.Fatal(err)
			}
			f := parse(t, "principals:\n"+entry.YAML(indent))
			a := f.principals[name]
			if a == nil || !sameLists(a.own, entry.Grants) || !slices.Equal(a.keys, []Digest{entry.Key}) || !a.expires.Equal(entry.Expires.Truncate(time.Second)) {
				t.Fatalf("%s, indented by %d: got %+v, want %+v", name, indent, a, entry)
			}
		}
	}
}

func TestEntryIsChecked(t *testing.T) {
	for want, e := range map[string]Entry{
		"the name must be":      {Name: "a/b"},
		"subscribe[0]":          {Name: "a", Grants: Grants{Subscribe: []string{"a#"}}},
		"retain[1]":             {Name: "a", Grants: Grants{Retain: []string{"a", "$SYS/x"}}},
		"nobody may publish to": {Name: "a", Grants: Grants{Publish: []string{"$x"}}},
	} {
		path := filepath.Join(t.TempDir(), "access.yaml")
		if err := AppendEntry(path, e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", e, err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%+v: the file was written", e)
		}
	}
}

// TestAppendKeepsTheRest has each way to write a list, and what comes behind it.
func TestAppendKeepsTheRest(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"no file", "", "principals:\n@2"},
		{"comments", "# mine\n\n# and more", "# mine\n\n# and more\nprincipals:\n@2"},
		{"no principals", "anonymous:\n  subscribe: [a]\n", "anonymous:\n  subscribe: [a]\nprincipals:\n@2"},
		{"nothing behind the colon", "principals:\n# none yet\nroles: {}\n", "principals:\n@2# none yet\nroles: {}\n"},
		{"null", "principals: ~\nroles: {}", ""},
		{"indented", "principals:\n  - name: a # first\n", "principals:\n  - name: a # first\n@2"},
		{"not indented", "principals:\n- name: a\n", "principals:\n- name: a\n@0"},
		{"far indented", "principals:\n      - name: a\n        deny:\n          - x\n", "principals:\n      - name: a\n        deny:\n          - x\n@6"},
		{"no line break at the end", "principals:\n  - name: a", "principals:\n  - name: a\n@2"},
		{"CRLF", "principals:\r\n  - name: a\r\nroles: {}\r\n", "principals:\r\n  - name: a\r\n@2roles: {}\r\n"},
		{"roles behind", "principals:\n  - name: a\n\n# the roles\nroles:\n  v: {}\n", "principals:\n  - name: a\n@2\n# the roles\nroles:\n  v: {}\n"},
		{"comment of the last entry", "principals:\n  - name: a\n    # its end\nroles: {}\n", "principals:\n  - name: a\n    # its end\n@2roles: {}\n"},
		{"entries with braces", "principals:\n  - {name: a, deny: [x]}\nroles: {}\n", "principals:\n  - {name: a, deny: [x]}\n@2roles: {}\n"},
		{"marker", "---\nprincipals:\n  - name: a\n", "---\nprincipals:\n  - name: a\n@2"},
		{"brackets", "principals: [{name: a}]\n", ""},
		{"empty brackets", "principals: []\n", ""},
		{"all in braces", "{principals: null}\n", ""},
		{"end marker", "principals:\n  - name: a\n...\n", ""},
		{"the same name", "principals:\n  - name: pi-3\n", ""},
		{"broken", "principals:\n  - nam: a\n", ""},
	} {
		path := filepath.Join(t.TempDir(), "access.yaml")
		if c.name != "no file" {
			write(t, path, c.before)
		}
		entry := someEntry("pi-3")
		err := AppendEntry(path, entry)
		want := c.after
		for indent := range 7 {
			text := entry.YAML(indent)
			if c.name == "CRLF" {
				text = strings.ReplaceAll(text, "\n", "\r\n")
			}
			want = strings.ReplaceAll(want, fmt.Sprint("@", indent), text)
		}
		if want == "" {
			want = c.before
		}
		got, _ := os.ReadFile(path)
		if string(got) != want || (err == nil) != (c.after != "") {
			t.Errorf("%s: got %v and\n%s\nwant\n%s", c.name, err, got, want)
		}
		if _, err := os.Stat(path + ".new"); err == nil {
			t.Errorf("%s: what was being written is still there", c.name)
		}
	}
}

// TestAppendNoticesWhatElseChanges: whatever the text, an entry is added only if nothing else means something else then.
func TestAppendNoticesWhatElseChanges(t *testing.T) {
	entry := someEntry("pi-9")
	after := "principals:\n" + entry.YAML(2)
	const before = "anonymous: {deny: [a]}\nauthenticated: {deny: [a]}\nroles: {v: {deny: [a]}}\n"
	const other = "  - {name: a, deny: [x], roles: [v]}\n"
	for text, want := range map[string]bool{
		before + after + other: true,
		before + after:         false,
		before + after + "  - {name: a, deny: [y], roles: [v]}\n":                                      false,
		before + after + "  - {name: b, deny: [x], roles: [v]}\n":                                      false,
		before + after + other + "  - name: b\n":                                                       false,
		before + "principals:\n" + other + "  - name: pi-9\n":                                          false,
		strings.Replace(before, "anonymous: {deny: [a]}", "anonymous: {deny: [b]}", 1) + after + other: false,
		strings.Replace(before, "v: {deny: [a]}", "v: {deny: [b]}", 1) + after + other:                 false,
		strings.Replace(before, "authenticated: {deny: [a]}", "", 1) + after + other:                   false,
	} {
		if got := grew(parse(t, before+"principals:\n"+other), parse(t, text), entry); got != want {
			t.Errorf("%s: got %t, want %t", text, got, want)
		}
	}
}

func TestAppendLeavesTheFilePrivateAndALinkALink(t *testing.T) {
	path := tempFile(t, "# mine\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := AppendEntry(link, someEntry("pi-3")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: got %v, %v; want a link", info.Mode(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: got mode %v, %v; want 0600", info.Mode(), err)
	}
}

// TestAppendAtOnceLosesNobody: of those who append at the same time some are refused, and none of the others is lost.
func TestAppendAtOnceLosesNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.yaml")
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() { errs[i] = AppendEntry(path, someEntry(fmt.Sprintf("pi-%d", i))) })
	}
	wg.Wait()
	f, _, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if is := f.principals[fmt.Sprintf("pi-%d", i)] != nil; is != (err == nil) {
			t.Errorf("pi-%d: got %v, in the file: %t", i, err, is)
		}
		if err != nil && !strings.Contains(err.Error(), "is being changed") {
			t.Errorf("pi-%d: got %v", i, err)
		}
	}
}

func TestAppendSaysWhatIsInTheWay(t *testing.T) {
	path := tempFile(t, "")
	write(t, path+".new", "")
	if err := AppendEntry(path, someEntry("a")); err == nil || !strings.Contains(err.Error(), path+".new") {
		t.Errorf("got %v, want the name of the file that is in the way", err)
	}
	if _, err := os.Stat(path + ".new"); err != nil {
		t.Errorf("somebody else's file is gone: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "no", "access.yaml")
	if err := AppendEntry(missing, someEntry("a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: got %v", err)
	}
}

func TestSecretsAreFoundAnywhere(t *testing.T) {
	key := NewKey()
	for text, want := range map[string]bool{
		key: true, "/topics/" + key: true, "/events?x=a&y=" + key + "&z": true, "gwk_gwk_" + key: true,
		key[:len(key)-1]: false, "gwk_": false, "/topics/gwk_/" + key[4:]: false, "": false,
		"/x/eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.": true, "eyJeyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln": true,
		"/x/eyJhbGciOiJub25lIn0": false, "/eyJ.eyJ": false, "eyJ.a.b": false, "eyJ/eyJ.eyJ/.": false,
	} {
		if got := HoldsSecret(text); got != want {
			t.Errorf("HoldsSecret(%q): got %t, want %t", text, got, want)
		}
	}
}
