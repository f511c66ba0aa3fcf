// Package lantest gives tests a local network of their own: two hosts, each a
// network namespace, joined by a cable. It needs root, or a kernel that lets
// everybody have a user namespace.
package lantest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Interface is the name of the one interface of a host beside loopback.
const Interface = "eth0"

// Host is one end of the cable.
type Host struct {
	t    testing.TB
	pid  int  // of a process inside
	user bool // it has a user namespace, too
}

// Two returns two hosts with the addresses given, such as 192.168.77.1/24. They
// end with the test.
func Two(t testing.TB, first, second string) (a, b *Host) {
	t.Helper()
	a = newHost(t)
	b = a.sibling()
	a.Run("ip", "link", "add", Interface, "type", "veth", "peer", "name", Interface, "netns", strconv.Itoa(b.pid))
	for host, addr := range map[*Host]string{a: first, b: second} {
		host.Run("ip", "link", "set", "lo", "up")
		host.Run("ip", "addr", "add", addr, "dev", Interface)
		host.Run("ip", "link", "set", Interface, "up")
	}
	return a, b
}

// newHost tries as root, then as everybody. On a machine that allows neither
// the test is skipped, but not in CI.
func newHost(t testing.TB) *Host {
	t.Helper()
	var why []string
	for _, user := range []bool{false, true} {
		args := []string{"--net", "cat"}
		if user {
			args = append([]string{"--user", "--map-root-user"}, args...)
		}
		h := &Host{t: t, user: user}
		err := h.hold(exec.Command("unshare", args...))
		if err == nil {
			return h
		}
		why = append(why, err.Error())
	}
	if os.Getenv("CI") == "" {
		t.Skipf("no network namespaces on this machine, for which the test must be root, or the kernel must have user namespaces: %s", strings.Join(why, "; "))
	}
	t.Fatalf("no network namespaces: %s", strings.Join(why, "; "))
	return nil
}

// sibling is a second network namespace in the same user namespace.
func (h *Host) sibling() *Host {
	h.t.Helper()
	s := &Host{t: h.t, user: h.user}
	if err := s.hold(h.Command("unshare", "--net", "cat")); err != nil {
		h.t.Fatalf("the second network namespace: %v", err)
	}
	return s
}

// hold starts the process that keeps the namespace: it copies its standard
// input until that ends, with the test or with the test's process.
func (h *Host) hold(cmd *exec.Cmd) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	end := func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	// The echo comes when the namespace is there.
	_, _ = io.WriteString(stdin, "x")
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		end()
		return fmt.Errorf("%s: %s", cmd, strings.TrimSpace(stderr.String()))
	}
	h.pid = cmd.Process.Pid
	h.t.Cleanup(end)
	return nil
}

// Command is a command that will run on the host, with the test's files and
// environment.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(h.pid), "--net"}
	if h.user {
		enter = append(enter, "--user", "--preserve-credentials")
	}
	return exec.Command("nsenter", append(append(enter, "--", name), args...)...)
}

// Run runs a command on the host and returns its standard output. A failure
// ends the test.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	cmd := h.Command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		h.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String()
}

// Readdress gives the host's interface another address instead of its own, as
// when it joins another network.
func (h *Host) Readdress(from, to string) {
	h.t.Helper()
	h.Run("ip", "addr", "del", from, "dev", Interface)
	h.Run("ip", "addr", "add", to, "dev", Interface)
}
