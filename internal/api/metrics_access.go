package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/vulturepi/gateway/internal/access"
)

// accessMetrics count who is let in, and who is not.
type accessMetrics struct {
	logins  *prometheus.CounterVec
	denials *prometheus.CounterVec
	limits  *prometheus.CounterVec
	reloads *prometheus.CounterVec
}

func newAccessMetrics() accessMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := accessMetrics{
		logins:  counter("gateway_auth_total", "Logins, by the way in and what came of them. With GATEWAY_AUTH=none nobody logs in.", "via", "outcome"),
		denials: counter("gateway_denied_total", "What callers asked for and were not granted.", "action"),
		limits:  counter("gateway_rate_limited_total", "What was refused because a caller was over a limit.", "kind"),
		reloads: counter("gateway_access_reloads_total", "Times that the access file or the keys of tokens were read anew, changed.", "outcome"),
	}
	for _, via := range []access.Via{access.ViaAnonymous, access.ViaKey, access.ViaJWT, access.ViaMTLS, access.ViaHeader} {
		m.logins.WithLabelValues(string(via), "ok") // counters start at zero
	}
	for _, via := range []access.Via{access.ViaKey, access.ViaJWT, access.ViaMTLS, access.ViaHeader, access.ViaTicket} {
		m.logins.WithLabelValues(string(via), "refused")
	}
	for _, via := range []access.Via{access.ViaKey, access.ViaTicket} {
		m.logins.WithLabelValues(string(via), "throttled")
	}
	for _, action := range []access.Action{access.ActionPublish, access.ActionRetain, access.ActionSubscribe, actionOperate} {
		m.denials.WithLabelValues(string(action))
	}
	for _, kind := range limitKinds {
		m.limits.WithLabelValues(kind)
	}
	m.reloads.WithLabelValues("ok")
	m.reloads.WithLabelValues("refused")
	return m
}

// actionOperate is to ask for what is for operators.
const actionOperate access.Action = "operate"

func (m *metrics) login(via access.Via, outcome string) {
	m.access.logins.WithLabelValues(string(via), outcome).Inc()
}

func (m *metrics) denied(action access.Action) {
	m.access.denials.WithLabelValues(string(action)).Inc()
}

// AccessReloaded counts that rights were read anew.
func (s *Server) AccessReloaded(ok bool) {
	outcome := "ok"
	if !ok {
		outcome = "refused"
	}
	s.metrics.access.reloads.WithLabelValues(outcome).Inc()
	s.audit(&caller{}, "reload", outcome)
}

func (m *metrics) limited(kind string) { m.access.limits.WithLabelValues(kind).Inc() }
