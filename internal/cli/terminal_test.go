//go:build linux

package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// terminal gives a shell on a terminal, and what is shown there.
func terminal(t *testing.T) (sh *Shell, line func() string) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	lines := bufio.NewReader(screen)
	return &Shell{Ctx: t.Context(), Stdin: tty, Stdout: tty, Stderr: tty}, func() string {
		s, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimRight(s, "\r\n")
	}
}

// JSON on a terminal has nothing that it would obey, and means the same.
func TestJSONOnATerminalIsNotObeyed(t *testing.T) {
	const evil = "\u009b2J\x7f\u202e\U000e0041ü😀"
	m := &client.Message{Topic: "a/" + evil, Payload: []byte(`{"x":"` + evil + `"}`)}
	large := &client.Gap{Type: wire.TypeGap, Topic: evil, Reason: wire.GapTooLarge}
	sh, line := terminal(t)
	p := &printer{sh: sh, form: whole}
	for name, print := range map[string]func() error{
		"a message": func() error { _, err := p.message(m); return err },
		"a gap":     func() error { return p.gap(large) },
		"a value":   func() error { return value(sh, m, true) },
	} {
		if err := print(); err != nil {
			t.Fatal(err)
		}
		got := line()
		var v struct{ Topic string }
		if err := json.Unmarshal([]byte(got), &v); err != nil || !strings.HasSuffix(v.Topic, evil) {
			t.Errorf("%s: got %s, %v, want its topic", name, got, err)
		}
		if i := strings.IndexFunc(got, hidden); i >= 0 {
			t.Errorf("%s: %q has %q", name, got, got[i:])
		}
	}
}
