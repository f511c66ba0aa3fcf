// Package test runs the whole program: real brokers, real sockets, real
// browsers. harness_test.go starts a gateway inside the test, process_test.go
// one of its own process, played_test.go one whose broker side is played.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// binaryVariable tells a process of the test binary where the gateway is.
const binaryVariable = "TEST_GATEWAY"

// A gateway inside a test starts its built-in broker as a process of its own
// executable, which is the test binary; that becomes the gateway then.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "broker" {
		err := syscall.Exec(os.Getenv(binaryVariable), os.Args, os.Environ())
		fmt.Fprintln(os.Stderr, "the gateway's binary cannot be run:", err)
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "GATEWAY_") {
			_ = os.Unsetenv(name)
		}
	}
	dir, err := os.MkdirTemp("", "gateway-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	_ = os.Setenv(binaryVariable, filepath.Join(dir, "gateway"))
	hangups := make(chan os.Signal, 1) // os/signal has a goroutine for good from the first Notify on
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Stop(hangups)
	return m.Run()
}

var building struct {
	once   sync.Once
	output []byte
	err    error
}

// gatewayBinary is the path of the gateway's binary, which is built when a test first
// needs it, with the race detector if the tests have it.
func gatewayBinary(t testing.TB) string {
	t.Helper()
	path := os.Getenv(binaryVariable)
	building.once.Do(func() {
		args := []string{"build", "-o", path}
		if raceDetector {
			args = append(args, "-race")
		}
		building.output, building.err = exec.Command("go", append(args, "../cmd/gateway")...).CombinedOutput()
	})
	if building.err != nil {
		t.Fatalf("go build: %v\n%s", building.err, building.output)
	}
	return path
}
