package devicecom_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/vulturepi/gateway/devicecom"
)

// The whole of a program that waits for a value.
func ExampleConnectBroker() {
	vals, err := devicecom.ConnectBroker()
	if err != nil {
		log.Fatal(err)
	}
	defer vals.Close()

	v, err := vals.Next(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	if v == 0 { // put any condition you want
		fmt.Println("Value received is 0")
	} else {
		fmt.Println("Value received is not 0")
	}
}

// A program that chooses: where the settings are, what to subscribe to, and
// what is said of it: by itself when it is there, by the broker when it is lost.
func ExampleConnectBrokerContext() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	vals, err := devicecom.ConnectBrokerContext(ctx, devicecom.Options{
		SettingsFile: "settings.ini",
		Timeout:      time.Minute,
		ClientID:     "lamp-7",
		Filters:      []string{"lamp/7/#"},
		Will:         &devicecom.Will{Topic: "state/lamp/7", Value: "offline", QoS: 1, Retain: true},
		Birth:        &devicecom.Will{Topic: "state/lamp/7", Value: "online", QoS: 1, Retain: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer vals.Close()
	for m := range vals.All(ctx) {
		fmt.Println(m.Topic, m.Value)
		break
	}
}

// Messages with their topics, one by one, until ctx ends.
func ExampleValues_All() {
	vals, err := devicecom.ConnectBroker()
	if err != nil {
		log.Fatal(err)
	}
	defer vals.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for m := range vals.All(ctx) {
		if t, ok := devicecom.Float(m.Value); ok {
			fmt.Printf("%s is at %.1f\n", m.Topic, t)
		}
		if m.Value == "done" {
			break
		}
	}
}

// A function that is called for every message, and answers some.
func ExampleValues_OnMessage() {
	vals, err := devicecom.ConnectBroker()
	if err != nil {
		log.Fatal(err)
	}
	defer vals.Close()

	done := make(chan struct{})
	vals.OnMessage(func(m devicecom.Message) {
		if m.Topic != "pi/3/led" {
			return
		}
		fmt.Println("the LED is to be", m.Value)
		if err := vals.Publish(context.Background(), "pi/3/led/state", m.Value); err != nil {
			log.Print(err)
		}
		close(done)
	})
	<-done
}

// What to do about each outcome of a publish.
func ExampleValues_Publish() {
	vals, err := devicecom.ConnectBroker()
	if err != nil {
		log.Fatal(err)
	}
	defer vals.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = vals.Publish(ctx, "pi/3/temperature", 21.5, devicecom.Retain())
	switch {
	case err == nil:
		fmt.Println("the broker has it")
	case errors.Is(err, devicecom.ErrNotConnected):
		fmt.Println("it was not sent; measure again later")
	case errors.Is(err, devicecom.ErrUnknownOutcome):
		fmt.Println("it may have arrived; publish it again only if twice does no harm")
	default:
		log.Print(err) // it was not sent
	}
}

// The newest message, without waiting.
func ExampleValues_Latest() {
	vals, err := devicecom.ConnectBroker()
	if err != nil {
		log.Fatal(err)
	}
	defer vals.Close()

	if m, ok := vals.Latest(); ok {
		fmt.Println(m.Topic, "is", m.Value)
	} else {
		fmt.Println("nothing has come yet")
	}
}
