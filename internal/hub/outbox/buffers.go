package outbox

import "sync"

// Buffers come in few sizes, so that ten thousand clients with one message
// each do not hold a batch each. A buffer returns to the pool of the largest
// size that it can serve.
var bufSizes = [...]int{1 << 10, 8 << 10, batchBytes + 8<<10}

var bufPools [len(bufSizes)]sync.Pool

// getBuf gives an empty buffer with room for n bytes.
func getBuf(n int) []byte {
	for i, size := range bufSizes {
		if n <= size {
			if p, _ := bufPools[i].Get().(*[]byte); p != nil {
				return (*p)[:0]
			}
			return make([]byte, 0, size)
		}
	}
	return make([]byte, 0, n)
}

// putBuf gives a buffer back. Odd sizes go to the collector.
func putBuf(p []byte) {
	for i := len(bufSizes) - 1; i >= 0; i-- {
		if cap(p) >= bufSizes[i] {
			if cap(p) <= 4*bufSizes[len(bufSizes)-1] {
				q := p[:0] // so that only what is kept escapes
				bufPools[i].Put(&q)
			}
			return
		}
	}
}

// growAppend appends p to a pooled buffer, which may be nil.
func growAppend(buf, p []byte) []byte {
	if buf == nil {
		buf = getBuf(len(p))
	}
	return append(buf, p...)
}
