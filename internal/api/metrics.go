package api

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/gauge"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/wire"
)

// Sum is what is held of one kind, in bytes, and how much may be.
type Sum struct{ Held, Limit int64 }

// LogStats is a reading of the log's counters.
type LogStats struct {
	Dropped uint64 // lines left out
	Waiting Sum    // lines that are not written yet
}

// BrokerStats is a reading of the broker side's counters.
type BrokerStats struct {
	Reconnects      uint64
	UpstreamFilters int
	Oversize        uint64             // messages skipped because they are larger than allowed
	InFlight        int                // publishes that wait for the broker
	Publishes       Sum                // their bytes
	Refused         map[string]uint64  // publishes that the broker refused, by reason
	Sys             map[string]float64 // numbers from $SYS, by metric name
}

// metrics owns the registry. Every label comes from a closed set: never a
// topic, a client's name or a raw path.
type metrics struct {
	registry *prometheus.Registry

	publishes       *prometheus.CounterVec
	publishDuration *prometheus.HistogramVec
	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	unheard         prometheus.Counter
	wsCloses        *prometheus.CounterVec
	access          accessMetrics

	// What is counted most is looked up once. publishOutcomes and its parts do
	// not change after newMetrics.
	publishOutcomes  map[string]*[3]map[string]prometheus.Counter // by way in, QoS and outcome
	publishDurations [3]prometheus.Observer
	seenRequests     sync.Map // requestLabels -> requestMetrics
}

type requestLabels struct {
	route, method string
	status        int
}

type requestMetrics struct {
	count    prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(version string, hubStats func() hub.Stats, brokerStats func() BrokerStats, own func() serverStats) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		publishes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_publish_total", Help: "Publishes that ended, by way in, QoS and outcome.",
		}, []string{"via", "qos", "outcome"}),
		publishDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gateway_publish_duration_seconds", Help: "Time from a valid publish to its outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"qos"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_http_requests_total", Help: "HTTP requests answered, by route pattern.",
		}, []string{"route", "method", "status"}),
		requestDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gateway_http_request_duration_seconds", Help: "Time to the end of the answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"route"}),
		wsCloses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_ws_closes_total", Help: "WebSockets that ended, by close code; 1006: without a close frame.",
		}, []string{"code"}),
	}
	m.unheard = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gateway_batch_unheard_total", Help: "Batch streams that ended because their results were not read.",
	})
	m.registry.MustRegister(m.unheard)
	m.access = newAccessMetrics()
	m.registry.MustRegister(m.access.logins, m.access.denials, m.access.limits, m.access.reloads)
	m.registry.MustRegister(m.publishes, m.publishDuration, m.requests, m.requestDuration, m.wsCloses,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&readings{hub: hubStats, broker: brokerStats, own: own}, buildInfo(version))
	m.publishOutcomes = map[string]*[3]map[string]prometheus.Counter{}
	for _, via := range []string{"http", "batch", "request", stream.NameWebSocket} {
		m.publishOutcomes[via] = new([3]map[string]prometheus.Counter)
		for qos, label := range qosLabels {
			m.publishDurations[qos] = m.publishDuration.WithLabelValues(label)
			m.publishOutcomes[via][qos] = map[string]prometheus.Counter{}
			for _, outcome := range outcomes { // counters start at zero
				m.publishOutcomes[via][qos][outcome] = m.publishes.WithLabelValues(via, label, outcome)
			}
		}
	}
	return m
}

// buildInfo is 1, with what the program was built from as labels.
func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gateway_build_info", Help: "1, with the gateway's version and that of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	g.Set(1)
	return g
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

var outcomes = []string{"ok", "not_sent", "overloaded", "unknown", "refused", "failed"}

// outcomeOf names what became of a publish.
func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrNotSent):
		return "not_sent"
	case errors.Is(err, ErrOverloaded):
		return "overloaded"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	}
	if _, ok := errors.AsType[*Refused](err); ok {
		return "refused"
	}
	return "failed"
}

func (m *metrics) published(via string, qos byte, err error, took time.Duration) {
	m.publishOutcomes[via][qos][outcomeOf(err)].Inc()
	m.publishDurations[qos].Observe(took.Seconds())
}

var qosLabels = [...]string{"0", "1", "2"}

func (m *metrics) request(route, method string, status int, took time.Duration) {
	labels := requestLabels{route, methodLabel(method), status}
	found, ok := m.seenRequests.Load(labels)
	if !ok {
		found = requestMetrics{m.requests.WithLabelValues(route, labels.method, strconv.Itoa(status)), m.requestDuration.WithLabelValues(route)}
		m.seenRequests.Store(labels, found)
	}
	seen := found.(requestMetrics)
	seen.count.Inc()
	seen.duration.Observe(took.Seconds())
}

