package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/go-chi/chi/v5"
)

// serveUserArg makes the load tool what a user would write, as a process of its
// own: its arguments are an address, a broker, and a filter to subscribe to, or
// bareReader.
const serveUserArg = "serve-user"

// bareReader stands for a connection that gets everything at QoS 0 and drops it
// unread. No program that sees what is published can have less work than that,
// nor can its broker.
const bareReader = "bare"

func readBare(broker string) error {
	c, err := net.Dial("tcp", broker)
	if err != nil {
		return err
	}
	connect := []byte{0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 4, 'b', 'a', 'r', 'e'}
	subscribe := []byte{0x82, 6, 0, 1, 0, 1, '#', 0}
	if _, err := c.Write(append(connect, subscribe...)); err != nil {
		return err
	}
	go io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 64<<10))
	return nil
}

// serveUser is a chi handler over a pool of four paho clients.
func serveUser(addr, broker, watch string) error {
	var pool [4]mqtt.Client
	for i := range pool {
		opts := mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID(fmt.Sprint("user", i))
		pool[i] = mqtt.NewClient(opts)
		if t := pool[i].Connect(); t.Wait() && t.Error() != nil {
			return t.Error()
		}
	}
	switch watch {
	case "":
	case bareReader:
		if err := readBare(broker); err != nil {
			return err
		}
	default:
		opts := mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("user-watch")
		c := mqtt.NewClient(opts)
		if t := c.Connect(); t.Wait() && t.Error() != nil {
			return t.Error()
		}
		var seen atomic.Uint64
		if t := c.Subscribe(watch, 1, func(mqtt.Client, mqtt.Message) { seen.Add(1) }); t.Wait() && t.Error() != nil {
			return t.Error()
		}
	}
	var next atomic.Uint64
	r := chi.NewRouter()
	r.Post("/publish", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Topic   string `json:"topic"`
			Payload string `json:"payload"`
			QoS     byte   `json:"qos"`
			Retain  bool   `json:"retain"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Topic == "" {
			http.Error(w, "bad JSON", http.StatusBadRequest)
			return
		}
		began := time.Now()
		t := pool[next.Add(1)%uint64(len(pool))].Publish(in.Topic, in.QoS, in.Retain, in.Payload)
		if !t.WaitTimeout(5*time.Second) || t.Error() != nil {
			http.Error(w, "not published", http.StatusBadGateway)
			return
		}
		out := map[string]any{"topic": in.Topic, "qos": in.QoS, "took_ms": time.Since(began).Seconds() * 1000}
		w.Header().Set("Content-Type", "application/json")
		if in.QoS == 0 {
			w.WriteHeader(http.StatusAccepted)
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	return http.ListenAndServe(addr, r)
}

// published is a server that answers POST /publish, with a mosquitto of its own.
type published struct {
	name, addr   string
	proc, broker *process
}

func (st *stage) userSide(name, watch string) (*published, error) {
	broker, mqttAddr, err := st.mosquitto()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr := freeAddr()
	p, err := st.launch("chi and paho", nil, self, serveUserArg, addr, mqttAddr, watch)
	if err != nil {
		return nil, err
	}
	return &published{name, addr, p, broker}, waitFor(p, answers(addr))
}

// errNoNode says that there is no Node.js, or not what npm installs for it.
var errNoNode = errors.New("no Node.js with fastify and MQTT.js")

func (st *stage) nodeSide() (*published, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, errNoNode
	}
	if _, err := os.Stat(filepath.Join("fastify", "node_modules", "fastify")); err != nil {
		return nil, errNoNode
	}
	broker, mqttAddr, err := st.mosquitto()
	if err != nil {
		return nil, err
	}
	addr := freeAddr()
	p, err := st.launch("fastify and MQTT.js", nil, node, filepath.Join("fastify", "server.js"), port(addr), "mqtt://"+mqttAddr)
	if err != nil {
		return nil, err
	}
	return &published{"fastify + MQTT.js", addr, p, broker}, waitFor(p, answers(addr))
}

// userWrites is POST /publish beside what a user would write in an hour: the
// same work, without the gateway's promises.
func userWrites(st *stage) (*section, error) {
	if !st.quick {
		// Many short rounds: the machine's speed moves from second to second.
		st.rounds, st.time = 5*max(st.rounds, 5), st.time/4
	}
	nothing, err := st.userSide("chi + paho, watches nothing", "")
	if err != nil {
		return nil, err
	}
	all, err := st.userSide("chi + paho, watches # at QoS 1", "#")
	if err != nil {
		return nil, err
	}
	bare, err := st.userSide("chi + paho, beside a bare reader of #", bareReader)
	if err != nil {
		return nil, err
	}
	g, err := st.startGateway()
	if err != nil {
		return nil, err
	}
	own := &published{"gateway", g.http, g.process, g.mosquitto}
	unwatched, err := st.startGateway("GATEWAY_WATCH=")
	if err != nil {
		return nil, err
	}
	quiet := &published{"gateway, watches nothing", unwatched.http, unwatched.process, unwatched.mosquitto}
	node, err := st.nodeSide()
	if err != nil && !errors.Is(err, errNoNode) {
		return nil, err
	}
	const nothing0, nothing1, all1, bare0, bare1, own0, own1, node1 = 0, 1, 2, 3, 4, 5, 6, 9
	work := []struct {
		*published
		qos, status int
	}{
		{nothing, 0, http.StatusAccepted}, {nothing, 1, http.StatusOK}, {all, 1, http.StatusOK},
		{bare, 0, http.StatusAccepted}, {bare, 1, http.StatusOK},
		{own, 0, http.StatusAccepted}, {own, 1, http.StatusOK}, {quiet, 0, http.StatusAccepted}, {quiet, 1, http.StatusOK},
	}
	if node != nil {
		work = append(work, struct {
			*published
			qos, status int
		}{node, 1, http.StatusOK})
	}
	var cs []*contestant
	for _, w := range work {
		p, err := newPosts(w.addr, 64, w.qos, w.status)
		if err != nil {
			return nil, err
		}
		st.atEnd(p.close)
		cs = append(cs, &contestant{
			name: fmt.Sprintf("%s, QoS %d", w.name, w.qos), proc: w.proc, broker: w.broker,
			round: func(d time.Duration) (sample, error) { return p.run(d, -1) },
		})
	}
	if err := st.alternate(cs...); err != nil {
		return nil, err
	}
	single, err := st.singles(nothing, own, quiet, bare)
	if err != nil {
		return nil, err
	}
	s := publishes(cs)
	s.head = append(s.head, "The broker's, us", "Of the rate of chi + paho that watches nothing")
	for i, c := range cs {
		by := cs[nothing1]
		if work[i].qos == 0 {
			by = cs[nothing0]
		}
		s.rows[i] = append(s.rows[i], number(c.own.median()), number(ratios(c.rate, by.rate).median()))
	}
	s.verdicts = []verdict{
		atLeast(1.0, "x", "QoS 1: of chi + paho that watches nothing", ratios(cs[own1].rate, cs[nothing1].rate)),
		atLeast(1.0, "x", "QoS 1: of chi + paho beside a bare reader of #", ratios(cs[own1].rate, cs[bare1].rate)),
		atLeast(1.3, "x", "QoS 1: of chi + paho that watches #", ratios(cs[own1].rate, cs[all1].rate)),
		atLeast(1.15, "x", "QoS 0: of chi + paho that watches nothing", ratios(cs[own0].rate, cs[nothing0].rate)),
		atLeast(1.15, "x", "QoS 0: of chi + paho beside a bare reader of #", ratios(cs[own0].rate, cs[bare0].rate)),
		atMost(1.05, "x", "one connection, QoS 1: p50, of chi + paho that watches nothing", ratios(single[1], single[0])),
		atMost(1.05, "x", "the same, of a gateway that watches nothing, too", ratios(single[2], single[0])),
		atMost(1.05, "x", "the same, of chi + paho beside a bare reader of #", ratios(single[1], single[3])),
		atMost(0.8, "x", "QoS 1: CPU a publish, of chi + paho that watches nothing", ratios(cs[own1].cpu, cs[nothing1].cpu)),
		atMost(0.8, "x", "QoS 1: CPU a publish, of chi + paho beside a bare reader of #", ratios(cs[own1].cpu, cs[bare1].cpu)),
	}
	of := verdict{what: "QoS 1: of fastify + MQTT.js", op: "≥", limit: 1.15, unit: "x", why: errNoNode.Error()}
	if node != nil {
		of.value = ratios(cs[own1].rate, cs[node1].rate)
	}
	s.verdicts = append(s.verdicts, of)
	return s, nil
}

// singles gives the median time of one publish at QoS 1 over one connection,
// round by round, in microseconds.
func (st *stage) singles(sides ...*published) ([]series, error) {
	out := make([]series, len(sides))
	for range st.rounds {
		for i, side := range sides {
			p50, err := side.single(st.time)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", side.name, err)
			}
			out[i] = append(out[i], p50)
		}
	}
	return out, nil
}

func (p *published) single(d time.Duration) (p50 float64, err error) {
	one, err := publishAlone(p.addr, "bench/single")
	if err != nil {
		return 0, err
	}
	defer one.Close()
	var took series
	for began := time.Now(); len(took) < 10 || time.Since(began) < d; {
		start := time.Now()
		if err := one.publish(); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(start).Nanoseconds())/1000)
	}
	return took.median(), nil
}

// alone is one connection that publishes at QoS 1, one message after the other.
// One goroutine does it all: a client that has more would wait for those, too.
type alone struct {
	net.Conn
	r       *bufio.Reader
	request []byte
}

// publishAlone connects; headers are whole lines.
func publishAlone(addr, topic string, headers ...string) (*alone, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	body, _ := publishObject(topic, 1)
	head := fmt.Sprintf("POST /publish HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", addr, len(body))
	for _, h := range headers {
		head += h + "\r\n"
	}
	return &alone{c, bufio.NewReader(c), append([]byte(head+"\r\n"), body...)}, nil
}

func (a *alone) publish() error {
	if err := a.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := a.Write(a.request); err != nil {
		return err
	}
	res, err := http.ReadResponse(a.r, nil)
	if err != nil {
		return err
	}
	text, err := readAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d %v: %s", res.StatusCode, err, text)
	}
	return nil
}
