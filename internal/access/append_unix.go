//go:build unix

package access

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives out the owner of the file at path, so that a gateway that runs as somebody else can still read it.
func keepOwner(path string, out *os.File) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	was, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(was.Uid) == os.Geteuid() {
		return nil
	}
	return out.Chown(int(was.Uid), int(was.Gid))
}

// syncFolder makes a rename last through a power cut.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
