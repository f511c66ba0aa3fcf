package api

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

// unfinished are the ways to send most of something and keep it open.
var unfinished = map[string]func(part string) string{
	"an array": func(part string) string {
		return "POST /publish/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1500000\r\n\r\n[\"" + part
	},
	"an array in chunks": func(part string) string {
		return "POST /publish/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("[\""+part)
	},
	"a publish": func(part string) string {
		return "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{\"topic\":\"" + part
	},
	"a payload": func(part string) string {
		return "PUT /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 250000\r\n\r\n" + part
	},
	"a request": func(part string) string {
		return "POST /request/a?reply=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 250000\r\n\r\n" + part
	},
}

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

// part is what is sent of each.
var part = strings.Repeat("x", 200_000)

func TestUnfinishedBodiesAreBounded(t *testing.T) {
	for name, begin := range unfinished {
		t.Run(name, func(t *testing.T) {
			const limit = 2 << 20
			g := startRig(t, func(o *Options) { o.BodiesBytes, o.Timing.Progress = limit, patience })
			var open []net.Conn
			refused := make(chan *reply, 100)
			for range cap(refused) { // together ten times as much
				c := connect(t, g.public)
				open = append(open, c)
				go func() {
					_, _ = io.WriteString(c, begin(part))
					a := &reply{t: t, header: http.Header{}} // no answer
					if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
						a.status, a.header = res.StatusCode, res.Header
						a.body, _ = io.ReadAll(res.Body)
					}
					refused <- a
				}()
			}
			for range cap(refused) - limit/len(part) {
				a := <-refused
				a.wantProblem(t, http.StatusServiceUnavailable, wire.CodeOverloaded)
				if a.header.Get("Retry-After") == "" {
					t.Error("got no Retry-After, want one")
				}
				if n := g.server.bodies.bytes(); n > limit {
					t.Errorf("got %d bytes under way, want at most %d", n, limit)
				}
			}
			// What is small has its place all the same.
			if a := exchange(t, g.public, publishRequest(valid)); a.status != http.StatusOK {
				t.Errorf("got %d %s for a small publish, want 200", a.status, a.body)
			}
			for _, c := range open {
				_ = c.Close()
			}
			eventuallyTrue(t, "everything is given back", func() bool { return g.server.bodies.bytes() == 0 })
		})
	}
}

func TestUnfinishedLinesAreBounded(t *testing.T) {
	const limit = 2 << 20
	g := startRig(t, func(o *Options) { o.BodiesBytes = limit })
	var all []*duplex
	for range 12 {
		d := g.duplex(t)
		d.send(part)
		all = append(all, d)
	}
	sum := func() int64 { return g.server.bodies.bytes() }
	eventuallyTrue(t, "there is no more room", func() bool { return sum() > limit/4*3-256<<10 })
	for _, d := range all {
		d.send("\n" + valid + "\n")
	}
	refused := 0
	for _, d := range all {
		if got := d.line(); got == "0 503 overloaded" {
			refused++
		} else if got != "0 400 invalid_json" {
			t.Errorf("got %s for the long line, want it read or refused", got)
		}
		if got := d.line(); got != "1 200" {
			t.Errorf("got %s for the line behind it, want it published", got)
		}
	}
	if refused == 0 {
		t.Error("got every line read, want some refused")
	}
	if n := sum(); n > limit {
		t.Errorf("got %d bytes under way, want at most %d", n, limit)
	}
	for _, d := range all {
		_ = d.conn.Close()
	}
	eventuallyTrue(t, "everything is given back", func() bool { return sum() == 0 })
}

func TestUnfinishedMessagesAreBounded(t *testing.T) {
	const limit = 2 << 20
	g := startRig(t, func(o *Options) { o.BodiesBytes = limit })
	var all []*rawSocket
	for range 20 {
		s := g.dial(t, "/ws")
		s.write(append(lengthened(textFrame, 0x80, 250_000, 0), []byte("mask"+part)...))
		all = append(all, s)
	}
	closed := make(chan int, len(all))
	for _, s := range all {
		go func() {
			for {
				first, payload, err := s.frame()
				if err != nil { // it is not cut off, or too late
					closed <- 0
					return
				}
				if first == closeFrame8 {
					closed <- int(binary.BigEndian.Uint16([]byte(payload)))
					return
				}
			}
		}()
	}
	for range len(all) - limit/len(part) {
		if code := <-closed; code != int(wire.CloseOverloaded) {
			t.Errorf("got close code %d, want %d", code, wire.CloseOverloaded)
		}
		if n := g.server.bodies.bytes(); n > limit {
			t.Errorf("got %d bytes under way, want at most %d", n, limit)
		}
	}
	for _, s := range all {
		_ = s.conn.Close()
	}
	eventuallyTrue(t, "everything is given back", func() bool { return g.server.bodies.bytes() == 0 })
}
