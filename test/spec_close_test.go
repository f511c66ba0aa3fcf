package test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	spec "github.com/vulturepi/gateway/api"
	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/spectest"
)

// Every close code of asyncapi.yaml happens, when the file says so, and the
// table in its text has the same ones. 4008 is the last word to a slow client,
// see slowGap.
func TestCloseCodes(t *testing.T) {
	t.Parallel()
	provoke := map[int]func(t *testing.T, g *played) int{
		1001: func(t *testing.T, g *played) int {
			s := g.dialStrict(t, "")
			s.expect("welcome")
			g.stop()
			return s.closed()
		},
		1002: func(t *testing.T, g *played) int { return g.bytes(t, []byte{0x81, 0x01, 'x'}) }, // not masked
		1003: func(t *testing.T, g *played) int { return g.written(t, websocket.MessageBinary, "x") },
		1007: func(t *testing.T, g *played) int { return g.written(t, websocket.MessageText, "\xff") },
		1008: func(t *testing.T, g *played) int {
			pong := append([]byte{0x8a, 0x80 | 125, 0, 0, 0, 0}, make([]byte, 125)...)
			return g.bytes(t, bytes.Repeat(pong, (600<<10)/len(pong)))
		},
		1009: func(t *testing.T, g *played) int {
			return g.written(t, websocket.MessageText, strings.Repeat(" ", 256<<10+1))
		},
		1013: func(t *testing.T, _ *played) int {
			g := play(t, func(o *api.Options) { o.BodiesBytes = 1 })
			return g.written(t, websocket.MessageText, strings.Repeat(" ", 8<<10))
		},
		4005: func(t *testing.T, _ *played) int {
			g, file := playAccess(t)
			s := g.dialAs("?topic=fleet/%23", bearer(fleetKey))
			end := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)
			writeRules(t, file, strings.Replace(specRules(), "2099-01-01T00:00:00Z", end, 1))
			return s.closed()
		},
		4009: func(t *testing.T, _ *played) int {
			g, _ := playAccess(t, func(o *api.Options) { o.RatePublish = 1 })
			s := g.dialAs("", bearer(operatorKey))
			for range 200 {
				if s.conn.Write(t.Context(), websocket.MessageText, []byte(`{"op":"publish","topic":"a","payload":1}`)) != nil {
					break // it is closed
				}
			}
			return s.closed()
		},
		4501: func(t *testing.T, _ *played) int {
			g, _ := playAccess(t)
			s := g.dialStrict(t, "")
			s.expect("welcome")
			s.send(`{"op":"auth","token":"gwk_wrong"}`)
			return s.closed()
		},
		4502: func(t *testing.T, _ *played) int {
			g, _ := playAccess(t, func(o *api.Options) { o.Timing.Auth = time.Millisecond })
			return g.dialStrict(t, "").closed()
		},
		4503: func(t *testing.T, _ *played) int {
			g, file := playAccess(t)
			s := g.dialAs("?topic=fleet/%23", bearer(fleetKey))
			writeRules(t, file, "principals: []\n")
			return s.closed()
		},
		4509: func(t *testing.T, g *played) int {
			s := g.dialStrict(t, "")
			for range 10 {
				s.send(`{"op":"jump"}`)
			}
			return s.closed()
		},
	}
	for code, f := range provoke {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			g := play(t)
			g.up(false)
			if got := f(t, g); got != code {
				t.Errorf("got close code %d, want %d", got, code)
			}
		})
	}
	var listed []string
	for _, code := range spectest.AsyncAPI(t).At(t, "/channels/gateway/x-close-codes").([]any) {
		listed = append(listed, fmt.Sprint(code))
		if !bytes.Contains(spec.AsyncAPI, fmt.Appendf(nil, "    | %s |", code)) {
			t.Errorf("the text of asyncapi.yaml has no close code %s", code)
		}
	}
	want := []string{"4008"}
	for code := range maps.Keys(provoke) {
		want = append(want, fmt.Sprint(code))
	}
	slices.Sort(want)
	if !slices.Equal(listed, want) {
		t.Errorf("asyncapi.yaml lists the close codes %v, want %v", listed, want)
	}
}

// written sends one message and gives the close code that it gets.
func (g *gateway) written(t *testing.T, kind websocket.MessageType, body string) int {
	t.Helper()
	s := g.dialStrict(t, "")
	if err := s.conn.Write(t.Context(), kind, []byte(body)); err != nil {
		t.Fatal(err)
	}
	return s.closed()
}

// bytes sends what no library would, and gives the close code.
func (g *gateway) bytes(t testing.TB, said []byte) int {
	t.Helper()
	s := g.dialLean("", func([]byte) {})
	go func() { _, _ = s.conn.Write(said) }() // the gateway need not read all of it
	s.ended(t)
	return s.code
}
