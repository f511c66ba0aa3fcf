package api

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/topic"
)

// docs/protocol.md tells the limits; here those that no variable changes are
// written from the code.
func TestLimitsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	d := Timing{}.withDefaults()
	for _, row := range []string{
		fmt.Sprintf("Topic that is published to | %d bytes, %d levels |", topic.MaxBytes, topic.MaxLevels),
		fmt.Sprintf("Topic that is read or cleared, filter | %d bytes, %d levels |", topic.MaxReadBytes, topic.MaxReadLevels),
		fmt.Sprintf("Filters of one connection | %d |", maxFilters),
		fmt.Sprintf("Publishes and requests of one WebSocket that wait | %d |", maxInFlight),
		fmt.Sprintf("Array of a batch | %d objects, %d MiB or", maxBatch, maxBatchBytes>>20),
		fmt.Sprintf("Messages of one batch that wait | %d, %d MiB |", windowItems, windowBytes>>20),
		fmt.Sprintf("Requests that wait for a reply | %d; of them, whose clients are gone: %d |", maxWaiting, maxOrphaned),
		fmt.Sprintf("Idempotency-Key | %d characters; %.0f minutes; %d MiB for all |", maxKey, idempotencyTime.Minutes(), IdempotencyBytes>>20),
		fmt.Sprintf("Objects in one answer of `/history` and `/topics` | %d, and", maxPage),
		fmt.Sprintf("Time to read an answer | %.0f minute; %.0f s for each %d KiB |", d.Answer.Minutes(), d.Stall.Seconds(), pieceBytes>>10),
		fmt.Sprintf("Lists that are made at once | %d, the next one waits for %.0f s |", maxLists, d.Room.Seconds()),
		fmt.Sprintf("Path and query | %d bytes |", maxURI),
		fmt.Sprintf("Progress of a body | %d KiB in any %.0f s; a batch stream: something each minute |", steadyBytes>>10, d.Progress.Seconds()),
	} {
		if !strings.Contains(string(text), "\n| "+row) {
			t.Errorf("protocol.md has no row that begins with %q", row)
		}
	}
}
