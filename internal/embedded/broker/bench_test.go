package broker

import (
	"fmt"
	"io"
	"testing"

	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// What a message costs from a publisher's socket to the sockets of subscribers: ns/op is for one message.
func BenchmarkMessages(b *testing.B) {
	for _, subscribers := range []int{0, 1, 50} {
		for _, qos := range []byte{0, 1} {
			for _, dir := range []string{"", b.TempDir()} {
				name := fmt.Sprintf("%d subscribers at QoS %d", subscribers, qos)
				if dir != "" {
					name += " on disk"
				}
				b.Run(name, func(b *testing.B) { benchmarkMessages(b, subscribers, qos, dir) })
			}
		}
	}
}

// benchmarkMessages publishes at QoS 1, with acknowledgements that are read on the side, and reads what subscribers get.
func benchmarkMessages(b *testing.B, subscribers int, qos byte, dir string) {
	s := start(b, inDir(dir), func(o *Options) { o.Limits.Window = 60_000 })
	message := raw.Publish(2, "sensors/kitchen/temperature", 1, nil, string(make([]byte, 100)))
	size := len(message)
	if qos == 0 {
		size -= 2
	}
	received := make(chan error, subscribers+1)
	for i := range subscribers {
		c := s.client(4, fmt.Sprint("sub ", i))
		c.Send(raw.Subscribe(1, nil, "sensors/#", qos))
		c.WantType(0x90)
		go func() {
			_, err := io.CopyN(io.Discard, c.Conn, int64(size*b.N))
			received <- err
		}()
	}
	p := s.client(4, "pub")
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		_, err := io.CopyN(io.Discard, p.Conn, int64(4*b.N))
		received <- err
	}()
	batch := make([]byte, 0, 64*len(message))
	for i := range b.N {
		if batch = append(batch, message...); len(batch) == cap(batch) || i == b.N-1 {
			if _, err := p.Write(batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	for range subscribers + 1 {
		if err := <-received; err != nil {
			b.Fatal(err)
		}
	}
}
