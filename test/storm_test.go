package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"
)

// stormClient resumes with a plain connection and reads until it has had 20
// messages; a refusal with Retry-After is tried again.
func stormClient(g *gateway, cursor string, n int) error {
	for range 100 {
		again, err := g.stormTry(cursor)
		if err != nil {
			return fmt.Errorf("client %d: %w", n, err)
		}
		if !again {
			return nil
		}
		<-time.After(100 * time.Millisecond) // what Retry-After asks for, made shorter
	}
	return fmt.Errorf("client %d was refused a hundred times", n)
}

func (g *gateway) stormTry(cursor string) (again bool, err error) {
	addr := g.host()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET /events?topic=load/%%23&since=%s HTTP/1.1\r\nHost: %s\r\n\r\n", cursor, addr)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false, err
	}
	// The body is not closed: that would read an endless stream to its end.
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" {
		return true, nil
	}
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("status %s", res.Status)
	}
	a := newAudit()
	lines := bufio.NewScanner(res.Body)
	for got := 0; got < 20 && lines.Scan(); {
		var f frame
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return false, fmt.Errorf("%w: %q", err, lines.Text())
		}
		switch {
		case f.Type == "ack" && (f.Resumed == nil || !*f.Resumed):
			return false, fmt.Errorf("not resumed: %s", lines.Text())
		case f.Type == "gap":
			return false, fmt.Errorf("a gap: %s", lines.Text())
		case f.Type == "message":
			got++
		}
		a.read([]frame{f})
	}
	if len(a.silent) > 0 || len(a.inv) > 0 || a.got < 20 {
		return false, fmt.Errorf("%d messages, silent %v, inversions %v", a.got, a.silent, a.inv)
	}
	return false, nil
}
