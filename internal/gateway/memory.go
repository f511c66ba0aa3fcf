package gateway

import (
	"os"
	"runtime/debug"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/gauge"
)

// What the process takes besides the sums that are counted.
const (
	// memoryFixed is the program, its runtime, and the buffers of its broker
	// connections and list makers.
	memoryFixed = 64 << 20
	// memoryStream is a stream that waits for messages.
	memoryStream = 16 << 10
	// memoryConnection is one that waits for a request, and memoryTLS one over TLS.
	memoryConnection = 24 << 10
	memoryTLS        = 64 << 10
)

// Memory is what the gateway takes at most with this configuration, in bytes:
// the limits of all sums, and a rest that does not depend on what clients
// bring. What Go's collector has not collected yet comes on top.
func Memory(cfg *config.Config) int64 {
	sums := cfg.HistoryBytes + cfg.ValuesBytes + cfg.IndexBytes + cfg.ClientsQueueBytes + cfg.BodiesBytes + cfg.AnswersBytes +
		device.Bytes + api.IdempotencyBytes + bridge.InFlightLimit(cfg.MQTTPool, cfg.MaxPayloadBytes) + logQueue + gauge.Limit
	if len(cfg.Quiet()) > 0 {
		sums += device.Bytes
	}
	if cfg.AuditLog != "" {
		sums += logQueue
	}
	connection := int64(memoryConnection)
	if cfg.TLSCertFile != "" {
		connection = memoryTLS
	}
	return sums + memoryFixed + int64(cfg.MaxConnections)*memoryStream + int64(api.ConnectionsFor(cfg.MaxConnections))*connection
}

// LimitMemory tells Go's collector how much the process may take: Memory, and
// an eighth for what is not collected yet. GOMEMLIMIT, where it is set, stays
// in force.
func LimitMemory(cfg *config.Config) {
	if os.Getenv("GOMEMLIMIT") == "" {
		m := Memory(cfg)
		debug.SetMemoryLimit(m + m/8)
	}
}
