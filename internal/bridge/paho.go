package bridge

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// paho speaks MQTT 3.1.1 over one connection. It is used as little as it can be: nothing is kept, resumed or retried,
// and no filter ever becomes one of its routes, which it would scan for every message and split without looking.
// What has become of a publication is read off the wire and not off its tokens.
type paho struct {
	client mqtt.Client
	lost   chan error
}

// newPaho makes a client that connects over what open returns. No message reaches it: the reader below takes them out.
func newPaho(id identity, t timing, open func() (net.Conn, error)) *paho {
	p := &paho{lost: make(chan error, 1)}
	o := mqtt.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: "tcp", Host: "broker"}} // never dialled: open does
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return open() })
	o.SetClientID(id.clientID).SetUsername(id.username).SetPassword(id.password).SetCleanSession(!id.keep)
	o.SetProtocolVersion(4) // said aloud, or a refused CONNECT would be repeated as MQTT 3.1
	o.SetAutoReconnect(false).SetConnectRetry(false)
	o.SetKeepAlive(t.keepAlive).SetPingTimeout(t.ping).SetConnectTimeout(t.connect)
	// Our Write never blocks, so this bounds only how long a call may hang in a client that is just ending.
	o.SetWriteTimeout(2 * time.Second)
	o.SetStore(noStore{})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		if strings.Contains(err.Error(), "pingresp") {
			err = errSilent
		}
		p.lost <- err
	})
	p.client = mqtt.NewClient(o)
	return p
}

// connect returns when there is a connection or none will come; open and the wire bound the time.
func (p *paho) connect() error {
	t := p.client.Connect()
	<-t.Done()
	return t.Error()
}

// subscribe sends a SUBSCRIBE. The function it returns waits for the answer: the filters that the broker refused.
func (p *paho) subscribe(filters map[string]byte) (wait func(context.Context) (refused []string, err error)) {
	t := p.client.SubscribeMultiple(filters, nil)
	return func(ctx context.Context) (refused []string, err error) {
		select {
		case <-t.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("SUBSCRIBE: %w", ctx.Err())
		}
		if t.Error() != nil {
			return nil, t.Error()
		}
		// A refusal is no error to the library.
		for filter, code := range t.(*mqtt.SubscribeToken).Result() {
			if code > 2 {
				refused = append(refused, filter)
			}
		}
		return refused, nil
	}
}

func (p *paho) unsubscribe(ctx context.Context, filters []string) error {
	t := p.client.Unsubscribe(filters...)
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return fmt.Errorf("UNSUBSCRIBE: %w", ctx.Err())
	}
}

// disconnect says goodbye if there is anybody to say it to, and waits a while for the client's goroutines.
func (p *paho) disconnect(wait time.Duration) { p.client.Disconnect(uint(wait.Milliseconds())) }

// noStore keeps nothing: there is nothing to resume on a connection that is never resumed.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
