package main

import (
	"encoding/json"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"
)

// serveChiArg makes the load tool the handler that publish is compared with: a
// process of its own, so that its CPU can be told apart.
const serveChiArg = "serve-chi"

// serveChi decodes the same JSON as the gateway does, answers with as many
// bytes, and does nothing else. It waits so long for a head, or with 0 for ever.
func serveChi(addr, wait string) error {
	headTime, err := time.ParseDuration(wait)
	if err != nil {
		return err
	}
	r := chi.NewRouter()
	r.Post("/publish", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Topic   string `json:"topic"`
			Payload string `json:"payload"`
			QoS     int    `json:"qos"`
			Retain  bool   `json:"retain"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Topic == "" {
			http.Error(w, "bad JSON", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(struct {
			Topic    string  `json:"topic"`
			QoS      int     `json:"qos"`
			Delivery string  `json:"delivery"`
			TookMS   float64 `json:"took_ms"`
		}{in.Topic, in.QoS, "acknowledged", 0.123})
	})
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) { // for those who misbehave
		http.Error(w, "no", http.StatusUnauthorized)
	})
	server := &http.Server{Addr: addr, Handler: r, ReadHeaderTimeout: headTime}
	return server.ListenAndServe()
}

func (st *stage) chi(headTime time.Duration) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	addr := freeAddr()
	p, err := st.launch("chi handler", nil, self, serveChiArg, addr, headTime.String())
	if err != nil {
		return nil, "", err
	}
	return p, addr, waitFor(p, answers(addr))
}
