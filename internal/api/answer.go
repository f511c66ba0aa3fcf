package api

import (
	"net/http"

	"github.com/vulturepi/gateway/wire"
)

// answer is what a publishing route says. It does not change once it is made,
// because it may be said again to a caller who repeats an Idempotency-Key.
type answer struct {
	status  int
	result  *wire.PublishResult // 200, 202
	batch   [][]byte            // of a batch: the elements of the array, not nil
	message []byte              // of a request: the reply, as its JSON object
	topic   string              // and its topic
	problem *wire.Problem       // the error; nothing else is set then
	nothing bool                // of a batch: no message of it was sent
}

// sent reports whether something reached the broker, or may have.
func (a *answer) sent() bool {
	if a.problem == nil {
		return !a.nothing
	}
	switch a.problem.Code {
	case wire.CodeOutcomeUnknown, wire.CodeNoReply, wire.CodeReplyTooLarge:
		return true
	}
	return false
}

// size is roughly what the answer holds in memory.
func (a *answer) size() int {
	n := 256 + len(a.message) + len(a.topic)
	for _, line := range a.batch {
		n += sliceHeader + len(line)
	}
	if a.result != nil {
		n += len(a.result.Topic)
	}
	return n
}

func (a *answer) write(w http.ResponseWriter) {
	switch {
	case a.problem != nil:
		p := *a.problem // writing names the request in it
		writeProblem(w, &p)
	case a.result != nil:
		w.Header()["Content-Type"] = contentTypeJSON
		w.WriteHeader(a.status)
		_, _ = w.Write(append(wire.AppendPublishResult(make([]byte, 0, 96+len(a.result.Topic)), a.result), '\n'))
	case a.message != nil:
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", typeJSON)
		_, _ = w.Write(append(a.message[:len(a.message):len(a.message)], '\n'))
	default:
		w.Header().Set("Content-Type", typeJSON)
		writeArray(w, a.status, a.batch)
	}
}

var contentTypeJSON = []string{typeJSON} // nobody changes it

// publishAnswer publishes p and waits for its end.
func (s *Server) publishAnswer(p *publication) *answer {
	if s.draining.Load() {
		return &answer{problem: shuttingDown()}
	}
	return s.begin(p, "http").outcome()
}
