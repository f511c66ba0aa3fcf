package brokertest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// settings is what the options of Start fill in.
type settings struct {
	bare       bool
	persistent bool
	confFile   string
	lines      []string
	set        [][2]string
}

// Option changes the configuration of the broker that Start runs.
type Option func(*settings)

// Bare runs the documented configuration as it stands, without the queue
// limits: such a broker drops messages in a burst.
func Bare() Option { return func(s *settings) { s.bare = true } }

// Conf adds lines at the end of the configuration.
func Conf(lines ...string) Option {
	return func(s *settings) { s.lines = append(s.lines, lines...) }
}

// ConfFile runs the given file. Its listener line is replaced by the free port
// and its persistence_location by the test's directory.
func ConfFile(path string) Option { return func(s *settings) { s.confFile = path } }

// Set replaces the value of a directive, or adds the directive.
func Set(directive, value string) Option {
	return func(s *settings) { s.set = append(s.set, [2]string{directive, value}) }
}

// Persistent makes the broker keep sessions, queues and retained messages over
// a Stop. A Kill loses what was not saved yet, as it does in production; add
// Conf("autosave_interval 1") to shorten that.
func Persistent() Option { return func(s *settings) { s.persistent = true } }

// Each line of these is one of the documented configuration.
var bareLines = []string{
	"log_dest syslog", "log_dest stdout", "log_dest topic",
	"log_type error", "log_type warning", "log_type notice", "log_type information",
	"connection_messages true", "log_timestamp true", "allow_anonymous true",
}

// The documented behaviour with limits that lose nothing in a burst.
var roomyLines = []string{
	"log_type error", "log_type warning", "log_type notice", "log_type information",
	"log_type subscribe", "log_type unsubscribe",
	"connection_messages true", "log_timestamp true", "allow_anonymous true",
	"max_queued_messages 100000", "max_queued_bytes 134217728", "max_inflight_messages 1000",
	"set_tcp_nodelay true", "sys_interval 1",
}

// confText builds the configuration for one port.
func (s *settings) confText(port int, dir string) (string, error) {
	listener := fmt.Sprintf("listener %d 127.0.0.1", port)
	var lines []string
	switch {
	case s.confFile != "":
		text, err := os.ReadFile(s.confFile)
		if err != nil {
			return "", err
		}
		lines = strings.Split(string(text), "\n")
		if n := len(positions(lines, "listener")); n != 1 {
			return "", fmt.Errorf("%s: %d listener lines, want 1", s.confFile, n)
		}
		lines = replace(lines, "listener", listener)
		if len(positions(lines, "persistence_location")) > 0 {
			lines = replace(lines, "persistence_location", "persistence_location "+dir+"/")
		}
	case s.bare:
		lines = append([]string{listener}, bareLines...)
	default:
		lines = append([]string{listener}, roomyLines...)
	}
	if s.persistent {
		lines = replace(lines, "persistence", "persistence true")
		lines = replace(lines, "persistence_location", "persistence_location "+filepath.Clean(dir)+"/")
	}
	for _, kv := range s.set {
		lines = replace(lines, kv[0], kv[0]+" "+kv[1])
	}
	// The harness reads the log from stderr: mosquitto writes stdout in blocks.
	if !slices.Contains(lines, "log_dest stderr") {
		lines = append(lines, "log_dest stderr")
	}
	if os.Geteuid() == 0 {
		// Started by root, mosquitto changes to its own user, which may not
		// read the test's directory.
		lines = replace(lines, "user", "user root")
	}
	lines = append(lines, s.lines...)
	return strings.Join(lines, "\n") + "\n", nil
}

// positions finds the lines that set a directive.
func positions(lines []string, directive string) []int {
	var at []int
	for i, line := range lines {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == directive {
			at = append(at, i)
		}
	}
	return at
}

// replace puts line where the directive stood first, and drops its repeats.
func replace(lines []string, directive, line string) []string {
	at := positions(lines, directive)
	if len(at) == 0 {
		return append(lines, line)
	}
	out := make([]string, 0, len(lines))
	for i, old := range lines {
		switch {
		case i == at[0]:
			out = append(out, line)
		case len(at) > 1 && slices.Contains(at, i):
		default:
			out = append(out, old)
		}
	}
	return out
}
