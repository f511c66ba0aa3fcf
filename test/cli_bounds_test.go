package test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// What import is to publish again does not become more and more: when it is
// much, it comes before the rest of the file is read.
func TestCLIImportHoldsLittle(t *testing.T) {
	t.Parallel()
	g := startBuiltIn(t, map[string]string{"GATEWAY_RATE_PUBLISH": "1"})
	cmd := exec.Command(gatewayBinary(t), "import")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := launchCmd(t, at(g).env, &output{}, &output{}, cmd)
	go func() { // it is held up when import reads no more
		for i := range 100_000 {
			if _, err := fmt.Fprintf(in, `{"topic":"limit/%d","payload":%d,"encoding":"json"}`+"\n", i, i); err != nil {
				return
			}
		}
	}()
	eventually(t, "messages are published again", func() bool {
		return g.metric(`gateway_http_requests_total{method="POST",route="/publish",status="429"}`) > 0
	})
	_ = p.cmd.Process.Signal(os.Interrupt)
	if got := p.exit(); got != 130 {
		t.Errorf("got exit status %d, want 130", got)
	}
}
