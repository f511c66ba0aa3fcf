package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A batch is written and read at once, and each line has an answer.
func TestBatchKeepsTheWindow(t *testing.T) {
	for qos, status := range []int{http.StatusAccepted, http.StatusOK} {
		var mu sync.Mutex // guards got
		got := map[string]int{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			if err := c.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			lines := bufio.NewScanner(r.Body)
			for i := 0; lines.Scan(); i++ {
				var in struct {
					Topic, Payload string
					QoS            int
				}
				if err := json.Unmarshal(lines.Bytes(), &in); err != nil || in.QoS != qos || len(in.Payload) != 100 {
					t.Errorf("line %d: %s %v", i, lines.Bytes(), err)
				}
				mu.Lock()
				got[in.Topic+in.Payload[:numberLen]]++
				mu.Unlock()
				fmt.Fprintf(w, `{"index":%d,"status":%d,"topic":%q}`+"\n", i, status, in.Topic)
				if i%7 == 0 || i%batchBlock == batchBlock-1 { // chunks of several lines
					_ = c.Flush()
				}
			}
		}))
		b := &batcher{g: &gateway{http: strings.TrimPrefix(server.URL, "http://")}, qos: qos}
		const blocks = 3 * batchWindow / batchBlock
		s, err := b.run(10*time.Second, blocks)
		server.Close()
		if err != nil {
			t.Fatalf("QoS %d: %v", qos, err)
		}
		if s.ops != blocks*batchBlock || len(got) != s.ops {
			t.Errorf("QoS %d: got %d answers and %d different messages, want %d", qos, s.ops, len(got), blocks*batchBlock)
		}
	}
}

func TestBatchRefusesAWrongAnswer(t *testing.T) {
	for _, answer := range []string{`{"index":1,"status":200}`, `{"index":0,"status":503}`, `{"index":0,"status":200`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c := http.NewResponseController(w)
			_ = c.EnableFullDuplex()
			fmt.Fprintln(w, answer)
			_ = c.Flush() // in chunks, as the gateway's stream is
		}))
		b := &batcher{g: &gateway{http: strings.TrimPrefix(server.URL, "http://")}, qos: 1}
		_, err := b.run(10*time.Second, 1)
		server.Close()
		if err == nil {
			t.Errorf("got nil for the answer %s, want an error", answer)
		}
	}
}
