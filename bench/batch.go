package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// publishBatch is one NDJSON batch, answered while it is read, beside raw MQTT
// publishing into a mosquitto of its own. Both have at most 1000 messages
// without an answer, and send them in blocks of 100.
func publishBatch(st *stage) (*section, error) {
	g, err := st.startGateway()
	if err != nil {
		return nil, err
	}
	status, err := probeBatch(g)
	if err != nil {
		return nil, err
	}
	broker, addr, err := st.mosquitto()
	if err != nil {
		return nil, err
	}
	var cs []*contestant
	for qos := range 2 {
		raw := &rawPublisher{addr: addr, qos: byte(qos)}
		cs = append(cs, &contestant{name: fmt.Sprintf("raw MQTT into mosquitto, QoS %d", qos), proc: broker, round: raw.round})
		if status != http.StatusOK {
			continue
		}
		b := &batcher{g: g, qos: qos}
		if err := b.witnessed(); err != nil {
			return nil, err
		}
		cs = append(cs, &contestant{name: fmt.Sprintf("gateway, QoS %d", qos), proc: g.process, round: b.round})
	}
	if err := st.alternate(cs...); err != nil {
		return nil, err
	}
	s := publishes(cs)
	for qos, limit := range []float64{0.6, 0.4} {
		v := atLeast(limit, "x", fmt.Sprintf("of raw MQTT publishing, QoS %d", qos), nil)
		if v.why = fmt.Sprintf("not available (%d)", status); status == http.StatusOK {
			v.value = ratios(cs[2*qos+1].rate, cs[2*qos].rate)
		}
		s.verdicts = append(s.verdicts, v)
	}
	return s, nil
}

// probeBatch is the status of a batch of one line.
func probeBatch(g *gateway) (int, error) {
	line, _ := publishObject("probe", 0)
	res, err := http.Post("http://"+g.http+"/publish/batch", "application/x-ndjson", bytes.NewReader(append(line, '\n')))
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := readAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNotFound {
		err = fmt.Errorf("/publish/batch: %s: %s", res.Status, body)
	}
	return res.StatusCode, err
}

// Messages without an answer, and how many are sent at once.
const (
	batchWindow = 1000
	batchBlock  = 100
	batchTopics = 64
)

// pipeline sends blocks for d, or limit of them if that is not 0, while no
// more than the window is without an answer. answers reads until it has failed
// or calls done for the last time.
func pipeline(d time.Duration, limit int, send func() error, answers func(done func(n int)) error) (sample, error) {
	places := make(chan struct{}, batchWindow/batchBlock)
	answered := make(chan int)
	failed := make(chan error, 1)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		failed <- answers(func(n int) {
			select {
			case answered <- n:
			case <-ended:
			}
		})
	}()
	began := time.Now()
	sent, got, pending := 0, 0, 0
	timeout := time.NewTimer(d + patience)
	defer timeout.Stop()
	for {
		more := time.Since(began) < d && (limit == 0 || sent < limit*batchBlock)
		if !more && sent > 0 && got == sent {
			return sample{got, time.Since(began)}, nil
		}
		var place chan<- struct{}
		if more || sent == 0 {
			place = places
		}
		select {
		case place <- struct{}{}:
			if err := send(); err != nil {
				return sample{}, err
			}
			sent += batchBlock
		case n := <-answered:
			got += n
			for pending += n; pending >= batchBlock; pending -= batchBlock {
				<-places
			}
		case err := <-failed:
			return sample{}, fmt.Errorf("%d of %d answered: %w", got, sent, err)
		case <-timeout.C:
			return sample{}, fmt.Errorf("%d of %d answered", got, sent)
		}
	}
}

// rawPublisher publishes MQTT.
type rawPublisher struct {
	addr string
	qos  byte
}

