package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/brokertest"
)

// An answer is told at once; the time is for what hangs.
func TestCheckWaitsOnlyForABrokerThatDoesNotAnswer(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	refuses := brokertest.StartFake(t, func(c *brokertest.FakeConn) { _ = c.AcceptConnect(5) })
	for broker, want := range map[string]string{
		"mqtt://127.0.0.1:1":                               "connection refused",
		"mqtts://127.0.0.1:1":                              "connection refused",
		"mqtt://" + strings.TrimPrefix(web.URL, "http://"): "it answers HTTP",
		refuses.URL():                                      "not authorised",
	} {
		u, err := url.Parse(broker)
		if err != nil {
			t.Fatal(err)
		}
		link := bridge.New(bridge.Config{URL: u, Pool: 2, Log: slog.New(slog.DiscardHandler), Receiver: ignore{}})
		status := reach(t.Context(), link, time.Hour, func(context.Context) { t.Errorf("%s: it is up", broker) })
		if !strings.Contains(status.Err, want) {
			t.Errorf("%s: got %q, want %q in it", broker, status.Err, want)
		}
	}
}
