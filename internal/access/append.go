package access

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// AppendEntry adds a principal to the access file, which it makes if there is none. The file is replaced in one step,
// with mode 0600: whoever reads it meanwhile sees it as it was or as it is. All that stands in the file stays as it is,
// comments too. Nothing is written unless the file is sound, before and after.
func AppendEntry(path string, entry Entry) error {
	if err := entry.Check(); err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // so that a link stays a link
	}
	lock := path + ".new"
	out, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%q exists: the file is being changed; if nobody does, an earlier change was cut off, so remove it", lock)
	} else if err != nil {
		return fmt.Errorf("cannot write %q: %w", lock, cause(err))
	}
	err = appendTo(path, out, entry)
	if closing := out.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(lock, path)
	}
	if err != nil {
		os.Remove(lock)
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// appendTo writes what path holds, and the entry, to out.
func appendTo(path string, out *os.File, entry Entry) error {
	data, _, err := readBounded(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if data, err = insert(data, entry); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if err := keepOwner(path, out); err != nil {
		return fmt.Errorf("cannot give the new %q to the owner of the old: %w", path, cause(err))
	}
	if _, err := out.Write(data); err != nil {
		return err
	}
	return out.Sync()
}

// insert returns the text with the entry as the last of its principals.
func insert(data []byte, entry Entry) ([]byte, error) {
	before, err := ParseFile(data)
	if err != nil {
		return nil, err
	}
	if before.principals[entry.Name] != nil {
		return nil, errors.New("there is a principal of this name already; make the key without --append, and add the digest that is printed to its key_sha256")
	}
	root, err := parseYAML(data)
	if err != nil {
		return nil, err
	}
	at, text, err := place(data, root, entry)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(data, []byte("\r\n")) {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	result := slices.Concat(data[:at], text, data[at:])
	after, err := ParseFile(result)
	if err != nil || !grew(before, after, entry) {
		return nil, errors.New("it is written in a way that an entry cannot be added to; add it by hand")
	}
	return result, nil
}

// place finds the byte offset for the entry, and its text.
func place(data []byte, root node, entry Entry) (at int, text []byte, err error) {
	var key, list *yaml.Node
	end := len(data)
	if !root.absent() {
		for i := 0; i+1 < len(root.Content); i += 2 {
			if list != nil { // the field behind the principals
				end = backOver(data, offset(data, root.Content[i].Line))
				break
			}
			if root.Content[i].Value == "principals" {
				key, list = root.Content[i], root.Content[i+1]
			}
		}
	}
	var b bytes.Buffer
	if end > 0 && data[end-1] != '\n' {
		b.WriteByte('\n')
	}
	switch {
	case list == nil:
		b.WriteString("principals:\n" + entry.YAML(2))
	case list.Kind == yaml.SequenceNode && list.Style&yaml.FlowStyle == 0:
		b.WriteString(entry.YAML(list.Column - 1))
	case list.Kind == yaml.ScalarNode: // nothing behind the colon
		b.WriteString(entry.YAML(key.Column + 1))
	default:
		return 0, nil, errors.New("the principals stand in brackets; write them as a list of lines that start with -, or add the entry by hand")
	}
	return end, b.Bytes(), nil
}

// offset returns where a line begins, counted from 1.
func offset(data []byte, line int) int {
	at := 0
	for ; line > 1; line-- {
		at += bytes.IndexByte(data[at:], '\n') + 1
	}
	return at
}

// backOver steps back over the empty lines and the comments that belong to the field at end.
func backOver(data []byte, end int) int {
	for end > 0 {
		start := bytes.LastIndexByte(data[:end-1], '\n') + 1
		line := bytes.TrimRight(data[start:end], "\r\n")
		if len(line) > 0 && line[0] != '#' {
			break
		}
		end = start
	}
	return end
}

// grew reports whether after is before and the entry, and nothing else.
func grew(before, after *File, entry Entry) bool {
	added := after.principals[entry.Name]
	if added == nil || len(after.principals) != len(before.principals)+1 || len(added.keys) != 1 || added.keys[0] != entry.Key {
		return false
	}
	for name, a := range before.principals {
		if b := after.principals[name]; b == nil || b.rights.Class() != a.rights.Class() || !slices.Equal(b.keys, a.keys) || !b.expires.Equal(a.expires) {
			return false
		}
	}
	return before.anonymous.Class() == after.anonymous.Class() && sameLists(before.authenticated, after.authenticated) &&
		maps.EqualFunc(before.roles, after.roles, sameLists) && sameLists(entry.Grants, added.own)
}

func sameLists(a, b Grants) bool {
	for _, l := range lists {
		if !slices.Equal(*l.of(&a), *l.of(&b)) {
			return false
		}
	}
	return a.Operator == b.Operator
}
