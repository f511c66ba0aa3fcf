package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

const patience = 2 * time.Minute

// opened is a store with what was read when it was opened.
type opened struct {
	*Store
	t       testing.TB
	records map[string]string
	log     *bytes.Buffer
	commits atomic.Int64
}

func tryOpen(t testing.TB, dir string, keep func(key string) bool) (*opened, error) {
	o := &opened{t: t, records: map[string]string{}, log: new(bytes.Buffer)}
	load := func(key string, value []byte) bool {
		o.records[key] = string(value)
		return keep(key)
	}
	var err error
	o.Store, err = Open(dir, 1<<30, slog.New(slog.NewTextHandler(o.log, nil)), load, func() { o.commits.Add(1) })
	return o, err
}

func open(t testing.TB, dir string) *opened {
	t.Helper()
	o, err := tryOpen(t, dir, func(string) bool { return true })
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return o
}

func (o *opened) put(key, value string) {
	o.Put(key, func() []byte { return []byte(value) })
}

// synced waits until everything is on disk.
func (o *opened) synced() {
	o.t.Helper()
	mark := o.Mark()
	for deadline := time.Now().Add(patience); o.Committed() < mark; {
		if time.Now().After(deadline) {
			o.t.Fatalf("got mark %d on disk, want %d", o.Committed(), mark)
		}
	}
}

func (o *opened) close() {
	o.t.Helper()
	if err := o.Close(); err != nil {
		o.t.Fatalf("close: %v", err)
	}
}

func TestRecordsAreThereAfterAnOrderlyEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "directory")
	s := open(t, dir)
	s.put("a", "1")
	s.put("b", "2")
	s.put("c1", "")
	s.put("c2", "3")
	s.put("d", "4")
	s.synced()
	for deadline := time.Now().Add(patience); s.commits.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody was told of the commit")
		}
	}
	s.put("a", "new")
	s.Delete("b")
	s.Delete("not there")
	s.DeleteAll("c")
	s.close()

	s = open(t, dir)
	if want := map[string]string{"a": "new", "d": "4"}; !maps.Equal(s.records, want) {
		t.Errorf("got %v, want %v", s.records, want)
	}
	if s.commits.Load() != 0 {
		t.Errorf("got %d commits though nothing has changed, want 0", s.commits.Load())
	}
	s.close()
}

func TestRecordsThatAreNotKeptAreForgotten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 100 {
		s.put(fmt.Sprint("key ", i), strings.Repeat("x", 100_000)) // more than a transaction takes when the file is written anew
	}
	s.close()
	s, err := tryOpen(t, dir, func(key string) bool { return key != "key 7" })
	if err != nil || len(s.records) != 100 {
		t.Fatalf("got %d records, error %v, want 100", len(s.records), err)
	}
	s.close()
	s = open(t, dir)
	defer s.close()
	if _, there := s.records["key 7"]; len(s.records) != 99 || there {
		t.Errorf("got %d records, key 7 among them: %v, want 99 without it", len(s.records), there)
	}
}

// A copy of the directory is what an end of the process leaves behind.
func TestWhatIsCommittedSurvivesAnEndAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.close()
	want := map[string]string{}
	for i := range 20 {
		for j := range 10 {
			key, value := fmt.Sprint("key ", (i*7+j)%50), fmt.Sprint(i, j)
			want[key] = value
			s.put(key, value)
		}
		s.synced()
		after := maps.Clone(want)
		s.put("later", "may be there or not")
		copied := open(t, copyOf(t, dir))
		delete(copied.records, "later")
		if !maps.Equal(copied.records, after) {
			t.Fatalf("round %d: got %v, want %v", i, copied.records, after)
		}
		if copied.log.Len() > 0 {
			t.Fatalf("round %d: got log %s, want none", i, copied.log)
		}
		copied.close()
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, fileName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// filled is a directory with a file of many pages, and its records.
func filled(t *testing.T) (dir string, records map[string]string) {
	dir, records = t.TempDir(), map[string]string{}
	s := open(t, dir)
	for i := range 300 {
		key := fmt.Sprintf("key %d", i)
		records[key] = strings.Repeat(fmt.Sprint("value ", i), 20)
		s.put(key, records[key])
	}
	s.close()
	return dir, records
}

// subset fails for a record that is not one of those that were written.
func subset(t *testing.T, what string, got, all map[string]string) {
	t.Helper()
	for k, v := range got {
		if all[k] != v {
			t.Fatalf("%s: got %q for %q, want %q", what, v, k, all[k])
		}
	}
}

func TestADamagedFileIsSetAside(t *testing.T) {
	dir, all := filled(t)
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string][]byte{
		"something else":   []byte("this is no database, but a text"),
		"empty":            {},
		"zeros":            make([]byte, len(whole)),
		"half":             whole[:len(whole)/2],
		"cut in a page":    whole[:len(whole)/2+100],
		"no meta pages":    append(make([]byte, 8192), whole[8192:]...),
		"another's bucket": bytes.ReplaceAll(whole, bucketName, []byte("mochi mqt")),
	} {
		if err := os.WriteFile(path, damage, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		subset(t, name, s.records, all)
		if log := s.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "damaged") {
			t.Errorf("%s: got log %q, want a warning", name, log)
		}
		s.put("goes", "on")
		s.close()
		s = open(t, dir)
		if s.records["goes"] != "on" || s.log.Len() > 0 {
			t.Errorf("%s: got %q and log %q afterwards, want the record and nothing to say", name, s.records["goes"], s.log)
		}
		s.close()
	}
	aside, _ := filepath.Glob(path + ".damaged-*")
	if len(aside) != keepDamaged {
		t.Errorf("got %d damaged files, want the newest %d: %q", len(aside), keepDamaged, aside)
	}
}

