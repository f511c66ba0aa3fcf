package main

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// patience is how long a message may take before it counts as lost.
const patience = 30 * time.Second

// crowd is the subscribers of one contestant. It counts every message of every
// subscriber.
type crowd struct {
	*loop
	subs []*subscriber

	// Guarded by the loop's lock.
	total, goal int
	err         error
	reached     chan struct{}
	onMessage   func(number int) // nil: only count
	closing     bool             // ends are expected
	closed      int              // subscribers whose connection has ended
	closeCodes  map[int]int
}

// subscriber is one connection. The numbers of the messages that it gets must
// rise, and it must get as many as were meant for it: then it has each of them
// exactly once.
type subscriber struct {
	crowd *crowd
	fd    int
	carry carry
	last  int
	got   int
	want  int // as many as were published to it
}

// protocol is how messages reach a subscriber.
type protocol int

const (
	mqttTCP protocol = iota
	mqttWebSocket
	gatewayWebSocket
	gatewayNDJSON
)

// dialed is a connection that has subscribed.
type dialed struct {
	fd    int
	early []byte
	protocol
}

// gather connects n subscribers, several at a time.
func gather(n int, dial func(i int) (dialed, error)) (*crowd, error) {
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	c := &crowd{loop: l, subs: make([]*subscriber, n), reached: make(chan struct{}, 1), closeCodes: map[int]int{}}
	if err := inParallel(n, func(i int) error {
		d, err := dial(i)
		if err != nil {
			return err
		}
		s := &subscriber{crowd: c, fd: d.fd, last: -1}
		s.carry.scan = s.scanner(d.protocol)
		c.subs[i] = s
		return l.add(d.fd, d.early, s)
	}); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// inParallel calls f for 0..n-1 from some goroutines and gives the first error.
func inParallel(n int, f func(i int) error) error {
	const workers = 64
	var wg sync.WaitGroup
	next, errs := make(chan int), make(chan error, workers)
	for range min(workers, n) {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	var err error
	for i := 0; i < n && err == nil; i++ {
		select {
		case next <- i:
		case err = <-errs:
		}
	}
	close(next)
	wg.Wait()
	select {
	case late := <-errs:
		return errors.Join(err, late)
	default:
		return err
	}
}

func (s *subscriber) scanner(p protocol) scan {
	switch p {
	case mqttTCP:
		return packets(s.packet)
	case mqttWebSocket: // packets may be cut by frames
		inner := &carry{scan: packets(s.packet)}
		return frames(func(op byte, b []byte) error {
			if op != opBinary {
				return s.control(op, b)
			}
			return inner.feed(b)
		})
	case gatewayWebSocket:
		return frames(func(op byte, b []byte) error {
			if op != opText {
				return s.control(op, b)
			}
			return s.frame(b)
		})
	default: // lines may be cut by chunks
		inner := &carry{scan: lines(s.frame)}
		return chunks(inner.feed)
	}
}

func (s *subscriber) packet(first byte, body []byte) error {
	if first>>4 != 3 {
		return nil
	}
	payload, err := publishPayload(first, body)
	if err != nil {
		return err
	}
	return s.message(payload)
}

func (s *subscriber) frame(b []byte) error {
	payload, err := messagePayload(b)
	if payload == nil {
		return err
	}
	return s.message(payload)
}

// message counts one. The lock is held.
func (s *subscriber) message(payload []byte) error {
	n, err := getNumber(payload)
	if err != nil {
		return err
	}
	if n <= s.last {
		return fmt.Errorf("message %d came after %d: doubled or out of order", n, s.last)
	}
	s.last = n
	s.got++
	c := s.crowd
	if c.onMessage != nil {
		c.onMessage(n)
	}
	if c.total++; c.total == c.goal {
		c.signal()
	}
	return nil
}

// control is a WebSocket frame that carries no message.
func (s *subscriber) control(op byte, b []byte) error {
	switch op {
	case opPing:
		pong := append([]byte{0x80 | opPong, 0x80 | byte(len(b)), 0, 0, 0, 0}, b...)
		_, err := syscall.Write(s.fd, pong)
		return err
	case opClose:
		code := 1005 // none given
		if len(b) >= 2 {
			code = int(b[0])<<8 | int(b[1])
		}
		s.crowd.closeCodes[code]++
	}
	return nil
}

// read implements reader.
func (s *subscriber) read(b []byte) error { return s.carry.feed(b) }

// ended implements reader.
func (s *subscriber) ended(err error) {
	c := s.crowd
	c.closed++
	if !c.closing {
		if err == nil {
			err = fmt.Errorf("the server closed a subscriber's connection (close codes so far: %v)", c.closeCodes)
		}
		if c.err == nil { // the first one says why
			c.err = err
		}
		c.signal()
	} else if c.closed == len(c.subs) {
		c.signal()
	}
}

// signal wakes who waits. The lock is held.
func (c *crowd) signal() {
	select {
	case c.reached <- struct{}{}:
	default:
	}
}

// expect sets how many deliveries more there must be before wait returns.
func (c *crowd) expect(n int) {
	c.sync(func() { c.goal = c.total + n })
}

// wait returns when all that is expected is there. It gives up when nothing at
// all has come for a while.
func (c *crowd) wait() error {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	last := -1
	for {
		var total, missing int
		var err error
		c.sync(func() { total, missing, err = c.total, c.goal-c.total, c.err })
		if err != nil {
			return err
		}
		if missing <= 0 {
			return nil
		}
		select {
		case <-c.reached:
		case <-tick.C:
			if total == last {
				return fmt.Errorf("%d of %d messages did not arrive", missing, c.goal)
			}
			last = total
		}
	}
}

// verify compares each subscriber's count with what was meant for it.
func (c *crowd) verify() error {
	time.Sleep(100 * time.Millisecond) // a doubled message may still be under way
	var err error
	c.sync(func() {
		err = c.err
		for i, s := range c.subs {
			if s.got != s.want {
				err = errors.Join(err, fmt.Errorf("subscriber %d got %d messages, want %d", i, s.got, s.want))
				return
			}
		}
	})
	return err
}
