package broker

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// tight are limits that a few packets reach.
func tight(o *Options) {
	o.Limits.Queue, o.Limits.QueueBytes, o.Limits.Window = 10, 5000, 4
	o.Limits.Held, o.Limits.Retained, o.Limits.RetainedBytes = 20_000, 5, 3000
	o.Limits.Filters, o.Limits.Subscriptions, o.Limits.Sessions, o.Limits.Answers = 5, 4000, 1, 64
	o.Limits.Packet, o.Limits.EndTime = 1000, 50*time.Millisecond
}

// FuzzBroker has some clients send anything, at the same time and through each other. Every answer must have the right
// form, what the broker counts must be what there is, and a client that does nothing wrong must be served.
func FuzzBroker(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	s := start(f, tight)
	f.Fuzz(func(t *testing.T, data []byte) {
		s.t = t
		s.play(t, raw.Sequence(data))
		if err := s.consistent(); err != nil {
			t.Fatal(err)
		}
		s.served(t)
	})
}

// seeds are bytes that raw.Sequence makes something of.
func seeds() [][]byte {
	return [][]byte{
		{},
		bytes.Repeat([]byte{0, 4, 1, 0, 0, 1, 1, 0, 2, 2, 1, 1, 3, 'x'}, 8),
		{0xFF, 0xFF, 0xFF, 0, 4, 1, 4, 0, 2, 1, 2, 2, 4, 1, 4, 9, 'q', 'o', 's', 0, 10, 2, 0, 0, 9, 1, 0, 0, 11, 1, 0, 2, 13, 1, 4},
		{0x1F, 0x19, 0x1B, 0, 0, 3, 7, 1, 4, 40, 'r', 2, 15, 20, 0x82, 5, 0, 1, 0, 0, 0, 3, 14, 0x10, 31},
		bytes.Repeat([]byte{1, 7, 2, 6, 8, 3, 2, 12, 0, 1, 0, 3, 9, 4, 4, 60}, 12),
	}
}

// play has the clients send their steps and close, and returns when the broker has done with them.
func (s *server) play(t *testing.T, steps []raw.Step) {
	t.Helper()
	var ends, all sync.WaitGroup
	var clients [raw.Clients]net.Conn
	for i := range clients {
		client, server := net.Pipe()
		clients[i] = client
		ends.Go(func() {
			if c := s.admit(server); c != nil {
				c.serve()
			}
		})
		all.Go(func() { readAnswers(t, client, raw.VersionOf(i)) })
	}
	var sending sync.WaitGroup
	for i, client := range clients {
		sending.Go(func() {
			for _, step := range steps {
				if step.Client == i {
					if _, err := client.Write(step.Bytes); err != nil {
						return
					}
				}
			}
		})
	}
	sending.Wait()
	for _, client := range clients {
		_ = client.Close()
	}
	ends.Wait()
	all.Wait()
}

// readAnswers checks the form of what the broker sends.
func readAnswers(t *testing.T, client net.Conn, version byte) {
	if version == 0 {
		_, _ = io.Copy(io.Discard, client)
		return
	}
	for r := bufio.NewReader(client); ; {
		if p, err := raw.Read(r, version); errors.Is(err, raw.ErrForm) {
			t.Errorf("answer %x: %v", p, err)
			_, _ = io.Copy(io.Discard, r)
			return
		} else if err != nil {
			return
		}
	}
}

// served is a client that subscribes, publishes and receives, in one write.
func (s *server) served(t *testing.T) {
	t.Helper()
	client, server := net.Pipe()
	var end sync.WaitGroup
	end.Go(func() {
		if c := s.admit(server); c != nil {
			c.serve()
		}
	})
	c := raw.Wrap(t, client, 4)
	go c.Send(raw.Connect(4, 2, nil, "healthy"), raw.Subscribe(1, nil, "healthy/topic", 1), raw.Publish(2, "healthy/topic", 2, nil, "x"))
	c.Want("20020000", "9003000101")
	for range 2 {
		if p := c.Next(); p[0] != 0x40 && p[0] != 0x32 {
			t.Fatalf("a healthy client got %x, want a PUBACK and its message", p)
		}
	}
	_ = client.Close()
	end.Wait()
}

// Any sequence is survived, also with the race detector and on disk.
func TestAnySequenceIsSurvived(t *testing.T) {
	for name, dir := range map[string]string{"in memory": "", "on disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			s := start(t, tight, func(o *Options) { o.Dir = dir })
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			for i := range 300 {
				data := make([]byte, random.IntN(600))
				for j := range data {
					if data[j] = byte(random.Uint32()); j%2 == 0 {
						data[j] %= 16 // small numbers are kinds, and identifiers that are in use
					}
				}
				s.play(t, raw.Sequence(data))
				if err := s.consistent(); err != nil {
					t.Fatalf("seed %d, sequence %d: %v", seed, i, err)
				}
				s.served(t)
			}
		})
	}
}
