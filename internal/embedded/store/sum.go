package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

var (
	bucketName = []byte("records 1") // the number is that of the format
	sumKey     = []byte{0}           // no record's key begins with 0
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

var errChecksum = errors.New("a checksum is wrong")

// seal puts a checksum over key and value before the value.
func seal(key string, value []byte) []byte {
	crc := crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, value)
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(value)), crc), value...)
}

// unseal checks it and returns the value.
func unseal(key, sealed []byte) ([]byte, bool) {
	if len(sealed) < 4 {
		return nil, false
	}
	value := sealed[4:]
	crc := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return value, crc == binary.BigEndian.Uint32(sealed)
}

// sum is over all records: how many there are, and their checksums, each exclusive-or'ed in. It notices records that are
// missing, which their own checksums cannot.
type sum struct {
	count uint64
	crcs  uint32
}

func (s *sum) add(sealed []byte)    { s.count++; s.crcs ^= binary.BigEndian.Uint32(sealed) }
func (s *sum) remove(sealed []byte) { s.count--; s.crcs ^= binary.BigEndian.Uint32(sealed) }

// drop deletes the records whose keys begin with prefix.
func (s *sum) drop(records *bolt.Bucket, prefix string) error {
	c := records.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Seek([]byte(prefix)) {
		s.remove(v)
		if err := records.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func readSum(records *bolt.Bucket) (s sum, err error) {
	v, ok := unseal(sumKey, records.Get(sumKey))
	if !ok || len(v) != 12 {
		return s, errChecksum
	}
	return sum{binary.BigEndian.Uint64(v), binary.BigEndian.Uint32(v[8:])}, nil
}

func (s sum) write(records *bolt.Bucket) error {
	v := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, s.count), s.crcs)
	return records.Put(sumKey, seal(string(sumKey), v))
}
