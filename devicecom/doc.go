// Package devicecom connects a device to the MQTT broker of its local network,
// receives the values that others publish, and publishes its own.
//
//	vals, err := devicecom.ConnectBroker()
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer vals.Close()
//	v, err := vals.Next(ctx)
//	if v == 0 {
//		fmt.Println("Value received is 0")
//	}
//
// [ConnectBroker] takes no arguments. It reads the broker's address from
// settings.ini in the working directory:
//
//	[system]
//	ip_address = 192.168.1.10
//	mqtt_port = 1883
//
// with username, password and mqtt_tls = true where the broker wants them, and
// ip_address = auto to find the broker by mDNS. [ConnectBrokerContext] takes
// what a program may want to choose itself.
//
// # Values
//
// A payload is decoded by what it is, not by its topic:
//
//	payload                          value
//	0, -7, 21.0, 1e3                 int, when the number is whole and fits
//	21.5, 18446744073709551615       float64, the nearest one; see [Float]
//	true, false                      bool
//	null                             nil
//	"on" (JSON)                      string, without the quotes
//	[1, 2.5], {"t": 21}              []any, map[string]any, with the same numbers inside
//	on, 007, 21 C, nothing at all    string: any other UTF-8
//	FF D8 FF E0                      []byte: what is no UTF-8
//
// A number that is written with a fraction or an exponent is an int when it is
// whole and not beyond 2⁵³, up to where a float64 is exact. JSON with a number
// beyond the range of float64, such as 1e400, stays a string. The bytes as they
// came are in [Message].Payload.
//
// # Connections
//
// The client subscribes to # at QoS 0, in a clean session: it receives each
// message that is published while it is connected, its own included, and first
// the retained ones. When the connection is lost it connects again by itself,
// after a pause that is random and grows to 10 s. What others publish meanwhile
// does not reach it, except for retained messages, which come again.
//
// What it publishes itself is never repeated on its own: see [Values.Publish].
package devicecom
