package test

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/brokertest"
)

// A gateway that restarts in the middle of a sub leaves no hole that is not told
// of; what came over a cut is resumed by the cursor, without one.
func TestCLISubSurvivesCutsAndRestarts(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.URL())
	publish := func(payload string) {
		t.Helper()
		if err := raw.Publish("life/a", []byte(payload), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"GATEWAY_MQTT_URL": broker.URL()}
	first, g := launchReady(t, env)
	network := brokertest.StartProxy(t, g.host())
	p := (&shell{t, map[string]string{"GATEWAY_URL": "http://" + network.Addr()}}).begin("sub", "life/#")
	printed := func(words string) {
		t.Helper()
		if !p.stdout.until(p.exited, func(text string) bool { return strings.Contains(text, words+"\n") }) {
			t.Fatalf("got %q, want %s\n%s", p.stdout, words, p.stderr)
		}
	}
	said := func(words string) {
		t.Helper()
		if !p.stderr.until(p.exited, func(text string) bool { return strings.Contains(text, words) }) {
			t.Fatalf("standard error: got %q, want %q", p.stderr, words)
		}
	}
	subscribed := func() bool { return g.metric("gateway_subscriptions") == 1 }
	eventually(t, "it has subscribed", subscribed)
	publish("1")
	printed("1")
	network.Refuse(true)
	network.Cut()
	said("trying again")
	publish("2") // while nobody listens
	network.Heal()
	printed("2")
	said("connected again")
	if got := p.stderr.String(); strings.Contains(got, "gap") {
		t.Errorf("a cut: got %q, want no gap", got)
	}

	_ = first.cmd.Process.Signal(syscall.SIGTERM)
	if got := first.exit(); got != 0 {
		t.Fatalf("the gateway ended with %d", got)
	}
	env["GATEWAY_HTTP_ADDR"] = g.host()
	_, g = launchReady(t, env)
	said("a gap: messages may be missing here (gateway_restarted)")
	if got := p.stderr.String(); strings.Contains(got, ".;") {
		t.Errorf("standard error: got %q, want a sentence without a full stop in it", got)
	}
	eventually(t, "it has subscribed again", subscribed)
	publish("3")
	printed("3")
	if got := p.stdout.String(); got != "1\n2\n3\n" {
		t.Errorf("got %q, want each message once and in order", got)
	}
	_ = p.cmd.Process.Signal(os.Interrupt)
	if got := p.exit(); got != 130 {
		t.Errorf("Ctrl-C: got exit status %d, want 130", got)
	}
}

