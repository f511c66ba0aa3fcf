// Command bench measures the gateway against its rivals on this machine, in
// one run, and prints ratios.
package main

import (
	"flag"
	"log"
	"os"
	"time"
)

func main() {
	binary := flag.String("gateway", "bin/gateway", "gateway binary")
	seconds := flag.Float64("seconds", 3, "time per measurement")
	only := flag.String("only", "", "run one of: fanout, own, paced, filters, memory")
	clients := flag.Int("clients", 10_000, "connections of the memory measurement")
	flag.Parse()
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b := bench{binary: *binary, dir: dir, time: time.Duration(*seconds * float64(time.Second))}
	for _, part := range []struct {
		name string
		run  func() error
	}{
		{"fanout", func() error { return b.fanout("200 subscribers of one topic, bursts of 64", fan{subs: 200, burst: 64}) }},
		{"own", func() error {
			return b.fanout("1000 subscribers, each its own topic", fan{subs: 1000, burst: 1000, own: true})
		}},
		{"paced", b.paced},
		{"filters", b.filters},
		{"memory", func() error { return b.memory(*clients) }},
	} {
		if *only != "" && *only != part.name {
			continue
		}
		if err := part.run(); err != nil {
			log.Fatalf("%s: %v", part.name, err)
		}
	}
}

// bench runs each measurement with processes of its own.
type bench struct {
	binary, dir string
	time        time.Duration
}

// start runs a broker and a gateway in front of it.
func (b *bench) start(env ...string) (broker *process, addr string, g *gateway, err error) {
	if broker, addr, err = startMosquitto(b.dir); err != nil {
		return nil, "", nil, err
	}
	if g, err = startGateway(b.binary, addr, env...); err != nil {
		broker.stop()
		return nil, "", nil, err
	}
	return broker, addr, g, nil
}
