package api

import (
	"net/http"

	"github.com/vulturepi/gateway/wire"
)

// getLivez is GET /livez: the process answers, whatever the broker does.
func (s *Server) getLivez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "alive"})
}

// getReadyz is GET /readyz: 200 while publishing and subscribing work.
func (s *Server) getReadyz(w http.ResponseWriter, _ *http.Request) {
	h := s.opts.Health()
	res := wire.Health{Status: "ready", Checks: map[string]string{"publish": "ok", "subscribe": "ok"}}
	why := h.Detail
	if why == "" {
		why = "no broker connection"
	}
	if len(h.Refused) > 0 {
		res.Status = "degraded"
		res.Checks["filters"] = "the broker refuses some of the gateway's filters"
	}
	if h.Warning != "" {
		res.Status, res.Checks["self_test"] = "degraded", h.Warning
	}
	if h.MQTT != "" {
		res.Checks["mqtt_version"] = h.MQTT
	}
	if !h.Publish {
		res.Status, res.Checks["publish"] = "not_ready", why
	}
	if !h.Subscribe {
		res.Status, res.Checks["subscribe"] = "not_ready", why
	}
	if s.draining.Load() {
		res.Status, res.Checks["shutdown"] = "not_ready", "the gateway is going down"
	}
	status := http.StatusOK
	if res.Status == "not_ready" {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryAfter)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, "application/json", res)
}
