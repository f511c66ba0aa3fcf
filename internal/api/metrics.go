package api

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/wire"
)

// BrokerStats is a reading of the broker side's counters.
type BrokerStats struct {
	Reconnects      uint64
	UpstreamFilters int
	Oversize        uint64             // messages skipped because they are larger than allowed
	InFlight        int                // publishes that wait for the broker
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

func newMetrics(hubStats func() hub.Stats, brokerStats func() BrokerStats, own func() serverStats) *metrics {
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
	m.access = newAccessMetrics()
	m.registry.MustRegister(m.access.logins, m.access.denials, m.access.limits, m.access.reloads)
	m.registry.MustRegister(m.publishes, m.publishDuration, m.requests, m.requestDuration, m.wsCloses,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&readings{hub: hubStats, broker: brokerStats, own: own})
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

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

var outcomes = []string{"ok", "not_sent", "overloaded", "unknown", "failed"}

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

	bodies, bodiesLimit   int64 // bytes of unfinished bodies and messages
	answers, answersLimit int64 // bytes of answers that are being written

	logDropped uint64 // lines that the log left out
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
	descFilters      = desc("gateway_subscriptions", "Filters that clients hold.")
	descUpstream     = desc("gateway_upstream_filters", "Filters that the gateway holds at the broker.")
	descConnected    = desc("gateway_broker_connected", "1 while messages flow from the broker.")
	descReconnects   = desc("gateway_broker_reconnects_total", "Broker connections that had to be made again.")
	descHistory      = desc("gateway_history_bytes", "Memory that the history holds.")
	descHistoryLimit = desc("gateway_history_limit_bytes", "Memory that the history may hold (GATEWAY_HISTORY_BYTES).")
	descValues       = desc("gateway_values_bytes", "Memory that the newest messages hold.")
	descValuesLimit  = desc("gateway_values_limit_bytes", "Memory that the newest messages may hold (GATEWAY_VALUES_BYTES).")
	descIndex        = desc("gateway_index_bytes", "Memory that the topics take, without their messages.")
	descIndexLimit   = desc("gateway_index_limit_bytes", "Memory that the topics may take (GATEWAY_INDEX_BYTES).")
	descUnremembered = desc("gateway_messages_unremembered_total", "Messages passed on and not kept, because their topic has more than 1024 bytes or 32 levels.")
	descTopics       = desc("gateway_topics", "Topics remembered.")
	descQueued       = desc("gateway_queued_bytes", "Bytes that wait for clients.")
	descQueuedLimit  = desc("gateway_queued_limit_bytes", "Bytes that may wait for clients (GATEWAY_CLIENTS_QUEUE_BYTES).")
	descShed         = desc("gateway_shed_total", "Times that a client was made to hold less, or was cut off, because all together held too much.")
	descKeys         = desc("gateway_idempotency_keys", "Idempotency-Keys that are remembered.")
	descReplays      = desc("gateway_idempotent_replays_total", "Answers repeated for an Idempotency-Key, without publishing again.")
	descWaiting      = desc("gateway_requests_waiting", "Requests that wait for a reply.")
	descInFlight     = desc("gateway_publishes_in_flight", "Publishes that wait for the broker.")
	descOrphans      = desc("gateway_requests_orphaned", "Requests that wait for a reply though their clients are gone, because they have an Idempotency-Key.")
	descBodies       = desc("gateway_bodies_bytes", "Bytes of unfinished bodies and WebSocket messages.")
	descBodiesMax    = desc("gateway_bodies_limit_bytes", "What unfinished bodies and WebSocket messages may have.")
	descAnswers      = desc("gateway_answers_bytes", "Bytes of lists and values that are being written.")
	descAnswersMax   = desc("gateway_answers_limit_bytes", "What lists and values that are being written may have.")
	descLogDropped   = desc("gateway_log_dropped_total", "Log lines that were not written, because the log was not read fast enough or not at all.")
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
	send(descKeys, prometheus.GaugeValue, float64(own.keys))
	send(descReplays, prometheus.CounterValue, float64(own.replays))
	send(descWaiting, prometheus.GaugeValue, float64(own.waiting))
	send(descOrphans, prometheus.GaugeValue, float64(own.orphans))
	send(descBodies, prometheus.GaugeValue, float64(own.bodies))
	send(descBodiesMax, prometheus.GaugeValue, float64(own.bodiesLimit))
	send(descAnswers, prometheus.GaugeValue, float64(own.answers))
	send(descAnswersMax, prometheus.GaugeValue, float64(own.answersLimit))
	send(descLogDropped, prometheus.CounterValue, float64(own.logDropped))
	send(descInFlight, prometheus.GaugeValue, float64(b.InFlight))
	send(descHistory, prometheus.GaugeValue, float64(h.Memory.History))
	send(descHistoryLimit, prometheus.GaugeValue, float64(h.MemoryLimits.History))
	send(descValues, prometheus.GaugeValue, float64(h.Memory.Values))
	send(descValuesLimit, prometheus.GaugeValue, float64(h.MemoryLimits.Values))
	send(descIndex, prometheus.GaugeValue, float64(h.Memory.Index))
	send(descIndexLimit, prometheus.GaugeValue, float64(h.MemoryLimits.Index))
	send(descUnremembered, prometheus.CounterValue, float64(h.Unremembered))
	send(descTopics, prometheus.GaugeValue, float64(h.Topics))
	send(descQueued, prometheus.GaugeValue, float64(h.Queued))
	send(descQueuedLimit, prometheus.GaugeValue, float64(h.QueuedLimit))
	send(descShed, prometheus.CounterValue, float64(h.Shed))
	connected := 0.0
	if h.Connected {
		connected = 1
	}
	send(descConnected, prometheus.GaugeValue, connected)
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
	for name, v := range b.Sys {
		send(desc(name, "From the broker's $SYS topics."), prometheus.GaugeValue, v)
	}
}

// transports are the label values of streams.
var transports = []string{stream.NameWebSocket, string(stream.FormatSSE), string(stream.FormatNDJSON), string(stream.FormatText)}
