package broker

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// logTopic is where those who ask for it read who comes and goes, in the words of mosquitto 2.1.
const logTopic = "$SYS/broker/log/N"

// saidGoodbye is what the log says of a client that has sent DISCONNECT.
const saidGoodbye = "."

// why is what the log says of the end of a connection that was not announced.
func why(err error) string {
	var bad *packet.Error
	switch {
	case errors.As(err, &bad):
		return ": protocol error"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ": exceeded timeout"
	}
	return ": connection closed by client"
}

// tellConnected publishes that a client has connected.
func (b *Broker) tellConnected(c *conn, p *packet.Connect) {
	clean := 0
	if p.Clean {
		clean = 1
	}
	b.tell(fmt.Sprintf("New client connected from %s as %s (p%d, c%d, k%d).", c.remote(), c.session.id, p.Version, clean, p.KeepAlive))
}

// tellDisconnected publishes that a client is no longer connected.
func (b *Broker) tellDisconnected(c *conn, why string) {
	if why != saidGoodbye {
		why += "."
	}
	b.tell(fmt.Sprintf("Client %s [%s] disconnected%s", c.session.id, c.remote(), why))
}

func (b *Broker) tell(line string) {
	line = fmt.Sprintf("%d: %s", time.Now().Unix(), line)
	b.route(newMessage(packet.Message{Topic: logTopic, Payload: []byte(line)}, time.Now()), nil)
}
