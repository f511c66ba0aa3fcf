// Command sse reads server-sent events with r3labs/sse and prints the payload
// of each message, as an application would.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/r3labs/sse/v2"
)

func main() {
	err := sse.NewClient(os.Args[1]).SubscribeRaw(func(e *sse.Event) {
		if len(e.Event) > 0 {
			return // messages are the events without a name
		}
		var m struct{ Payload any }
		if err := json.Unmarshal(e.Data, &m); err != nil {
			log.Fatalf("event %q: %v", e.Data, err)
		}
		fmt.Println(m.Payload)
	})
	log.Fatal(err)
}
