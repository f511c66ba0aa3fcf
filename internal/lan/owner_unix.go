//go:build unix

package lan

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives the file the owner and group of another.
func keepOwner(f *os.File, like fs.FileInfo) error {
	stat, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := f.Chown(int(stat.Uid), int(stat.Gid)); err != nil {
		return fmt.Errorf("its owner cannot be kept; run this as the owner: %w", withoutPath(err))
	}
	return nil
}
