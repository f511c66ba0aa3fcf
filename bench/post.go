package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// posts is keep-alive connections, each of which has one request under way.
// Connection i publishes to topic bench/i, so that the order of its messages
// can be checked.
type posts struct {
	*loop
	conns  []*poster
	status int // that every answer must have

	// Guarded by the loop's lock.
	next     int // number of the next message
	left     int // requests that may still begin, below 0: until stop
	answered int
	busy     int // connections that wait for an answer
	err      error
	idle     chan struct{}
}

type poster struct {
	posts   *posts
	fd      int
	request []byte
	number  []byte // where the request holds its message's number
	carry   carry
	sent    int
}

func topicOf(i int) string { return numbered("bench/", i) }

// publishObject is one publish in JSON, with a payload of 100 bytes. The
// number stands at the end of the second return value.
func publishObject(topic string, qos int) (object []byte, number int) {
	object = fmt.Appendf(nil, `{"topic":%q,"payload":"`, topic)
	number = len(object)
	object = append(object, bytes.Repeat([]byte("x"), 100)...)
	putNumber(object[number:], 0)
	return fmt.Appendf(object, `","qos":%d}`, qos), number
}

// newPosts connects. Headers are lines that each request has besides.
func newPosts(addr string, n, qos, status int, headers ...string) (*posts, error) {
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	p := &posts{loop: l, status: status, idle: make(chan struct{}, 1)}
	for i := range n {
		c, _, err := dial(addr)
		if err != nil {
			return nil, err
		}
		fd, err := detach(c)
		if err != nil {
			return nil, err
		}
		body, at := publishObject(topicOf(i), qos)
		head := fmt.Sprintf("POST /publish HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n", addr, len(body), headerLines(headers))
		conn := &poster{posts: p, fd: fd, request: append([]byte(head), body...)}
		conn.number = conn.request[len(head)+at:]
		conn.carry.scan = responses(conn.answer)
		if err := l.add(fd, nil, conn); err != nil {
			return nil, err
		}
		p.conns = append(p.conns, conn)
	}
	return p, nil
}

// headerLines is headers as they are sent.
func headerLines(headers []string) string {
	var b strings.Builder
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String()
}

// responses scans HTTP answers that have a Content-Length.
func responses(each func(status int, body []byte) error) scan {
	return func(b []byte) (int, error) {
		used := 0
		for {
			r := b[used:]
			head := bytes.Index(r, []byte("\r\n\r\n"))
			if head < 0 {
				return used, nil
			}
			status, err := strconv.Atoi(string(r[9:12]))
			if err != nil {
				return 0, fmt.Errorf("an answer that begins with %.40q", r)
			}
			length, err := contentLength(r[:head])
			if err != nil {
				return 0, err
			}
			end := head + 4 + length
			if len(r) < end {
				return used, nil
			}
			if err := each(status, r[head+4:end]); err != nil {
				return 0, err
			}
			used += end
		}
	}
}

func contentLength(head []byte) (int, error) {
	key := []byte("\r\nContent-Length: ")
	at := bytes.Index(head, key)
	if at < 0 { // Node.js writes it so
		at = bytes.Index(head, []byte("\r\ncontent-length: "))
	}
	if at < 0 {
		return 0, fmt.Errorf("an answer without Content-Length: %.200q", head)
	}
	value := head[at+len(key):]
	if end := bytes.IndexByte(value, '\r'); end >= 0 {
		value = value[:end]
	}
	return strconv.Atoi(string(value))
}

// send begins a request, if there may be one more. The lock is held.
func (c *poster) send() error {
	p := c.posts
	if p.left == 0 || p.err != nil {
		if p.busy--; p.busy == 0 {
			p.idle <- struct{}{}
		}
		return nil
	}
	p.left--
	putNumber(c.number, p.next)
	p.next++
	c.sent++
	n, err := syscall.Write(c.fd, c.request)
	if err == nil && n < len(c.request) {
		err = errors.New("the socket took half a request")
	}
	return err
}

func (c *poster) answer(status int, body []byte) error {
	if status != c.posts.status {
		return fmt.Errorf("status %d, want %d: %s", status, c.posts.status, body)
	}
	c.posts.answered++
	return c.send()
}

func (c *poster) read(b []byte) error { return c.carry.feed(b) }

func (c *poster) ended(err error) {
	p := c.posts
	if err == nil {
		err = errors.New("the server closed a keep-alive connection")
	}
	if p.err == nil { // the first one says why
		p.err = err
	}
	select {
	case p.idle <- struct{}{}:
	default:
	}
}

// run keeps all connections busy for d, or for limit requests if that is not
// negative, and waits for the last answer.
func (p *posts) run(d time.Duration, limit int) (sample, error) {
	var first int
	var err error
	began := time.Now()
	p.sync(func() {
		first, p.left, p.busy = p.answered, limit, len(p.conns)
		for _, c := range p.conns {
			err = errors.Join(err, c.send())
		}
	})
	if err != nil {
		return sample{}, err
	}
	stop := time.AfterFunc(d, func() { p.sync(func() { p.left = 0 }) })
	defer stop.Stop()
	select {
	case <-p.idle:
	case <-time.After(d + patience):
		return sample{}, errors.New("an answer is missing")
	}
	took := time.Since(began)
	var n int
	p.sync(func() { n, err = p.answered-first, p.err })
	return sample{n, took}, err
}
