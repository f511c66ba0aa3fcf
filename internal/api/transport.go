package api

import (
	"time"

	"github.com/vulturepi/gateway/internal/stream"
)

// conn moves a client's bytes.
type conn interface {
	TryWrite(p []byte) (int, error)
	WriteAll(p []byte) (int, error)
	Hurry()
	Finish()
	Abort()
	Silent(now time.Time) bool
}

// transport is a connection and its codec as one hub.Transport.
type transport struct {
	conn
	stream.Codec
}
