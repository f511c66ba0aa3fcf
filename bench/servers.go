package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// stage is where one measurement takes place: the servers that it started end
// with it.
type stage struct {
	options
	dir   string
	procs []*process
	rest  []func()
}

func (st *stage) close() {
	for i := len(st.rest) - 1; i >= 0; i-- {
		st.rest[i]()
	}
	for i := len(st.procs) - 1; i >= 0; i-- {
		st.procs[i].stop()
	}
}

// atEnd closes what is not a process.
func (st *stage) atEnd(f func()) { st.rest = append(st.rest, f) }

// crashed is an error if a server has ended by itself.
func (st *stage) crashed() error {
	for _, p := range st.procs {
		if p.ended() {
			return fmt.Errorf("%s ended during the measurement; the end of its log: %s", p.name, p.lastWords())
		}
	}
	return nil
}

// forget stops a process before the measurement ends.
func (st *stage) forget(p *process) {
	p.stop()
	for i, q := range st.procs {
		if q == p {
			st.procs = append(st.procs[:i], st.procs[i+1:]...)
			return
		}
	}
}

func (st *stage) launch(name string, env []string, path string, args ...string) (*process, error) {
	p, err := startProcess(name, env, path, args...)
	if err == nil {
		st.procs = append(st.procs, p)
	}
	return p, err
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// waitFor polls until f is true or the process has ended.
func waitFor(p *process, f func() bool) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if f() {
			return nil
		}
		if p.ended() {
			return fmt.Errorf("%s has ended: %s", p.name, p.lastWords())
		}
	}
	return fmt.Errorf("%s does not answer: %s", p.name, p.lastWords())
}

func answers(addr string) func() bool {
	return func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
}

// mosquittoConf has the limits of mosquitto/server_settings.conf, and no log
// and no disk.
const mosquittoConf = `listener %s 127.0.0.1
allow_anonymous true
max_queued_messages 100000
max_queued_bytes 134217728
max_inflight_messages 1000
max_packet_size 1048576
set_tcp_nodelay true
log_dest none
`

// mosquitto starts a broker.
func (st *stage) mosquitto() (*process, string, error) {
	addr := freeAddr()
	file := filepath.Join(st.dir, "mosquitto-"+port(addr)+".conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, mosquittoConf, port(addr)), 0o600); err != nil {
		return nil, "", err
	}
	p, err := st.launch("mosquitto", nil, mosquittoPath(), "-c", file)
	if err != nil {
		return nil, "", fmt.Errorf("%w (run scripts/test-deps.sh)", err)
	}
	return p, addr, waitFor(p, answers(addr))
}

// mosquittoPath looks where Debian keeps servers, too.
func mosquittoPath() string {
	if _, err := os.Stat("/usr/sbin/mosquitto"); err == nil {
		return "/usr/sbin/mosquitto"
	}
	return "mosquitto"
}

// gateway is a gateway with a mosquitto of its own.
type gateway struct {
	*process
	http, admin, broker string
	mosquitto           *process
	ready               time.Duration // from the start of the process until it was ready
}

// startGateway starts a broker and a gateway in front of it, and waits until
// it is ready.
func (st *stage) startGateway(env ...string) (*gateway, error) {
	g := &gateway{http: freeAddr(), admin: freeAddr()}
	var err error
	if g.mosquitto, g.broker, err = st.mosquitto(); err != nil {
		return nil, err
	}
	return g, st.startAgain(g, env...)
}

// startAgain starts the gateway's process with the broker that it has.
func (st *stage) startAgain(g *gateway, env ...string) error {
	env = append([]string{
		"GATEWAY_HTTP_ADDR=" + g.http, "GATEWAY_ADMIN_ADDR=" + g.admin,
		"GATEWAY_MQTT_URL=mqtt://" + g.broker, "GATEWAY_MAX_CONNECTIONS=100000",
	}, env...)
	began := time.Now()
	var err error
	if g.process, err = st.launch("gateway", env, st.options.gateway); err != nil {
		return err
	}
	err = waitFor(g.process, func() bool {
		res, err := http.Get("http://" + g.admin + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	g.ready = time.Since(began)
	return err
}

// errNoNATS says that there is no nats-server to compare with.
var errNoNATS = errors.New("no nats-server")

// nats starts a nats-server. It gives the addresses of its MQTT and of its
// WebSocket listener.
func (st *stage) nats() (p *process, mqtt, ws string, err error) {
	if _, err := os.Stat(st.options.nats); err != nil {
		return nil, "", "", errNoNATS
	}
	addr, mqtt, ws := freeAddr(), freeAddr(), freeAddr()
	file := filepath.Join(st.dir, "nats-"+port(addr)+".conf")
	conf := fmt.Sprintf("server_name: bench\nlisten: %q\njetstream { store_dir: %q }\nmqtt { listen: %q }\nwebsocket { listen: %q, no_tls: true }\n",
		addr, filepath.Join(st.dir, "nats-"+port(addr)), mqtt, ws)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, "", "", err
	}
	if p, err = st.launch("nats-server", nil, st.options.nats, "-c", file); err != nil {
		return nil, "", "", err
	}
	err = waitFor(p, func() bool { return answers(mqtt)() && answers(ws)() })
	return p, mqtt, ws, err
}

// metric reads one sample of the gateway's metrics.
func (g *gateway) metric(name string) (float64, error) {
	res, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := readAll(res.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			_, err := fmt.Sscan(value, &v)
			return v, err
		}
	}
	return 0, fmt.Errorf("the gateway has no metric %s", name)
}
