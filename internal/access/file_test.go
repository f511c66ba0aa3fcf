package access

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	digestA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

const wholeFile = `# who may what
anonymous:                 # who brings no credentials
  subscribe: ["public/#"]
authenticated:
  subscribe: ["news/#"]
principals:
  - name: dashboard
    key_sha256: ["` + digestA + `"]
    subscribe: ["fleet/#"]
    publish: ["fleet/+/cmd/#"]
    retain: ["fleet/+/cmd/config"]
    deny: ["fleet/+/secret/#"]
  # a device
  - name: pi-3
    key_sha256:
      - "` + digestB + `"
    expires: 2027-01-01T00:00:00Z
    publish: ["fleet/{principal}/#"]
    roles: [viewer]
  - name: 123              # a name, though YAML sees a number
    operator: true
roles:
  viewer: {subscribe: ["fleet/#"]}
  "Domain Users": {deny: ["x/#"]}
`

func parse(t testing.TB, text string) *File {
	t.Helper()
	f, err := ParseFile([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFileGrantsWhatItSays(t *testing.T) {
	f := parse(t, wholeFile)
	type row struct {
		name    string
		keys    int
		expires string
		grants  string
	}
	var got []row
	for _, a := range f.Accounts() {
		expires := ""
		if !a.Expires.IsZero() {
			expires = a.Expires.Format(time.RFC3339)
		}
		got = append(got, row{a.Name, a.Keys, expires, fmt.Sprintf("%+v", a.Rights.Grants())})
	}
	want := []row{
		{"123", 0, "", "{Publish:[] Retain:[] Subscribe:[news/#] Deny:[] Operator:true}"},
		{"dashboard", 1, "", "{Publish:[fleet/+/cmd/#] Retain:[fleet/+/cmd/config] Subscribe:[fleet/# news/#] Deny:[fleet/+/secret/#] Operator:false}"},
		{"pi-3", 1, "2027-01-01T00:00:00Z", "{Publish:[fleet/pi-3/#] Retain:[] Subscribe:[fleet/# news/#] Deny:[] Operator:false}"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v,\nwant %v", got, want)
	}
	if got, want := f.anonymous.Grants().Subscribe, []string{"public/#"}; !slices.Equal(got, want) {
		t.Errorf("anonymous: got %q, want %q", got, want)
	}
}

func TestFileWithoutContentGrantsNothing(t *testing.T) {
	for _, text := range []string{
		"", "\n", "# only a comment\n", "---\n", "null", "{}", "\ufeff", "\ufeff# comment",
		"anonymous:\nauthenticated:\nprincipals:\nroles:\n",
		"anonymous:\n  subscribe:\n#   - a\n", "principals: []", "roles: {}", "anonymous: {}",
	} {
		f, err := ParseFile([]byte(text))
		if err != nil {
			t.Errorf("%q: got %v, want nothing granted", text, err)
			continue
		}
		if !f.anonymous.Empty() || len(f.Accounts()) != 0 || len(f.keys) != 0 {
			t.Errorf("%q: got %+v, want nothing granted", text, f)
		}
	}
}

// TestFileErrorsNameTheirPlace has a canary in every value, and in every name of a field that may be one.
func TestFileErrorsNameTheirPlace(t *testing.T) {
	for _, c := range []struct {
		text, field, want string
		line              int
	}{
		{"a: [", "", "not YAML", 1},
		{"anonymous:\n\tsubscribe: []", "", "not YAML", 2},
		{"anonymous: *canary", "", "not YAML", 0},
		{"anonymous: &canary {}\nauthenticated: *canary", "authenticated", "must have fields", 2},
		{"anonymous: {<<: {deny: [canary]}}", "anonymous.a field", "no such field", 1},
		{"canary", "", "must have fields", 1},
		{"[canary]", "", "must have fields", 1},
		{"anonymus: {}", "anonymus", "there are anonymous, authenticated, principals, roles", 1},
		{"gwk_CANARY: {}", "a field", "no such field", 1},
		{"? [canary]\n: x", "", "plain text", 1},
		{"anonymous: {}\nroles: {}\nanonymous: {}", "", "anonymous stands here twice", 3},
		{"anonymous: canary", "anonymous", "must have fields", 1},
		{"anonymous:\n  key_sha256: [canary]", "anonymous.key_sha256", "no such field", 2},
		{"anonymous:\n  subscribe: canary", "anonymous.subscribe", "must be a list", 2},
		{"anonymous:\n  subscribe: {canary: 1}", "anonymous.subscribe", "must be a list", 2},
		{"anonymous:\n  subscribe:\n    - a\n    - [canary]", "anonymous.subscribe[1]", "must be a text", 4},
		{"anonymous:\n  subscribe:\n    - a\n    -", "anonymous.subscribe[1]", "must be a text", 4},
		{"anonymous:\n  subscribe: [!!binary Y2FuYXJ5]", "anonymous.subscribe[0]", "must be a text", 2},
		{"anonymous:\n  subscribe: [canary/#/b]", "anonymous.subscribe[0]", "# must be the last", 2},
		{"anonymous:\n  subscribe: [\"{principal}/canary\"]", "anonymous.subscribe[0]", "the caller has none", 2},
		{"anonymous:\n  operator: canary", "anonymous.operator", "true or false", 2},
		{"anonymous:\n  operator: [true]", "anonymous.operator", "true or false", 2},
		{"principals: {canary: 1}", "principals", "must be a list", 1},
		{"principals:\n  - canary", "principals[0]", "must have fields", 2},
		{"principals:\n  -", "principals[0]", "has no name", 2},
		{"principals:\n  - publish: [canary]", "principals[0]", "has no name", 2},
		{"principals:\n  - name: can/ary", "principals[0].name", "1 to 64", 2},
		{"principals:\n  - name: \"+\"", "principals[0].name", "1 to 64", 2},
		{"principals:\n  - name: [canary]", "principals[0].name", "must be a text", 2},
		{"principals:\n  - name:", "principals[0].name", "must be a text", 2},
		{"principals:\n  - name: canary\n  - name: b\n  - name: canary", "principals[2].name", "another principal of this name", 4},
		{"principals:\n  - name: a\n    key: canary", "principals[0].key", "no such field; there are deny, expires, key_sha256", 3},
		{"principals:\n  - name: a\n    key_sha256: canary", "principals[0].key_sha256", "must be a list", 3},
		{"principals:\n  - name: a\n    key_sha256: [canary]", "principals[0].key_sha256[0]", "64 hex digits", 3},
		{"principals:\n  - name: a\n    key_sha256: [\"" + digestA + "00\"]", "principals[0].key_sha256[0]", "64 hex digits", 3},
		{"principals:\n  - name: a\n    key_sha256: [\"" + digestA + "\"]\n  - name: b\n    key_sha256:\n      - \"" + strings.ToUpper(digestA) + "\"",
			"principals[1].key_sha256[0]", "stands in the file already", 6},
		{"principals:\n  - name: a\n    key_sha256: [\"" + digestA + "\", \"" + digestA + "\"]", "principals[0].key_sha256[1]", "already", 3},
		{"principals:\n  - name: a\n    expires: canary", "principals[0].expires", "2027-01-01T00:00:00Z", 3},
		{"principals:\n  - name: a\n    expires: 2027-01-01", "principals[0].expires", "2027-01-01T00:00:00Z", 3},
		{"principals:\n  - name: a\n    roles: [canary]", "principals[0].roles[0]", "no such role", 3},
		{"principals:\n  - name: a\n    roles: [v, v]\nroles: {v: {}}", "principals[0].roles[1]", "already", 3},
		{"roles:\n  viewer: {subscribe: [canary#]}", "roles.viewer.subscribe[0]", "# must be a level", 2},
		{"roles:\n  \"CANARY,x\": {}", "roles", "name of a role", 2},
		{"roles:\n  viewer: {roles: [canary]}", "roles.viewer.roles", "no such field", 2},
		{"anonymous: {}\n---\nanonymous: {subscribe: [canary]}", "", "second document", 2},
		{"anonymous: {}\n---\n[canary", "", "not YAML", 0},
		{"anonymous: {subscribe: [" + strings.Repeat("a,", MaxFilters) + "a]}", "anonymous.subscribe[256]", "more than 256", 1},
		{strings.Repeat("#", maxFile+1), "", "larger than", 0},
	} {
		_, err := ParseFile([]byte(c.text))
		var place *FileError
		if !errors.As(err, &place) {
			t.Errorf("%.80q: got %v, want a FileError", c.text, err)
			continue
		}
		if place.Field != c.field || c.line != 0 && place.Line != c.line || !strings.Contains(place.Problem, c.want) {
			t.Errorf("%.80q:\ngot  %+v,\nwant line %d, %q, %q", c.text, place, c.line, c.field, c.want)
		}
		for _, leak := range []string{"canary", "CANARY", "can/ary", digestA, "Y2FuYXJ5"} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%.80q: the error has a value: %v", c.text, err)
			}
		}
	}
}

func TestFileErrorSaysWhere(t *testing.T) {
	_, err := ParseFile([]byte("principals:\n  - name: a\n    subscribe: [\"a#\"]"))
	const want = "line 3, principals[0].subscribe[0]: The filter has # beside other characters at level 1; # must be a level of its own."
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestFileBoundsWhatAddsUp: what authenticated, a role and the entry grant is bounded together.
func TestFileBoundsWhatAddsUp(t *testing.T) {
	var a, b []string
	for i := range MaxFilters - 10 {
		a, b = append(a, fmt.Sprintf("a%d", i)), append(b, fmt.Sprintf("b%d", i))
	}
	text := "authenticated: {subscribe: [" + strings.Join(a, ",") + "]}\nprincipals:\n  - name: x\n    subscribe: [" + strings.Join(b, ",") + "]"
	_, err := ParseFile([]byte(text))
	if want := "line 3, principals[0]: the subscribe filters add up to more than 256"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestReadFileWarnsOfOthersWhoCanRead(t *testing.T) {
	path := tempFile(t, wholeFile)
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, note, err := ReadFile(path)
		if err != nil || (note != "") != want || want && !strings.Contains(note, "chmod 600") {
			t.Errorf("mode %04o: got %q, %v; want a note: %t", mode, note, err, want)
		}
	}
}

func TestReadFileNamesTheFile(t *testing.T) {
	bad, missing := tempFile(t, "x: 1"), filepath.Join(t.TempDir(), "missing")
	for path, want := range map[string]string{
		bad:         "line 1, x: there is no such field",
		missing:     "no such file",
		t.TempDir(): "is a directory",
	} {
		_, _, err := ReadFile(path)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: got %v, want its name once, and %q", path, err, want)
		}
	}
	write(t, bad, strings.Repeat("#\n", maxFile))
	if _, _, err := ReadFile(bad); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: got %v", err)
	}
}
