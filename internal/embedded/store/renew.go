package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// keepDamaged is how many damaged files stay for somebody to look at.
const keepDamaged = 2

// options are those of a file that is written. The list of free pages is not: what it would save at a start, which
// writes the file anew, it costs at each commit.
func options(limit int) *bolt.Options {
	return &bolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, MaxSize: limit}
}

// renew reads the file at path into load, and writes what load wants to keep to a new file, which takes its place.
func renew(path string, limit int, log *slog.Logger, load func(key string, value []byte) bool) (*bolt.DB, error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the directory cannot be written: %w", err)
	}
	w, err := create(fresh, limit)
	if err != nil {
		return nil, fmt.Errorf("the directory cannot be written: %w", err)
	}
	read, damage := readFile(path, func(key string, value []byte) {
		if load(key, value) {
			w.put(key, value)
		}
	})
	if err := w.close(); err != nil {
		return nil, fmt.Errorf("the directory cannot be written: %w", err)
	}
	switch {
	case errors.Is(damage, errUnreadable): // a fault of the system's, not of the file
		return nil, damage
	case damage != nil:
		aside, err := setAside(path)
		if err != nil {
			return nil, err
		}
		log.Warn("the file of kept messages is damaged; it is set aside and the readable part is used", "file", aside, "records", read, "err", damage)
	}
	if err := os.Rename(fresh, path); err != nil {
		return nil, fmt.Errorf("the directory cannot be written: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return bolt.Open(path, 0o600, options(limit))
}

// writer fills a new file, some records a transaction.
type writer struct {
	db      *bolt.DB
	pending batch
	bytes   int
	err     error
}

func create(path string, limit int) (*writer, error) {
	db, err := bolt.Open(path, 0o600, options(limit))
	if err != nil {
		return nil, err
	}
	db.NoSync = true // close syncs once
	w := &writer{db: db, pending: batch{values: map[string]func() []byte{}}}
	w.err = db.Update(func(tx *bolt.Tx) error {
		records, err := tx.CreateBucketIfNotExists(bucketName)
		if err != nil {
			return err
		}
		return sum{}.write(records)
	})
	return w, nil
}

// put copies value, which is valid during the call only.
func (w *writer) put(key string, value []byte) {
	value = bytes.Clone(value)
	w.pending.values[key] = func() []byte { return value }
	if w.bytes += len(value) + 100; w.bytes > 4<<20 {
		w.flush()
	}
}

func (w *writer) flush() {
	if w.err == nil {
		w.err = w.db.Update(func(tx *bolt.Tx) error { return apply(tx, &w.pending) })
	}
	clear(w.pending.values)
	w.bytes = 0
}

func (w *writer) close() error {
	w.flush()
	return errors.Join(w.err, w.db.Sync(), w.db.Close())
}

// errUnreadable is a file that cannot be opened at all, such as one of another user.
var errUnreadable = errors.New("the file of kept messages cannot be read")

// readFile calls fn for each record whose checksum is right, and says how many there were, and what is wrong with the
// file. A file that does not exist is right.
func readFile(path string, fn func(key string, value []byte)) (read int, damage error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	_ = f.Close()
	// A page that points elsewhere than it should makes bbolt panic, or read beyond the end of the file, which is
	// a fault of the memory that the file is mapped to.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			damage = fmt.Errorf("it has a page that is wrong: %v", r)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return 0, fmt.Errorf("%w: another program has it open", errUnreadable)
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	err = db.View(func(tx *bolt.Tx) error { return readRecords(tx, &read, fn) })
	return read, err
}

func readRecords(tx *bolt.Tx, read *int, fn func(key string, value []byte)) error {
	records := tx.Bucket(bucketName)
	if records == nil {
		return errors.New("it holds no records of this version")
	}
	var found sum
	var wrong error
	c := records.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		value, ok := unseal(k, v)
		switch {
		case !ok:
			wrong = errChecksum
		case !bytes.Equal(k, sumKey):
			*read++
			found.add(v)
			fn(string(k), value)
		}
	}
	want, err := readSum(records)
	if err == nil && want != found {
		err = fmt.Errorf("it holds %d records and should hold %d", found.count, want.count)
	}
	return errors.Join(wrong, err)
}

// setAside renames a damaged file, and removes all but the newest of those from before.
func setAside(path string) (aside string, err error) {
	old, _ := filepath.Glob(path + ".damaged-*")
	slices.Sort(old)
	for len(old) >= keepDamaged {
		_ = os.Remove(old[0])
		old = old[1:]
	}
	aside = path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000Z")
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("the damaged file %s cannot be renamed: %w", path, err)
	}
	return aside, nil
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
