package gateway

import (
	"net/http"

	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/console"
)

// page is the console, nil where it is not wanted.
func page(cfg *config.Config) http.Handler {
	if !cfg.Console {
		return nil
	}
	return console.New(cfg.BasePath)
}
