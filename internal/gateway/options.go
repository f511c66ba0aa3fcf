package gateway

import (
	"net/http"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/hub"
)

// An Option changes what Run builds, for tests: a broker side that is played,
// limits that are reached soon, waits that are short.
type Option func(*choice)

// WithBroker puts another broker side in the place of the bridge.
func WithBroker(make func(bridge.Config) Broker) Option {
	return func(c *choice) { c.broker = make }
}

// WithHub changes the hub's options behind those of the configuration.
func WithHub(change func(*hub.Options)) Option {
	return func(c *choice) { c.changeHub = append(c.changeHub, change) }
}

// WithAPI changes the server's options behind those of the configuration.
func WithAPI(change func(*api.Options)) Option {
	return func(c *choice) { c.changeAPI = append(c.changeAPI, change) }
}

// WithHTTP changes both HTTP servers before they serve.
func WithHTTP(change func(*http.Server)) Option {
	return func(c *choice) { c.changeHTTP = append(c.changeHTTP, change) }
}

// choice is what the options come to.
type choice struct {
	broker     func(bridge.Config) Broker
	changeHub  []func(*hub.Options)
	changeAPI  []func(*api.Options)
	changeHTTP []func(*http.Server)
}

func chosen(options []Option) *choice {
	c := &choice{broker: newBroker}
	for _, o := range options {
		o(c)
	}
	return c
}

func (c *choice) hub(o hub.Options) hub.Options {
	for _, change := range c.changeHub {
		change(&o)
	}
	return o
}

func (c *choice) api(o api.Options) api.Options {
	for _, change := range c.changeAPI {
		change(&o)
	}
	return o
}

func (c *choice) http(s *http.Server) *http.Server {
	for _, change := range c.changeHTTP {
		change(s)
	}
	return s
}
