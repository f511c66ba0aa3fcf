package api

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

func TestEveryErrorHasItsProblem(t *testing.T) {
	for _, row := range []struct {
		err  error
		code wire.Code
	}{
		{ErrNotSent, wire.CodeBrokerUnavailable},
		{ErrOverloaded, wire.CodeOverloaded},
		{fmt.Errorf("lane 3: %w", ErrUnknown), wire.CodeOutcomeUnknown},
		{topic.CheckName("a/#"), wire.CodeTopicWildcard},
		{problem(wire.CodeNoReply, "Nothing came."), wire.CodeNoReply},
		{errors.New("dial tcp 192.0.2.7:1883: refused"), wire.CodeInternalError},
	} {
		p := ProblemOf(row.err)
		if p.Code != row.code || p.Status != kindOf(row.code).status || p.Detail == "" {
			t.Errorf("%v: got %+v, want the problem %s", row.err, p, row.code)
		}
		if row.code == wire.CodeInternalError && strings.Contains(p.Detail, "192.0.2.7") {
			t.Errorf("got %q, want nothing of what the error says", p.Detail)
		}
	}
}

func TestFieldOfAnErrorIsNamed(t *testing.T) {
	p := problem(wire.CodeFilterRefused, "The broker refuses.")
	at := problemAt("/reply", p)
	if len(at.Errors) != 1 || at.Errors[0].Pointer != "/reply" || at.Errors[0].Detail != p.Detail || at.Code != p.Code {
		t.Errorf("got %+v, want %s at /reply", at, p.Code)
	}
	if len(p.Errors) != 0 {
		t.Errorf("the first problem got %v, want it as it was", p.Errors)
	}
}

// Where the like of a message is refused for a while, the answer says how long.
func TestRetryAfterSaysHowLongTheBrokersQuotaLasts(t *testing.T) {
	for wait, want := range map[time.Duration]string{0: "1", 1500 * time.Millisecond: "2", time.Minute: "60"} {
		w := httptest.NewRecorder()
		writeProblem(w, ProblemOf(&Refused{Reason: reasonQuotaExceeded, For: wait}))
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("refused for %v: got Retry-After %q, want %s", wait, got, want)
		}
	}
}