// A record that is gone is noticed, though what is left is right.
func TestAMissingRecordIsNoticed(t *testing.T) {
	dir, all := filled(t)
	db, err := bolt.Open(filepath.Join(dir, fileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketName).Delete([]byte("key 7")) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	defer s.close()
	if len(s.records) != len(all)-1 || !strings.Contains(s.log.String(), "should hold 300") {
		t.Errorf("got %d records and log %q, want %d and that one is missing", len(s.records), s.log, len(all)-1)
	}
}

// Bits change where they like. Either none of it was in use, or it is noticed; and what is read is right.
func TestAnyDamageIsNoticed(t *testing.T) {
	dir, all := filled(t)
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const rounds, headers = 100, 2 * 4096 // one of two headers may be wrong after an end of the power
	noticed := 0
	for range rounds {
		damaged := bytes.Clone(whole)
		at := headers + rand.IntN(len(whole)-headers-16)
		for i := range 1 + rand.IntN(16) {
			damaged[at+i] ^= byte(1 + rand.IntN(255))
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		subset(t, fmt.Sprint("damage at ", at), s.records, all)
		said := strings.Contains(s.log.String(), "damaged")
		if !said && len(s.records) != len(all) {
			t.Fatalf("damage at %d: got %d records of %d, and nothing was said", at, len(s.records), len(all))
		}
		if said {
			noticed++
		}
		s.close()
	}
	if noticed == 0 {
		t.Errorf("noticed none of %d damages, want some: do they hit what is in use?", rounds)
	}
}

func TestADirectoryBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := tryOpen(t, dir, nil); err == nil || !strings.Contains(err.Error(), "another broker") || !strings.Contains(err.Error(), dir) {
		t.Errorf("got error %v, want one about another broker that names %s", err, dir)
	}
	s.put("a", "1")
	s.close()
	s = open(t, dir)
	if s.records["a"] != "1" {
		t.Errorf("got %v, want the record of the first", s.records)
	}
	s.close()
}

func TestADirectoryThatCannotBeUsedIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, file, nil); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("got error %v, want one about the directory", err)
	}
}

func TestRecordsThatChangeDoNotMakeTheFileGrow(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.close()
	value := strings.Repeat("x", 1000)
	for i := range 60 {
		for j := range 100 {
			s.put(fmt.Sprint("key ", j), value+fmt.Sprint(i))
		}
		s.synced()
	}
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Size(), int64(2<<20); got > want {
		t.Errorf("got %d bytes for 100 KB of records that were written 60 times, want at most %d", got, want)
	}
}

// What cannot be written is never said to be.
func TestAFailedCommitIsTheLast(t *testing.T) {
	s := open(t, t.TempDir())
	s.put("a", "1")
	s.synced()
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	before := s.Committed()
	s.put("b", "2")
	select {
	case <-s.Failed():
	case <-time.After(patience):
		t.Fatal("the failure was not noticed")
	}
	s.put("c", "3")
	if got := s.Committed(); got != before || s.Err() == nil {
		t.Errorf("got mark %d and error %v, want %d as before and an error", got, s.Err(), before)
	}
	if err := s.Close(); err == nil {
		t.Error("close: got no error, want that of the commit")
	}
}

func TestNoStoreIsAlwaysUpToDate(t *testing.T) {
	var s *Store
	s.Put("a", nil)
	s.Delete("a")
	s.DeleteAll("a")
	if s.Committed() < s.Mark() || s.Failed() != nil || s.Close() != nil {
		t.Error("a store that keeps nothing is not up to date")
	}
}
