package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	sdkjs "github.com/vulturepi/gateway/sdk/js"
)

// sdkTag changes with the file.
var sdkTag = func() string {
	sum := sha256.Sum256(sdkjs.Source)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}()

// getSDK is GET /sdk.js: the JavaScript client. Its address stays the same, so
// browsers ask whether it has changed.
func (s *Server) getSDK(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", sdkTag)
	if r.Header.Get("If-None-Match") == sdkTag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(sdkjs.Source)
}
