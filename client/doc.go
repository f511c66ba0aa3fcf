// Package client is the gateway for Go programs: publish, read, ask, and
// subscribe over connections that come back by themselves.
//
//	c, err := client.Dial(ctx, "http://localhost:8080", client.Options{})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer c.Close()
//	sub := c.Subscribe(ctx, []string{"pi/+/battery"})
//	for ev, err := range sub.Events() {
//		if err != nil {
//			log.Fatal(err)
//		}
//		switch ev := ev.(type) {
//		case *client.Message:
//			fmt.Printf("%s %s\n", ev.Topic, ev.Payload)
//		case *client.Gap:
//			fmt.Println("messages may be missing here:", ev.Reason)
//		}
//	}
//
// # Outcomes
//
// [Client.Publish] returns without an error when the broker has the message.
// Otherwise the [*Error] says what is known:
//
//	errors.Is(err, client.ErrUnknownOutcome)   sent, or perhaps; nobody knows whether it arrived
//	Retryable                                  not sent; the same may work later
//	anything else                              refused; Code and Detail say why
//
// Publish itself tries again only what was certainly not sent: while there is no
// connection, and where the gateway says so. [Key] makes it safe to repeat what
// is unknown. A [Publisher] publishes many messages in order, without waiting for
// each. [Client.Topics], [Client.Retained] and [Client.Devices] list what is there.
//
// # Subscriptions
//
// A [Subscription] goes on behind the last message after its connection was
// lost, for as long as the gateway remembers what was missed. Where it does not,
// or the gateway itself has missed something, a [Gap] stands in that place:
// nothing is lost silently, and no live message comes twice. Copies, which have
// no Cursor, may come again after a lost connection.
//
// It holds one event at a time, and has no goroutine. A loop that is slow slows
// nobody else: the rest waits at the gateway, in its history.
package client
