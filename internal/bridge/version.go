package bridge

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// versions decides which protocol to speak: what is configured; or 5, and 3.1.1 where the broker refuses that, or closes
// the connection on it, as some that do not know it do.
type versions struct {
	fixed mqtt.Version
	log   *slog.Logger

	mu    sync.Mutex   // guards the rest
	older bool         // 3.1.1 is to be tried next
	works mqtt.Version // a connection was made with it
	away  bool         // since then nobody was there: it may come back as another broker
}

func (v *versions) choose() mqtt.Version {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.fixed != 0:
		return v.fixed
	case v.older:
		return mqtt.V311
	}
	return mqtt.V5
}

// worked notes a connection, and says so when the version is news.
func (v *versions) worked(version mqtt.Version) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.away = false
	if v.works != version {
		v.works = version
		v.log.Info("the broker speaks MQTT", "version", version.String())
	}
}

func (v *versions) spoken() mqtt.Version {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.works
}

// failed notes an attempt with a version, and reports whether the other one is worth one at once. A broker that was away
// may come back as another, so 5 is tried again then, and 3.1.1 if that broker closes the connection on it.
func (v *versions) failed(version mqtt.Version, err error) (again bool) {
	if v.fixed != 0 {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	refused, ok := errors.AsType[*mqtt.ConnectError](err)
	_, away := errors.AsType[*mqtt.DialError](err)
	switch {
	case ok && refused.OtherVersion, errors.Is(err, mqtt.ErrClosedOnConnect) && (v.works != version || v.away):
		v.older = version == mqtt.V5
		return version == mqtt.V5
	case away:
		v.older, v.away = false, true
	}
	return false
}

// SubscribeQoS is how the gateway itself subscribes.
type SubscribeQoS byte

// Within one connection QoS 1 adds nothing for a clean session: what is not acknowledged when it ends is gone either way.
// What counts is where a broker drops messages for a client that is behind. Mosquitto keeps 20 messages above QoS 0 under
// way and 1000 waiting, and drops the rest of a burst; at QoS 0 it has the socket.
const (
	// QoSAuto is 0 with a clean session on brokers whose connected QoS 0 clients lose less, and 1 elsewhere.
	QoSAuto SubscribeQoS = iota
	QoS0
	QoS1
)

// versionTopic is where mosquitto and the built-in broker say who they are.
const versionTopic = "$SYS/broker/version"

// software is what is known of the broker's.
type software struct {
	choice SubscribeQoS
	keeps  bool // the session

	mu    sync.Mutex // guards the rest
	name  string
	named chan struct{} // closed when there is a name
	qos   byte          // at which the gateway subscribes
}

// get is the broker's name, and the QoS at which the gateway subscribes.
func (s *software) get() (name string, qos byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name, s.qos
}

// decide fixes the QoS for a new link.
func (s *software) decide() (qos byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.choice == QoS0:
		s.qos = 0
	case s.choice == QoS1, s.keeps:
		s.qos = 1
	case strings.HasPrefix(s.name, "mosquitto "), strings.HasPrefix(s.name, "vulture gateway "):
		s.qos = 0
	default:
		s.qos = 1
	}
	return s.qos
}

// is notes the broker's name.
func (s *software) is(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.name = name[:min(len(name), 100)]; s.named != nil {
		close(s.named)
		s.named = nil
	}
}

// ask finds out what the broker is, on a link that has just been made. A broker sends the retained copy of its name about
// when it answers a PINGREQ; one that has none, or does not let us read it, is not worth waiting for much longer.
func (s *software) ask(ctx context.Context, k *mqtt.Conn, patience time.Duration) {
	named := make(chan struct{})
	s.mu.Lock()
	s.name, s.named = "", named
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	codes, err := k.Subscribe(ctx, []mqtt.Filter{{Filter: versionTopic}})
	if err != nil || codes[0].Failed() || k.RoundTrip(ctx) != nil {
		return
	}
	late := time.NewTimer(patience / 5)
	defer late.Stop()
	select {
	case <-named:
	case <-late.C:
	case <-ctx.Done():
	}
}
