// A robot fleet in 60 lines: robots that obey, an operator who gives orders and
// hears what became of each, and a display of all reports.
//
//	go run examples/fleet.go
//
// The gateway is at http://localhost:8080, or GATEWAY_URL; GATEWAY_TOKEN is a key.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/vulturepi/gateway/client"
)

// drive obeys orders until the robot is home. Whoever comes late finds the robot's last report, retained.
func drive(ctx context.Context, c *client.Client, robot string, orders *client.Subscription) {
	x := 0
	for ev, err := range orders.Events() {
		order, ok := ev.(*client.Message)
		if err != nil || !ok {
			log.Printf("%s: %T %v", robot, ev, err) // a gap, for example: an order may be missing
			continue
		}
		if x++; string(order.Payload) == "home" {
			x = 0
		}
		if _, err := c.Publish(ctx, robot+"/report", x, client.Retain()); err != nil {
			log.Printf("%s: the report may be lost: %v", robot, err)
		}
		if x == 0 {
			return
		}
	}
}

func main() {
	ctx := context.Background()
	c, err := client.Dial(ctx, cmp.Or(os.Getenv("GATEWAY_URL"), "http://localhost:8080"), client.Options{Token: os.Getenv("GATEWAY_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	robots := []string{"fleet/robot-1", "fleet/robot-2", "fleet/robot-3"}
	var all sync.WaitGroup
	for _, r := range robots {
		orders := c.Subscribe(ctx, []string{r + "/order"}) // in force before the first order
		all.Go(func() { drive(ctx, c, r, orders) })
	}
	display := c.Subscribe(ctx, []string{"fleet/+/report"})
	all.Go(func() { // the operator
		for _, order := range []string{"forward", "forward", "home"} {
			for _, r := range robots {
				if _, err := c.Request(ctx, r+"/order", order, r+"/report"); err != nil {
					log.Printf("%s does not obey: %v", r, err)
				}
			}
		}
	})
	home := 0
	for ev, err := range display.Events() {
		if err != nil {
			log.Fatal(err)
		}
		if m, ok := ev.(*client.Message); ok && !m.Retain {
			fmt.Printf("%s: %s\n", m.Topic, m.Payload)
			if string(m.Payload) == "0" {
				home++
			}
		}
		if home == len(robots) {
			break
		}
	}
	all.Wait()
}
