//go:build interop

package test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The examples for Node.js, which is not among what make test installs: make
// interop runs this with each Node.js that is still maintained.
func TestExampleNode(t *testing.T) {
	t.Parallel()
	options := nodeOptions(t)
	if options == nil {
		t.Fatal("make interop brings a Node.js with WebSocket, and there is none")
	}
	g := startBuiltIn(t, nil)
	client := func(addr, filter, input string) *terminal {
		cmd := exec.Command("node", "../examples/node.mjs", "ws://"+addr+"/ws", filter)
		cmd.Env, cmd.Stdin = append(os.Environ(), options...), strings.NewReader(input)
		return spawn(t, "node.mjs", nil, cmd)
	}
	p := client(g.host(), "pi/#", "pi/3/led on\npi/+/led on\n")
	p.until([]string{`message pi/3/led "on"`, "published: pi/3/led on: acknowledged", "refused: pi/+/led on: topic_wildcard"})
	p.kill()
	comesBack(t, g, func(addr string) *terminal { return client(addr, "cut/+", "") })
	p = client("127.0.0.1:1", "pi/#", "") // where nobody listens
	eventually(t, "it has tried again", func() bool { return strings.Count(p.err.String(), "again in") >= 2 })
	p.kill()
}