// Whoever reads the output goes, or stops reading.
func TestCLIEndsWithItsPipe(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	s := at(g)
	for _, format := range []string{"--value", "--json"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := launchTo(t, w, &output{}, s.env, "sub", format, "quiet/#")
		_ = w.Close()
		eventually(t, "it has subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
		_ = r.Close()
		p.exit()
		if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGPIPE {
			t.Errorf("nobody reads: got %v, want SIGPIPE", p.cmd.ProcessState)
		}
		eventually(t, "it has gone", func() bool { return g.metric("gateway_subscriptions") == 0 })
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := launchTo(t, w, &output{}, s.env, "sub", "full/#")
	_ = w.Close()
	eventually(t, "it has subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
	large := strings.Repeat("x", 200_000) // more than a pipe holds
	s.run(large, 0, "pub", "full/a", "-")
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Signal(os.Interrupt) // while it writes
	if got := p.exit(); got != 130 {
		t.Errorf("Ctrl-C before a full pipe: got exit status %d, want 130", got)
	}
}

func TestCLIInterruptedWhileItReplays(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	line := func(second int) string {
		return fmt.Sprintf(`{"type":"message","topic":"slow/a","payload":%d,"encoding":"json","qos":0,"retain":false,"time":"2026-01-01T00:00:%02d.000000Z"}`+"\n", second, second)
	}
	file := filepath.Join(t.TempDir(), "x.ndjson")
	if err := os.WriteFile(file, []byte(line(0)+line(59)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := at(g).begin("replay", file)
	eventually(t, "the first message came", func() bool {
		return g.do(request{method: "GET", path: "/topics/slow/a"}).body == "0"
	})
	_ = p.cmd.Process.Signal(os.Interrupt)
	if got := p.exit(); got != 130 {
		t.Errorf("got exit status %d, want 130", got)
	}
}

// A key comes from the environment or a file, and is said nowhere.
func TestCLIShowsItsKey(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	s := at(g)
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, open := file("good", operatorKey+"\n", 0o600), file("open", operatorKey, 0o644)
	wrong := access.NewKey()
	for _, tt := range []struct {
		name   string
		env    map[string]string
		args   []string
		status int
		stderr string
	}{
		{"none", nil, nil, 1, "GATEWAY_TOKEN"},
		{"variable", map[string]string{"GATEWAY_TOKEN": operatorKey}, nil, 0, ""},
		{"file of a variable", map[string]string{"GATEWAY_TOKEN_FILE": good}, nil, 0, ""},
		{"file", map[string]string{"GATEWAY_TOKEN": wrong}, []string{"--token-file", good}, 0, ""},
		{"file that others can read", nil, []string{"--token-file", open}, 0, "others can read the file"},
		{"wrong", map[string]string{"GATEWAY_TOKEN": wrong}, nil, 1, "unauthenticated"},
		{"empty", map[string]string{"GATEWAY_TOKEN": ""}, nil, 2, "GATEWAY_TOKEN is set but empty"},
		{"both", map[string]string{"GATEWAY_TOKEN": wrong, "GATEWAY_TOKEN_FILE": good}, nil, 2, "both set"},
		{"two lines", nil, []string{"--token-file", file("two", operatorKey+"\nprincipals:\n", 0o600)}, 2, "one line"},
		{"no file", nil, []string{"--token-file", "/nonexistent"}, 2, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here := &shell{t, s.with(tt.env).env}
			out, errs := here.run("", tt.status, append([]string{"pub", "pi/1", "x", "--json"}, tt.args...)...)
			if strings.Contains(out+errs, wrong) || strings.Contains(out+errs, operatorKey) {
				t.Errorf("the key is shown: %q %q", out, errs)
			}
			if tt.stderr == "" && errs != "" || !strings.Contains(errs, tt.stderr) {
				t.Errorf("standard error: got %q, want %q", errs, tt.stderr)
			}
		})
	}
	// A shell that has these for its commands may start a gateway, too.
	here := s.with(map[string]string{"GATEWAY_TOKEN": operatorKey, "GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0"})
	here.run("", 0, "check")
}

// onTerminal runs a command with a terminal, types keys once it has printed all
// of words, and gives what the terminal got.
func onTerminal(t *testing.T, s *shell, words []string, keys string, args ...string) (screen string, status int) {
	t.Helper()
	line := "stty cols 100; exec"
	for _, a := range append([]string{gatewayBinary(t)}, args...) {
		line += " '" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	cmd := exec.Command("script", "-qec", line, "/dev/null")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &output{}
	env := map[string]string{"TERM": "xterm", "SHELL": "/bin/sh"}
	for k, v := range s.env {
		env[k] = v
	}
	p := launchCmd(t, env, out, &output{}, cmd)
	b := block{prints: words}
	if !out.until(p.exited, func(text string) bool { return b.missing(text) == "" }) {
		t.Fatalf("the terminal shows %q, want %q", out, words)
	}
	if _, err := io.WriteString(in, keys); err != nil {
		t.Fatal(err)
	}
	status = p.exit()
	return out.String(), status
}

// On a terminal it is aligned and coloured, and a device cannot steer it.
func TestCLIOnATerminal(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	s := at(g)
	s.run("", 0, "pub", "-r", "term/a", "--", "\x1b[2Jevil\nline")
	s.run("", 0, "pub", "-r", "term/long/topic", "--", strings.Repeat("long ", 100))
	s.run("\xff\xfe", 0, "pub", "-r", "term/raw", "-")
	all := []string{"2 bytes", "evil", "long long"}
	screen, status := onTerminal(t, s, all, "\x03", "sub", "term/#")
	if status != 130 {
		t.Errorf("Ctrl-C: got exit status %d, want 130", status)
	}
	wants(t, "sub", screen, "\x1b[36mterm/a\x1b[0m", `\x1b[2Jevil\nline`, "…\x1b[33m  retained\x1b[0m", "2 bytes")
	if strings.Contains(screen, "\x1b[2J") {
		t.Errorf("the terminal got %q, want no command of a device's in it", screen)
	}
	screen, status = onTerminal(t, s.with(map[string]string{"NO_COLOR": "1"}), all, "\x03", "sub", "term/#")
	if strings.Contains(screen, "\x1b") || status != 130 {
		t.Errorf("NO_COLOR: got %q and %d, want no colours", screen, status)
	}
	screen, status = onTerminal(t, s, nil, "", "get", "term/a")
	wants(t, "get", screen, `\x1b[2Jevil\nline`+"\r\n")
	if status != 0 {
		t.Errorf("get: got exit status %d", status)
	}
	screen, _ = onTerminal(t, s, nil, "", "pub", "term/b", "x")
	wants(t, "pub", screen, "acknowledged", "at QoS 1")

	screen, status = onTerminal(t, s, nil, "", "pub", "term/b")
	wants(t, "pub without a payload", screen, "there is no payload")
	if status != 2 {
		t.Errorf("pub without a payload: got exit status %d, want 2", status)
	}

	screen, status = onTerminal(t, s, []string{"[y/N]"}, "n\n", "clear", "term/#")
	wants(t, "clear", screen, "term/long/topic", "Clear 3 retained messages?", "nothing was cleared")
	if kept, _ := s.run("", 0, "export", "--retained", "term/#"); strings.Count(kept, "\n") != 3 || status != 1 {
		t.Errorf("clear, and no: got exit status %d and %q left, want 1 and all", status, kept)
	}
	screen, status = onTerminal(t, s, []string{"[y/N]"}, "y\n", "clear", "term/#")
	wants(t, "clear", screen, "3 messages cleared")
	if kept, _ := s.run("", 0, "export", "--retained", "term/#"); kept != "" || status != 0 {
		t.Errorf("clear, and yes: got exit status %d and %q left, want 0 and nothing", status, kept)
	}
	screen, status = onTerminal(t, s, nil, "", "record", "term/#")
	wants(t, "record", screen, "goes into a file")
	if status != 2 {
		t.Errorf("record: got exit status %d, want 2", status)
	}
}

func TestCLICompletesWords(t *testing.T) {
	t.Parallel()
	s := &shell{t, nil}
	for _, tt := range []struct{ words, want string }{
		{"re", "request\nrecord\nreplay\n"},
		{"cl", "clear\n"},
		{"sub --s", "--since\n--snapshot\n"},
		{"sub pi/# --va", "--value\n"},
		{"pub --qos ", "0\n1\n2\n"},
		{"completion ", "bash\nzsh\nfish\n"},
		{"key ", "new\n"},
		{"key new --op", "--operator\n"},
		{"sub pi", ""},
		{"nothing x", ""},
	} {
		out, _ := s.run("", 0, append([]string{"complete", "--"}, strings.Split(tt.words, " ")...)...)
		got := ""
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got += word + "\n"
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.words, got, tt.want)
		}
	}
	// In bash itself.
	script, _ := s.run("", 0, "completion", "bash")
	cmd := exec.Command("bash", "-c", script+`
COMP_WORDS=("$GATEWAY" sub --s) COMP_CWORD=2
_gateway
printf '%s\n' "${COMPREPLY[@]}"`)
	cmd.Env = append(os.Environ(), "GATEWAY="+gatewayBinary(t))
	out, err := cmd.CombinedOutput()
	if got := string(out); err != nil || got != "--since\n--snapshot\n" {
		t.Errorf("bash: got %q, %v", got, err)
	}
	for _, name := range []string{"zsh", "fish"} {
		script, _ := s.run("", 0, "completion", name)
		wants(t, name, script, "complete --")
	}
}

// What is over a limit is imported all the same.
func TestCLIImportComesThrough(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, map[string]string{"GATEWAY_RATE_PUBLISH": "100"})
	var tree strings.Builder
	const n = 260 // more than the 200 that may come at once
	for i := range n {
		fmt.Fprintf(&tree, `{"topic":"limit/%d","payload":%d,"encoding":"json","retain":true}`+"\n", i, i)
	}
	s := at(g)
	_, errs := s.run(tree.String(), 0, "import")
	if out, _ := s.run("", 0, "export", "--retained", "limit/#"); strings.Count(out, "\n") != n {
		t.Errorf("got %d messages, want %d\n%s", strings.Count(out, "\n"), n, errs)
	}
}

// Who has set GATEWAY_URL has not written --url.
func TestCLINamesWhatHoldsAWrongAddress(t *testing.T) {
	t.Parallel()
	s := &shell{t, map[string]string{"GATEWAY_URL": "nope"}}
	for _, args := range [][]string{{"get", "a"}, {"get", "a", "--url", "nope"}} {
		if _, errs := s.run("", 2, args...); errs != "gateway: --url or GATEWAY_URL: The gateway's address must be like http://localhost:8080\n" {
			t.Errorf("%q: got %q", args, errs)
		}
	}
}

// A filter that is refused leaves the others alone, and is in the exit status.
func TestCLISubSaysWhichFilterWasRefused(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, nil)
	s := at(g)
	s.run("", 0, "pub", "-r", "some/a", "x")
	out, errs := s.run("", 1, "sub", "some/#", "#/none", "-C", "1")
	wants(t, "sub", errs, "#/none: ", "filter_syntax")
	if out != "x\n" {
		t.Errorf("got %q, want the message of the other filter", out)
	}
	_, errs = s.run("", 1, "sub", "#/none", "+a")
	if strings.Count(errs, "filter_syntax") != 2 {
		t.Errorf("got %q, want both filters, each once", errs)
	}
}

// A private CA is trusted when it is named, and a certificate says who we are.
func TestCLISpeaksTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	env, _ := withAccess(t, accessRules(""))
	maps.Copy(env, a.env())
	env["GATEWAY_AUTH"], env["GATEWAY_TLS_CLIENT_CA_FILE"] = "keys,mtls", a.CA
	g := start(t, env)
	g.waitReady(200)
	_, cert, key := a.client(t, "pi-3")
	g.secure(a, true)
	s := at(g)
	shown := []string{"--ca-file", a.CA, "--cert-file", cert, "--key-file", key}
	s.run("", 0, append([]string{"pub", "fleet/pi-3/x", "1", "--retain=false"}, shown...)...)
	_, errs := s.run("", 1, append([]string{"pub", "fleet/pi-4/x", "1"}, shown...)...)
	wants(t, "another one's topic", errs, "topic_forbidden")
	_, errs = s.run("", 4, "pub", "fleet/pi-3/x", "1")
	wants(t, "an unknown CA", errs, "certificate signed by unknown authority")
	_, errs = s.run("", 2, "pub", "a", "b", "--ca-file", key)
	wants(t, "no CA", errs, "holds no certificate")
	operator := s.with(map[string]string{"GATEWAY_TOKEN": operatorKey})
	p := operator.begin("sub", "fleet/#", "-C", "1", "--ca-file", a.CA)
	eventually(t, "it has subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
	operator.run("", 0, "pub", "fleet/pi-3/y", "2", "--ca-file", a.CA)
	if got := p.exit(); got != 0 || p.stdout.String() != "2\n" {
		t.Errorf("sub: got exit status %d and %q, want the message", got, p.stdout)
	}
}
