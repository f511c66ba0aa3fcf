package lan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// maxFile bounds what is read: such files are small, and a wrong path may lead
// anywhere.
const maxFile = 1 << 20

// ErrContent marks what a file's content is to blame for, not the system.
var ErrContent = errors.New("nothing was written")

// MendFile mends the file at path, and replaces it in one step: a reader sees
// the old file or the new one. Its mode and owner stay, and a symbolic link
// stays one. Without a change nothing is written.
func MendFile(path string, ip netip.Addr) (Change, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Change{}, fmt.Errorf("cannot read %q: %w", path, withoutPath(err))
	}
	data, info, err := read(target)
	if err != nil {
		return Change{}, fmt.Errorf("cannot change %q: %w", path, withoutPath(err))
	}
	out, change, err := Mend(data, ip)
	if err != nil {
		return Change{}, fmt.Errorf("%q: %w; %w", path, err, ErrContent)
	}
	if len(change.Lines) == 0 {
		return change, nil
	}
	if err := replace(target, out, info); err != nil {
		return Change{}, fmt.Errorf("cannot change %q: %w", path, withoutPath(err))
	}
	return change, nil
}

// read also finds out whether the file may be written: a rename would replace
// one that is read-only.
func read(path string) ([]byte, fs.FileInfo, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, nil, errors.New("it is no file")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes; is it the right file?", maxFile)
	}
	return data, info, err
}

// replace writes the data beside path and renames it.
func replace(path string, data []byte, like fs.FileInfo) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which fails once it is renamed
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := keepOwner(f, like); err != nil {
		return err
	}
	if err := f.Chmod(like.Mode()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// withoutPath drops the path of an error of package os; it is printed quoted.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
