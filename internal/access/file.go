package access

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxFile bounds what is read from a file, in bytes: thousands of principals fit, and a wrong path may lead anywhere.
const maxFile = 1 << 20

// File is an access file that has been read: who there is, and what is granted. It never changes. The zero value grants
// nothing to anybody.
type File struct {
	anonymous     *Rights // nil grants nothing; apart, so that who keeps the rights does not keep the file
	authenticated Grants
	principals    map[string]*account
	keys          map[Digest]*account
	holders       map[Digest]*Principal // who shows the key: the same for everybody who does
	roles         map[string]Grants
}

// account is a principal of the access file.
type account struct {
	name    string
	keys    []Digest
	expires time.Time
	roles   []string
	own     Grants
	grants  []Grants // all that the principal gets, but for roles that are shown
	rights  *Rights  // of grants
}

// Account is what operators see of a principal of the access file.
type Account struct {
	Name    string
	Keys    int // how many
	Expires time.Time
	Rights  *Rights
}

// ReadFile reads an access file, as [ParseFile]; the errors name it. The note is a sentence about a file that others can
// read, or "".
func ReadFile(path string) (file *File, note string, err error) {
	data, mode, err := readBounded(path)
	if err != nil {
		return nil, "", err
	}
	if file, err = ParseFile(data); err != nil {
		return nil, "", fmt.Errorf("%q: %w", path, err)
	}
	return file, openToOthers(path, mode), nil
}

func openToOthers(path string, mode fs.FileMode) string {
	if !mode.IsRegular() || mode.Perm()&0o077 == 0 {
		return ""
	}
	return fmt.Sprintf("other users of this machine may read %q (mode %04o); run chmod 600", path, mode.Perm())
}

// readBounded reads a small file. The errors name it, and what to do.
func readBounded(path string) ([]byte, fs.FileMode, error) { return readFile(path, false) }

// readFile is readBounded. Again: the file was read before, and is read without waiting for anybody. A pipe or a device
// in its place would keep what comes later from being read, for ever.
func readFile(path string, again bool) ([]byte, fs.FileMode, error) {
	flags := os.O_RDONLY
	if again {
		flags |= syscall.O_NONBLOCK
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read %q: %w", path, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read %q: %w", path, cause(err))
	}
	if again && !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("cannot read %q again: it is no regular file any more", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read %q: %w", path, cause(err))
	}
	if len(data) > maxFile {
		return nil, 0, fmt.Errorf("%q is larger than %d bytes; is it the right file?", path, maxFile)
	}
	return data, info.Mode(), nil
}

// cause drops the path from an error of package os: ours has it, quoted.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// ParseFile reads the text of an access file: YAML with the fields anonymous, authenticated, principals and roles, all
// of which may be left out. Nothing but comments grants nothing. Every error is a [*FileError].
func ParseFile(data []byte) (*File, error) {
	root, err := parseYAML(data)
	if err != nil {
		return nil, err
	}
	f := &File{principals: map[string]*account{}, keys: map[Digest]*account{}, holders: map[Digest]*Principal{}, roles: map[string]Grants{}}
	var principals node
	var anonymous Grants
	err = root.fields(map[string]func(node) error{
		"anonymous":     func(n node) error { return n.grants(&anonymous, false, nil) },
		"authenticated": func(n node) error { return n.grants(&f.authenticated, true, nil) },
		"principals":    func(n node) error { principals = n; return nil },
		"roles":         f.readRoles,
	})
	if err == nil && principals.Node != nil {
		err = principals.items(f.readPrincipal) // last, because they refer to the rest
	}
	if err != nil {
		return nil, err
	}
	f.anonymous, err = Compile("", anonymous)
	return f, err
}

func (f *File) readRoles(n node) error {
	return n.members(func(key, value node) error {
		if !isRole(key.Value) {
			return key.errorf("the name of a role must be 1 to %d bytes without control characters and commas", maxRole)
		}
		var g Grants
		if err := value.grants(&g, true, nil); err != nil {
			return err
		}
		f.roles[key.Value] = g
		return nil
	})
}

const maxRole = 128

// isRole reports whether s can be the name of a role: what identity providers call groups, which may have spaces,
// slashes and colons in them.
func isRole(s string) bool {
	return s != "" && len(s) <= maxRole && utf8.ValidString(s) && !strings.ContainsRune(s, ',') &&
		!strings.ContainsFunc(s, unicode.IsControl) && strings.TrimSpace(s) == s
}

func (f *File) readPrincipal(n node) error {
	a := &account{}
	var name node
	err := n.grants(&a.own, true, map[string]func(node) error{
		"name":       func(v node) error { name = v; return v.scalar(&a.name) },
		"key_sha256": func(v node) error { return v.items(func(v node) error { return f.readKey(v, a) }) },
		"expires":    func(v node) error { return v.time(&a.expires) },
		"roles":      func(v node) error { return f.readRoleNames(v, a) },
	})
	if err != nil {
		return err
	}
	if name.Node == nil {
		return n.errorf("has no name")
	}
	if !CheckName(a.name) {
		return name.errorf("must be %s", nameRule)
	}
	if f.principals[a.name] != nil {
		return name.errorf("there is another principal of this name; put its keys and lists into one")
	}
	f.principals[a.name] = a
	a.grants = []Grants{f.authenticated, a.own}
	for _, role := range a.roles {
		a.grants = append(a.grants, f.roles[role])
	}
	if a.rights, err = Compile(a.name, a.grants...); err != nil {
		return n.errorf("%v, with those of authenticated and of its roles", err)
	}
	for _, key := range a.keys {
		if f.holders[key], err = f.principal(ViaKey, a.name, proof{digest: key}); err != nil {
			return n.errorf("%v", err)
		}
	}
	return nil
}

func (f *File) readKey(n node, a *account) error {
	var text string
	if err := n.scalar(&text); err != nil {
		return err
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(Digest{}) {
		return n.errorf("must be the 64 hex digits of a key's SHA-256; gateway key new prints them")
	}
	if f.keys[Digest(raw)] != nil {
		return n.errorf("this digest stands in the file already; each key is one principal's, once")
	}
	f.keys[Digest(raw)] = a
	a.keys = append(a.keys, Digest(raw))
	return nil
}

func (f *File) readRoleNames(n node, a *account) error {
	return n.items(func(n node) error {
		var role string
		if err := n.scalar(&role); err != nil {
			return err
		}
		if _, ok := f.roles[role]; !ok {
			return n.errorf("there is no such role in this file")
		}
		if slices.Contains(a.roles, role) {
			return n.errorf("this role stands in the list already")
		}
		a.roles = append(a.roles, role)
		return nil
	})
}

// Accounts lists the principals of the file, by name.
func (f *File) Accounts() []Account {
	all := make([]Account, 0, len(f.principals))
	for _, a := range f.principals {
		all = append(all, Account{Name: a.name, Keys: len(a.keys), Expires: a.expires, Rights: a.rights})
	}
	slices.SortFunc(all, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	return all
}
