// Package store keeps the built-in broker's records on disk. It knows keys and bytes, and no MQTT.
//
// What has been put is on disk as soon as Committed reaches the Mark that was taken behind it: written and flushed by
// fsync, many records in one transaction. An end of the process at any moment loses nothing before that mark, and leaves
// no record half changed.
//
// Each record has a checksum, and all records together have another. So a file that is damaged is noticed when it is
// opened; it is set aside under another name, and what can still be read of it goes on. One damage cannot be told from an
// end of the power during a commit: that of the newer of bbolt's two headers, which takes the last commit back.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// Files in the directory.
const (
	fileName = "broker.db"
	lockName = "broker.lock"
)

// Store is an open file. All methods may be called concurrently, and on a nil Store, which keeps nothing and is
// always up to date.
type Store struct {
	db     *bolt.DB
	lock   *os.File
	notify func()
	wake   chan struct{}
	failed chan struct{} // closed when a commit has failed; err is set before
	done   chan struct{}
	err    error

	mu        sync.Mutex // guards the rest
	pending   batch
	mark      uint64 // of the newest change
	committed uint64
	closing   bool
}

// batch is what the next transaction does: the newest value of each key, and then the groups of keys to delete.
type batch struct {
	values map[string]func() []byte // nil: delete
	drop   []string
}

func (b *batch) empty() bool { return len(b.values) == 0 && len(b.drop) == 0 }

// Open opens the file in dir, and makes both if they are not there. A commit that would make the file larger than limit
// fails. Load is called for each record that is in it; one
// for which it returns false is forgotten. Notify is called after each commit, from the goroutine that writes.
//
// The file is written anew at each start. So it never grows with the number of starts, and no free space, which has no
// checksum, is taken over.
func Open(dir string, limit int, log *slog.Logger, load func(key string, value []byte) bool, notify func()) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory cannot be made: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	db, err := renew(filepath.Join(dir, fileName), limit, log, load)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	s := &Store{
		db: db, lock: lock, notify: notify,
		wake: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{}),
		pending: batch{values: map[string]func() []byte{}},
	}
	go s.run()
	return s, nil
}

// Put sets a record. Value is called once, later, from another goroutine; it is not if the record is set again or
// deleted before.
func (s *Store) Put(key string, value func() []byte) { s.change(key, value) }

// Delete removes a record, if it is there.
func (s *Store) Delete(key string) { s.change(key, nil) }

func (s *Store) change(key string, value func() []byte) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.pending.values[key] = value
	s.mark++
	s.mu.Unlock()
	s.signal()
}

// DeleteAll removes all records whose keys begin with prefix. No such key may be put afterwards.
func (s *Store) DeleteAll(prefix string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.pending.drop = append(s.pending.drop, prefix)
	s.mark++
	s.mu.Unlock()
	s.signal()
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Mark is the place of the newest change.
func (s *Store) Mark() uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark
}

// Committed is the mark up to which everything is on disk.
func (s *Store) Committed() uint64 {
	if s == nil {
		return math.MaxUint64
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

// Failed is closed when something could not be written. Nothing is from then on; Err says why.
func (s *Store) Failed() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.failed
}

// Err is the error behind Failed.
func (s *Store) Err() error { return s.err }

// Close writes what is pending and closes the file.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.signal()
	<-s.done
	err := errors.Join(s.err, s.db.Close())
	return errors.Join(err, s.lock.Close())
}

// run commits what has accumulated while the last commit was being written.
func (s *Store) run() {
	defer close(s.done)
	for range s.wake {
		s.mu.Lock()
		b, mark, closing := s.pending, s.mark, s.closing
		s.pending = batch{values: make(map[string]func() []byte)}
		s.mu.Unlock()
		if !b.empty() {
			if err := s.db.Update(func(tx *bolt.Tx) error { return apply(tx, &b) }); err != nil {
				s.err = fmt.Errorf("what the broker keeps cannot be written: %w", err)
				close(s.failed)
				return
			}
			s.mu.Lock()
			s.committed = mark
			s.mu.Unlock()
			s.notify()
		}
		if closing {
			return
		}
	}
}

// apply makes the changes of a batch and brings the sum up to date.
func apply(tx *bolt.Tx, b *batch) error {
	records := tx.Bucket(bucketName)
	sum, err := readSum(records)
	if err != nil {
		return err
	}
	for key, value := range b.values {
		if old := records.Get([]byte(key)); old != nil {
			sum.remove(old)
		}
		if value == nil {
			err = records.Delete([]byte(key))
		} else {
			v := seal(key, value())
			sum.add(v)
			err = records.Put([]byte(key), v)
		}
		if err != nil {
			return err
		}
	}
	for _, prefix := range b.drop {
		if err := sum.drop(records, prefix); err != nil {
			return err
		}
	}
	return sum.write(records)
}
