package devicecom_test

import (
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// The examples run as they stand: in a directory with a settings.ini that names
// a real broker, which has retained values for them.
func TestExamplesPrintWhatTheySay(t *testing.T) {
	type message struct{ topic, payload string }
	for _, tc := range []struct {
		name     string
		run      func()
		retained []message
		want     []string // one of them is printed
		sent     message  // if any
	}{
		{"value 0", ExampleConnectBroker, []message{{"pi/3/button", "0"}}, []string{"Value received is 0\n"}, message{}},
		{"value 1", ExampleConnectBroker, []message{{"pi/3/button", "1"}}, []string{"Value received is not 0\n"}, message{}},
		{"options", ExampleConnectBrokerContext, []message{{"lamp/7/set", "on"}, {"lamp/8/set", "off"}}, []string{"lamp/7/set on\n"}, message{"state/lamp/7", "online"}},
		{"all", ExampleValues_All, []message{{"room/1/temperature", "21.5"}, {"z", "done"}}, []string{"room/1/temperature is at 21.5\n"}, message{}},
		{"on message", ExampleValues_OnMessage, []message{{"pi/3/led", "on"}}, []string{"the LED is to be on\n"}, message{"pi/3/led/state", "on"}},
		{"publish", ExampleValues_Publish, nil, []string{"the broker has it\n"}, message{"pi/3/temperature", "21.5"}},
		{"latest", ExampleValues_Latest, []message{{"pi/3/button", "0"}}, []string{"pi/3/button is 0\n", "nothing has come yet\n"}, message{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := brokertest.Start(t, brokertest.ConfFile("../mosquitto/server_settings.conf"))
			c := brokertest.Dial(t, b.Addr())
			for _, m := range tc.retained {
				if err := c.Publish(m.topic, []byte(m.payload), 1, true); err != nil {
					t.Fatal(err)
				}
			}
			if tc.sent.topic != "" {
				c.Subscribe(tc.sent.topic, 1)
			}
			host, port, _ := net.SplitHostPort(b.Addr())
			t.Chdir(t.TempDir())
			if err := os.WriteFile("settings.ini", []byte("[system]\nip_address = "+host+"\nmqtt_port = "+port+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := printed(t, tc.run); !slices.Contains(tc.want, got) {
				t.Errorf("printed: got %q, want %q", got, tc.want)
			}
			if tc.sent.topic == "" {
				return
			}
			if m := c.WaitCount(1, time.Minute)[0]; m.Topic != tc.sent.topic || string(m.Payload) != tc.sent.payload {
				t.Errorf("sent: got %s on %s, want %v", m.Payload, m.Topic, tc.sent)
			}
		})
	}
}

// printed is what run writes to standard output.
func printed(t *testing.T, run func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		all <- string(text)
	}()
	stdout := os.Stdout
	os.Stdout = w
	run()
	os.Stdout = stdout
	_ = w.Close()
	return <-all
}