func (p *rawPublisher) round(d time.Duration) (sample, error) {
	c, r, err := dialMQTT(p.addr, "raw")
	if err != nil {
		return sample{}, err
	}
	defer c.Close()
	payload := bytes.Repeat([]byte("x"), 100)
	var packets []byte
	next := 0
	send := func() error {
		packets = packets[:0]
		for range batchBlock {
			putNumber(payload, next)
			packets = mqttPublishPacket(packets, topicOf(next%batchTopics), payload, p.qos, uint16(next%65535+1))
			next++
		}
		if p.qos == 0 { // the broker answers a ping when it has read what came before
			packets = append(packets, 0xc0, 0)
		}
		_, err := c.Write(packets)
		return err
	}
	return pipeline(d, 0, send, func(done func(int)) error {
		return readAll64(r, packetsDone(done))
	})
}

// packetsDone counts PUBACK as one and PINGRESP as a block.
func packetsDone(done func(int)) scan {
	return func(b []byte) (int, error) {
		n := 0
		used, err := packets(func(first byte, _ []byte) error {
			switch first {
			case 0x40:
				n++
			case 0xd0:
				n += batchBlock
			}
			return nil
		})(b)
		if n > 0 {
			done(n)
		}
		return used, err
	}
}

// readAll64 feeds the scan until the connection ends.
func readAll64(r io.Reader, s scan) error {
	c := carry{scan: s}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return err
		}
		if err := c.feed(buf[:n]); err != nil {
			return err
		}
	}
}

// batcher publishes with POST /publish/batch, one request a round.
type batcher struct {
	g    *gateway
	qos  int
	next int // number of the next message
	sent [batchTopics]int
}

func (b *batcher) round(d time.Duration) (sample, error) { return b.run(d, 0) }

func (b *batcher) run(d time.Duration, limit int) (sample, error) {
	c, r, err := dial(b.g.http)
	if err != nil {
		return sample{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(d + 2*patience)); err != nil {
		return sample{}, err
	}
	_, err = fmt.Fprintf(c, "POST /publish/batch HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", b.g.http)
	if err != nil {
		return sample{}, err
	}
	s, err := pipeline(d, limit, b.sender(c), func(done func(int)) error { return b.answers(r, done) })
	if err == nil {
		_, err = io.WriteString(c, "0\r\n\r\n")
	}
	return s, err
}

// sender writes a block of lines as one chunk.
func (b *batcher) sender(c net.Conn) func() error {
	var objects [batchTopics][]byte
	var at [batchTopics]int
	for i := range objects {
		objects[i], at[i] = publishObject(topicOf(i), b.qos)
	}
	var block []byte
	return func() error {
		block = block[:0]
		for range batchBlock {
			i := b.next % batchTopics
			putNumber(objects[i][at[i]:], b.next)
			block = append(append(block, objects[i]...), '\n')
			b.next++
			b.sent[i]++
		}
		_, err := c.Write(append(fmt.Appendf(nil, "%x\r\n%s", len(block), block), "\r\n"...))
		return err
	}
}

// answers reads the head and then the result lines, which must be in order.
func (b *batcher) answers(r *bufio.Reader, done func(int)) error {
	for line := " "; line != "\r\n"; {
		var err error
		if line, err = r.ReadString('\n'); err != nil {
			return err
		}
		if strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 200 ") {
			return errors.New(line)
		}
	}
	index := 0
	status := map[int]string{0: "202", 1: "200"}[b.qos]
	inner := carry{scan: lines(func(line []byte) error {
		if want := fmt.Appendf(nil, `{"index":%d,"status":%s,`, index, status); !bytes.HasPrefix(line, want) {
			return fmt.Errorf("a result %s, want it to begin with %s", line, want)
		}
		index++
		return nil
	})}
	return readAll64(r, chunks(func(data []byte) error {
		before := index
		if err := inner.feed(data); err != nil {
			return err
		}
		if index > before {
			done(index - before)
		}
		return nil
	}))
}

// witnessed publishes some blocks and counts their messages at the broker.
func (b *batcher) witnessed() error {
	c, err := witness(b.g, batchTopics)
	if err != nil {
		return err
	}
	defer c.close()
	const blocks = 50
	c.expect(blocks * batchBlock)
	if _, err := b.run(patience, blocks); err != nil {
		return err
	}
	if err := c.wait(); err != nil {
		return err
	}
	for i, s := range c.subs {
		s.want = b.sent[i]
	}
	return c.verify()
}
