package mqtt

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// overPipe connects, in time that is played, to a broker that accepts with connack, writes what it reads to heard, and says
// only what is written to far.
func overPipe(t *testing.T, v Version, connack []byte, heard io.Writer, change func(*Config)) (c *Conn, far net.Conn) {
	t.Helper()
	cfg := Config{Version: v, ClientID: "test"}
	change(&cfg)
	cfg = cfg.withDefaults()
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	go io.Copy(heard, far)
	go far.Write(connack)
	s := newSock(near, &cfg)
	c = newConn(cfg, stream{Conn: s, sock: s})
	if err := c.greet(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.start()
	t.Cleanup(c.Close)
	return c, far
}

func inPlayedTime(t *testing.T, f func(t *testing.T, v Version)) {
	bothVersions(t, func(t *testing.T, v Version) {
		synctest.Test(t, func(t *testing.T) { f(t, v) })
	})
}

// While a long message arrives, or is being skipped, its bytes are the sign of life that was asked for.
func TestArrivingBytesAnswerAPing(t *testing.T) {
	inPlayedTime(t, func(t *testing.T, v Version) {
		rec := newRecorder()
		c, far := overPipe(t, v, accepted(v), io.Discard, func(c *Config) {
			c.KeepAlive, c.PingTime, c.MaxPayload, c.Handler = time.Second, time.Second, 1000, rec
		})
		// 4 MiB of one message, for many times as long as a PINGRESP may take. Its first byte is one too many in 3.1.1,
		// and the length of its properties in 5.
		const size = 4 << 20
		far.Write([]byte{0x30, 0x84, 0x80, 0x80, 0x02, 0, 1, 'a', 0})
		for range 64 {
			far.Write(make([]byte, size/64))
			time.Sleep(900 * time.Millisecond)
		}
		far.Write([]byte{0x30, 4, 0, 1, 'b', 0})
		synctest.Wait()
		if len(rec.skipped) != 1 || len(rec.messages) != 1 || c.Err() != nil {
			t.Errorf("got %d skipped, %d messages, %v", len(rec.skipped), len(rec.messages), c.Err())
		}
	})
}

// Silence, and then no answer to a PINGREQ, end the connection, after as long as each may take.
func TestSilenceEndsTheConnectionInItsTime(t *testing.T) {
	inPlayedTime(t, func(t *testing.T, v Version) {
		c, _ := overPipe(t, v, accepted(v), io.Discard, func(c *Config) { c.KeepAlive, c.PingTime = 10*time.Second, 5*time.Second })
		start := time.Now()
		<-c.Done()
		if took := time.Since(start); took < 13*time.Second || took > 17*time.Second || c.Err() != ErrSilent {
			t.Errorf("after %v: got %v, want %v", took, c.Err(), ErrSilent)
		}
	})
}

// listener is told what a broker reads.
type listener func(p []byte)

func (l listener) Write(p []byte) (int, error) {
	l(p)
	return len(p), nil
}

// A broker may ask for a shorter keep-alive, or for a longer one or none, which is no reason to notice its death later.
func TestKeepAliveOfTheBrokerCountsWhereItIsShorter(t *testing.T) {
	for asked, want := range map[uint16]time.Duration{1: time.Second, 4: 4 * time.Second, 10: 10 * time.Second, 60: 10 * time.Second, 0: 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			connack := []byte{0x20, 6, 0, 0, 3, 0x13, byte(asked >> 8), byte(asked)}
			pinged := make(chan time.Time, 1000)
			c, far := overPipe(t, V5, connack, listener(func(p []byte) {
				if p[0] == 0xc0 {
					pinged <- time.Now()
				}
			}), func(c *Config) { c.KeepAlive = 10 * time.Second })
			last := time.Now()
			for range 5 {
				at := <-pinged
				far.Write([]byte{0xd0, 0})
				if pause := at.Sub(last); pause > want || pause < want/2 {
					t.Errorf("asked for %d s: got a pause of %v, want %v at most", asked, pause, want)
				}
				last = at
			}
			if c.Err() != nil {
				t.Errorf("got %v", c.Err())
			}
		})
	}
}