// methodLabel keeps invented methods out of labels and logs.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return method
	}
	return "other"
}

// closeLabel keeps the codes that clients make up out of labels.
func closeLabel(code wire.CloseCode) string {
	switch code {
	case wire.CloseGoingAway, wire.CloseProtocolError, wire.CloseBinary, wire.CloseNoCode, wire.CloseAbnormal, wire.CloseInvalidUTF8,
		wire.ClosePolicy, wire.CloseTooBig, wire.CloseOverloaded, wire.CloseExpired, wire.CloseSlow, wire.CloseRate,
		wire.CloseCredentials, wire.CloseUnknown, wire.CloseRights, wire.CloseMalformed,
		1000, 1011: // only clients send these
		return strconv.Itoa(int(code))
	}
	return "other"
}

func (m *metrics) wsClosed(code wire.CloseCode) { m.wsCloses.WithLabelValues(closeLabel(code)).Inc() }

// readings turns the counters of hub and broker side into metrics when they
// are scraped, so that counting costs nothing on the message path.
type readings struct {
	hub    func() hub.Stats
	broker func() BrokerStats
	own    func() serverStats
}

// serverStats are the server's own readings.
type serverStats struct {
	keys    int    // Idempotency-Keys held
	replays uint64 // answers repeated for one
	waiting int    // requests that wait for a reply
	orphans int    // of them, those whose clients are gone

	bodies      Sum // unfinished bodies and messages
	answers     Sum // answers that are being written
	idempotency Sum // answers kept for Idempotency-Keys

	connections       int    // that carry no WebSocket or stream
	connectionsClosed uint64 // of them, to make room

	devices device.Stats
	values  gauge.Stats
	log     LogStats
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descReceived     = desc("gateway_messages_received_total", "Messages from the broker, retained copies included.")
	descDelivered    = desc("gateway_messages_delivered_total", "Messages framed for clients.", "transport")
	descDropped      = desc("gateway_messages_dropped_total", "Messages not delivered.", "reason")
	descGaps         = desc("gateway_gaps_total", "Gap frames sent to clients.", "reason")
	descSubscribers  = desc("gateway_subscribers", "Open streams.", "transport")
	descConnections  = desc("gateway_http_connections", "Connections that carry requests, or wait for one.")
	descMadeRoom     = desc("gateway_http_connections_closed_total", "Connections closed while they waited for a request, to make room for new ones.")
	descFilters      = desc("gateway_subscriptions", "Filters that clients hold.")
	descUpstream     = desc("gateway_upstream_filters", "Filters that the gateway holds at the broker.")
	descConnected    = desc("gateway_broker_connected", "1 while messages flow from the broker.")
	descReconnects   = desc("gateway_broker_reconnects_total", "Broker connections that had to be made again.")
	descUnremembered = desc("gateway_messages_unremembered_total", "Messages passed on and not kept, because their topic has more than 1024 bytes or 32 levels.")
	descTopics       = desc("gateway_topics", "Topics remembered.")
	descShed         = desc("gateway_shed_total", "Times that a client was made to hold less, or was cut off, because all together held too much.")
	descKeys         = desc("gateway_idempotency_keys", "Idempotency-Keys that are remembered.")
	descReplays      = desc("gateway_idempotent_replays_total", "Answers repeated for an Idempotency-Key, without publishing again.")
	descWaiting      = desc("gateway_requests_waiting", "Requests that wait for a reply.")
	descInFlight     = desc("gateway_publishes_in_flight", "Publishes that wait for the broker.")
	descRefused      = desc("gateway_publish_refused_total", "Publishes that the broker refused, by its reason; closed: it closes the connection on such a message.", "reason")
	descOrphans      = desc("gateway_requests_orphaned", "Requests that wait for a reply though their clients are gone, because they have an Idempotency-Key.")
	descLogDropped   = desc("gateway_log_dropped_total", "Lines of the log and the audit log that were not written, because it was not read fast enough or not at all.")
)

// sumDesc names two gauges: what is held, and what may be.
type sumDesc struct{ held, limit *prometheus.Desc }

func descSum(held, limit, holds, bound string) sumDesc {
	return sumDesc{desc(held, "Bytes of "+holds+"."), desc(limit, "Bytes that "+holds+" may take ("+bound+").")}
}

