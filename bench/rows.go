package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// measurements is what is measured, in the order of the tables.
var measurements = []measurement{
	{"fanout", "200 WebSocket subscribers of one topic, bursts of 64", false, fanout},
	{"own", "1000 subscribers, each its own topic, in turn", false, ownTopics},
	{"paced", "200 subscribers, 200 messages/s: latency", false, paced},
	{"filters", "10 000 filters held by 1000 clients, random topics", false, filters},
	{"publish", "POST /publish, 64 keep-alive connections", false, publishOne},
	{"user", "POST /publish beside what a user would write", false, userWrites},
	{"batch", "POST /publish/batch, NDJSON, 1000 lines in flight", false, publishBatch},
	{"events", "200 subscribers of GET /events, NDJSON, bursts of 64", false, events},
	{"idle", "10 000 idle WebSocket subscribers", false, idle},
	{"access", "Access control on, against none", false, accessOn},
	{"abuse", "A healthy caller's publish while others misbehave", false, abuse},
	{"profile", "Where the gateway's time goes", false, profiles},
	{"start", "Start, size, idle memory", false, start},
	{"memory", "History and newest values", false, memory},
	{"subscribers", "Growth with the subscribers of one topic", true, growSubscribers},
	{"topics", "Growth with the topics", true, growTopics},
	{"payload", "Growth with the payload", true, growPayload},
}

// measurement is one row of the table, or one table of growth.
type measurement struct {
	name, title string
	growth      bool
	run         func(*stage) (*section, error)
}

func names() []string {
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return all
}

func known(name string) bool { return slices.Contains(names(), name) }

// wanted reports whether the options ask for the measurement.
func (o options) wanted(m measurement) bool {
	if len(o.only) > 0 {
		return slices.Contains(o.only, m.name)
	}
	return o.growth || !m.growth
}

// run measures what the options ask for, prints each table when it is there,
// and writes the files.
func run(o options, w io.Writer) error {
	if err := raiseLimits(); err != nil {
		return err
	}
	if _, err := os.Stat(o.gateway); err != nil {
		return fmt.Errorf("there is no gateway to measure (make build): %w", err)
	}
	m := describeMachine(o)
	fmt.Fprintln(w, m)
	r := &report{machine: m, quick: o.quick}
	for _, m := range measurements {
		if !o.wanted(m) {
			continue
		}
		s, err := measure(o, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.sections = append(r.sections, s)
		fmt.Fprint(w, "\n", s.text())
	}
	fmt.Fprint(w, "\n", r.summary())
	return r.write(o)
}

// measure runs one measurement with processes of its own.
func measure(o options, m measurement) (*section, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	st := &stage{options: o, dir: dir}
	defer st.close()
	s, err := m.run(st)
	if err != nil {
		return nil, errors.Join(err, st.crashed())
	}
	s.name, s.title = m.name, m.title
	for i := range s.verdicts {
		s.verdicts[i].smoke = o.quick
	}
	return s, st.crashed()
}
