package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/vulturepi/gateway/client"
)

// A program that publishes and reads. The address is like http://localhost:8080.
func Example() {
	ctx := context.Background()
	c, err := client.Dial(ctx, os.Getenv("GATEWAY_URL"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	sub := c.Subscribe(ctx, []string{"pi/+/led"})
	if _, err := c.Publish(ctx, "pi/3/led", "on"); err != nil {
		log.Fatal(err)
	}
	for ev, err := range sub.Events() {
		if err != nil {
			log.Fatal(err)
		}
		switch ev := ev.(type) {
		case *client.Message:
			fmt.Printf("%s %s\n", ev.Topic, ev.Payload)
			return
		case *client.Gap:
			fmt.Println("messages are or may be missing here:", ev.Reason)
		}
	}
	// Output: pi/3/led on
}

// What to do about each outcome of a publish.
func ExampleClient_Publish() {
	ctx := context.Background()
	c, err := client.Dial(ctx, os.Getenv("GATEWAY_URL"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	outcome, err := c.Publish(ctx, "pi/3/temperature", 21.5, client.Retain())
	var refused *client.Error
	switch {
	case err == nil && outcome.Status == 200:
		fmt.Println("the broker has it")
	case err == nil:
		fmt.Println("it was written to the broker, which confirms nothing at QoS 0")
	case errors.Is(err, client.ErrUnknownOutcome):
		fmt.Println("it may have arrived; publish it again only if twice does no harm")
	case errors.As(err, &refused) && refused.Retryable:
		fmt.Println("it was not sent, for as long as we tried; the same may work later")
	default:
		fmt.Println("it is refused:", err)
	}
	// Output: the broker has it
}

// A key makes it safe to publish again what may have arrived.
func ExampleKey() {
	ctx := context.Background()
	c, err := client.Dial(ctx, os.Getenv("GATEWAY_URL"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for range 3 {
		outcome, err := c.Publish(ctx, "orders/new", "one coffee", client.Key("order-4711"))
		if err != nil && errors.Is(err, client.ErrUnknownOutcome) {
			continue
		}
		fmt.Println(outcome.Status, outcome.Replayed)
	}
	// Output:
	// 200 false
	// 200 true
	// 200 true
}

// What is there first, and then what changes.
func ExampleSnapshot() {
	ctx := context.Background()
	c, err := client.Dial(ctx, os.Getenv("GATEWAY_URL"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for _, room := range []string{"kitchen", "office"} {
		if _, err := c.Publish(ctx, "home/"+room+"/temperature", 21.5, client.Retain()); err != nil {
			log.Fatal(err)
		}
	}
	sub := c.Subscribe(ctx, []string{"home/+/temperature"}, client.Snapshot())
	for ev, err := range sub.Events() {
		if err != nil {
			log.Fatal(err)
		}
		switch ev := ev.(type) {
		case *client.Message:
			var celsius float64
			if err := ev.JSON(&celsius); err != nil {
				log.Print(err)
				continue
			}
			fmt.Printf("%s is at %.1f\n", ev.Topic, celsius)
		case *client.SnapshotEnd:
			fmt.Println("that was all; now what changes")
			return
		}
	}
	// Unordered output:
	// home/kitchen/temperature is at 21.5
	// home/office/temperature is at 21.5
	// that was all; now what changes
}

// A program that was stopped goes on where it was.
func ExampleSubscription_Cursor() {
	ctx := context.Background()
	c, err := client.Dial(ctx, os.Getenv("GATEWAY_URL"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	sub := c.Subscribe(ctx, []string{"orders/done"})
	cursor := sub.Cursor() // keep it in a file, behind every message
	sub.Close()

	if _, err := c.Publish(ctx, "orders/done", "one coffee"); err != nil {
		log.Fatal(err)
	}
	for ev, err := range c.Subscribe(ctx, []string{"orders/done"}, client.Since(cursor)).Events() {
		if err != nil {
			log.Fatal(err)
		}
		if m, ok := ev.(*client.Message); ok {
			fmt.Printf("while we were away: %s\n", m.Payload)
			return
		}
	}
	// Output: while we were away: one coffee
}

// A command, and the device's answer on another topic.
func ExampleClient_Request() {
	ctx := context.Background()
	c, err := client.Dial(ctx, os.Getenv("GATEWAY_URL"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	plug := c.Subscribe(ctx, []string{"cmnd/lamp/POWER"})
	go func() { // the device
		for ev := range plug.Events() {
			if m, ok := ev.(*client.Message); ok {
				_, _ = c.Publish(ctx, "stat/lamp/POWER", m.Payload)
			}
		}
	}()
	m, err := c.Request(ctx, "cmnd/lamp/POWER", "ON", "stat/lamp/POWER", client.Expect("ON"), client.Within(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the lamp is %s\n", m.Payload)
	// Output: the lamp is ON
}

// The newest value of a topic, without a subscription.
func ExampleClient_Get() {
	ctx := context.Background()
	c, err := client.Dial(ctx, os.Getenv("GATEWAY_URL"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	m, err := c.Get(ctx, "pi/4/battery")
	switch {
	case err == nil:
		fmt.Printf("%s at %v\n", m.Payload, m.Time)
	case errors.Is(err, client.ErrNoValue):
		fmt.Println("nothing has come yet")
	default:
		log.Fatal(err)
	}
	// Output: nothing has come yet
}
