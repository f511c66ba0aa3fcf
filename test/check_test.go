package test

import (
	"maps"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// Check says whether the broker gives the log that tells of devices.
func TestCheckSaysWhatTellsOfDevices(t *testing.T) {
	t.Parallel()
	with, without := brokertest.Start(t, withLog()), brokertest.Start(t)
	mute := brokertest.Start(t, withLog(), brokertest.Conf("connection_messages false"))
	const missing = "the broker does not give its log"
	for _, tt := range []struct {
		broker *brokertest.Broker
		env    map[string]string
		want   string
	}{
		{with, nil, "device presence: the broker's log\n"},
		{with, map[string]string{"GATEWAY_DEVICE_TOPICS": "{id}/LWT=1|0,x/{id}/#"}, "device presence: the broker's log, and 2 of GATEWAY_DEVICE_TOPICS\n"},
		{without, nil, "device presence: nothing tells it; " + missing},
		{mute, nil, "device presence: nothing tells it; " + missing},
		{without, map[string]string{"GATEWAY_DEVICE_TOPICS": "{id}/LWT=1|0"}, "device presence: 1 of GATEWAY_DEVICE_TOPICS; " + missing},
		{without, map[string]string{"GATEWAY_DEVICE_TOPICS": "{id}/LWT=1|0", "GATEWAY_DEVICES": "will"}, "device presence: 1 of GATEWAY_DEVICE_TOPICS\n"},
		{with, map[string]string{"GATEWAY_DEVICES": ""}, ""},
	} {
		env := map[string]string{"GATEWAY_MQTT_URL": tt.broker.URL()}
		maps.Copy(env, tt.env)
		p := launch(t, env, "check")
		status, out := p.exit(), p.stdout.String()
		_, said, found := strings.Cut(out, "device presence")
		if status != 0 || found != (tt.want != "") || !strings.HasPrefix("device presence"+said, tt.want) {
			t.Errorf("%v: got %d %s%s, want %q", tt.env, status, out, p.stderr.String(), tt.want)
		}
	}
}
