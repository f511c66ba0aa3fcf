package cli

import (
	"errors"
	"sync"
	"time"

	"github.com/vulturepi/gateway/client"
)

// retryFor is how long work on many messages waits for a gateway that has gone.
const retryFor = 30 * time.Second

// mostTold is how many failures are told one by one.
const mostTold = 10

// many publishes messages one behind the other, and counts what becomes of them.
type many struct {
	sh        *Shell
	client    *client.Client
	publisher *client.Publisher
	progress  *progress
	sent      int

	// repeats: what is refused for now only, and what nobody knows of, is
	// published again when all others have been, or when that has become much.
	repeats bool

	mu     sync.Mutex
	again  []again // guarded by mu
	bytes  int     // guarded by mu: of again
	failed int     // guarded by mu
	status int     // guarded by mu: the exit status that the failures come to
	gone   bool    // guarded by mu: there is no connection any more
}

// again is a message that is published once more.
type again struct {
	topic   string
	payload []byte
	options []client.Option
	err     error // why
}

// Bounds of many.again, besides what is under way.
const (
	mostAgain  = 1000
	againBytes = 16 << 20
)

func (g *Gateway) many(sh *Shell, what string) (*many, error) {
	c, err := g.dial(sh, retryFor)
	if err != nil {
		return nil, err
	}
	return &many{sh: sh, client: c, publisher: c.NewPublisher(sh.Ctx), progress: sh.progress(what, 0)}, nil
}

// publish sends a message. False: there is no point in going on.
func (m *many) publish(topic string, payload []byte, options []client.Option) bool {
	m.sent++
	m.progress.at(m.sent)
	m.publisher.Publish(topic, payload, func(_ client.Outcome, err error) {
		if m.repeats && passing(err) {
			m.mu.Lock()
			m.again = append(m.again, again{topic, payload, options, err})
			m.bytes += len(topic) + len(payload)
			m.mu.Unlock()
			return
		}
		m.settled(topic, err)
	}, options...)
	m.mu.Lock()
	much := len(m.again) >= mostAgain || m.bytes >= againBytes
	m.mu.Unlock()
	if much {
		m.repeat()
	}
	return !m.isGone() && m.sh.Ctx.Err() == nil
}

func (m *many) isGone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone
}

// repeat waits for the outcomes, and publishes again what is to be.
func (m *many) repeat() {
	m.publisher.Wait()
	m.mu.Lock()
	all := m.again
	m.again, m.bytes = nil, 0
	m.mu.Unlock()
	for i, a := range all {
		m.progress.at(m.sent - len(all) + i)
		err := a.err
		if !m.isGone() && m.sh.Ctx.Err() == nil {
			_, err = m.client.Publish(m.sh.Ctx, a.topic, a.payload, a.options...)
		}
		m.settled(a.topic, err)
	}
}

// passing reports whether the same message may be taken later.
func passing(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Code != client.CodeNotConnected && (e.Retryable || errors.Is(err, client.ErrUnknownOutcome))
}

func (m *many) settled(topic string, err error) {
	if err == nil {
		m.sh.back()
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed++
	var e *client.Error
	m.gone = m.gone || errors.As(err, &e) && (e.Code == client.CodeNotConnected && !errors.Is(err, client.ErrUnknownOutcome) || e.Status == 401)
	switch status := statusOf(err); {
	case m.status == 0 || status == StatusUnknown:
		m.status = status
	}
	if m.sh.Ctx.Err() == nil && m.failed <= mostTold {
		m.sh.note("%s: %s", topic, words(err))
	}
}

// end waits for the outcomes, and says what they come to. err is what ended it
// before the last message.
func (m *many) end(err error) error {
	if err == nil {
		m.repeat()
	}
	m.publisher.Wait()
	m.progress.end()
	if err == nil {
		err = m.sh.Ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil:
		return err
	case m.failed > 0:
		why := "not published"
		if m.status == StatusUnknown {
			why = "not published, or nobody knows whether they were"
		}
		return &Error{m.status, plural(m.failed, "message") + " of " + plural(m.sent, "message") + ": " + why}
	}
	if isTerminal(m.sh.Stderr) {
		m.sh.note("%s published", plural(m.sent, "message"))
	}
	return nil
}

func (m *many) close() {
	m.publisher.Close()
	m.client.Close()
}