// The sums of all that is held for clients and devices. docs/operations.md adds them up.
var (
	sumHistory     = descSum("gateway_history_bytes", "gateway_history_limit_bytes", "the history", "GATEWAY_HISTORY_BYTES")
	sumValues      = descSum("gateway_values_bytes", "gateway_values_limit_bytes", "the newest messages", "GATEWAY_VALUES_BYTES")
	sumIndex       = descSum("gateway_index_bytes", "gateway_index_limit_bytes", "the topics, without their messages", "GATEWAY_INDEX_BYTES")
	sumQueued      = descSum("gateway_queued_bytes", "gateway_queued_limit_bytes", "what waits for clients", "GATEWAY_CLIENTS_QUEUE_BYTES")
	sumBodies      = descSum("gateway_bodies_bytes", "gateway_bodies_limit_bytes", "unfinished bodies and WebSocket messages", "GATEWAY_BODIES_BYTES")
	sumAnswers     = descSum("gateway_answers_bytes", "gateway_answers_limit_bytes", "lists and values that are being written", "GATEWAY_ANSWERS_BYTES")
	sumIdempotency = descSum("gateway_idempotency_bytes", "gateway_idempotency_limit_bytes", "answers kept for Idempotency-Keys", "fixed")
	sumPublishes   = descSum("gateway_publishes_bytes", "gateway_publishes_limit_bytes", "publishes that wait for the broker", "for each of GATEWAY_MQTT_POOL connections 32 MiB, or four payloads where that is more")
	sumDevices     = descSum("gateway_devices_bytes", "gateway_devices_limit_bytes", "devices, and topics that may not go quiet", "fixed")
	sumLog         = descSum("gateway_log_bytes", "gateway_log_limit_bytes", "log lines that are not written yet", "fixed")
)

// Describe is empty: which $SYS values exist depends on the broker.
func (r *readings) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *readings) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	h, b := r.hub(), r.broker()
	h.Dropped["oversize"] += b.Oversize
	send(descReceived, prometheus.CounterValue, float64(h.Received))
	send(descFilters, prometheus.GaugeValue, float64(h.Filters))
	send(descUpstream, prometheus.GaugeValue, float64(b.UpstreamFilters))
	send(descReconnects, prometheus.CounterValue, float64(b.Reconnects))
	own := r.own()
	send(descConnections, prometheus.GaugeValue, float64(own.connections))
	send(descMadeRoom, prometheus.CounterValue, float64(own.connectionsClosed))
	send(descKeys, prometheus.GaugeValue, float64(own.keys))
	send(descReplays, prometheus.CounterValue, float64(own.replays))
	send(descWaiting, prometheus.GaugeValue, float64(own.waiting))
	send(descOrphans, prometheus.GaugeValue, float64(own.orphans))
	send(descInFlight, prometheus.GaugeValue, float64(b.InFlight))
	for d, sum := range map[sumDesc]Sum{
		sumHistory: {h.Memory.History, h.MemoryLimits.History}, sumValues: {h.Memory.Values, h.MemoryLimits.Values},
		sumIndex: {h.Memory.Index, h.MemoryLimits.Index}, sumQueued: {h.Queued, h.QueuedLimit},
		sumBodies: own.bodies, sumAnswers: own.answers, sumIdempotency: own.idempotency, sumPublishes: b.Publishes, sumLog: own.log.Waiting,
		sumDevices: {own.devices.Bytes, own.devices.Limit}, sumValueSeries: {own.values.Bytes, gauge.Limit},
	} {
		send(d.held, prometheus.GaugeValue, float64(sum.Held))
		send(d.limit, prometheus.GaugeValue, float64(sum.Limit))
	}
	send(descLogDropped, prometheus.CounterValue, float64(own.log.Dropped))
	send(descUnremembered, prometheus.CounterValue, float64(h.Unremembered))
	send(descTopics, prometheus.GaugeValue, float64(h.Topics))
	send(descShed, prometheus.CounterValue, float64(h.Shed))
	connected := 0.0
	if h.Connected {
		connected = 1
	}
	send(descConnected, prometheus.GaugeValue, connected)
	for reason, n := range b.Refused {
		send(descRefused, prometheus.CounterValue, float64(n), reason)
	}
	for reason, n := range h.Dropped {
		send(descDropped, prometheus.CounterValue, float64(n), reason)
	}
	for reason, n := range h.Gaps {
		send(descGaps, prometheus.CounterValue, float64(n), reason)
	}
	for _, transport := range transports {
		send(descDelivered, prometheus.CounterValue, float64(h.Delivered[transport]), transport)
		send(descSubscribers, prometheus.GaugeValue, float64(h.Subscribers[transport]), transport)
	}
	collectDevices(send, own.devices)
	collectValues(send, own.values)
	for name, v := range b.Sys {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(name, "_total") {
			kind = prometheus.CounterValue
		}
		send(desc(name, "From the broker's $SYS topics."), kind, v)
	}
}

// transports are the label values of streams.
var transports = []string{stream.NameWebSocket, string(stream.FormatSSE), string(stream.FormatNDJSON), string(stream.FormatText)}
