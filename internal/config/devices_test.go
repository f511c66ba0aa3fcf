package config

import "testing"

func TestDevicesAreChecked(t *testing.T) {
	wantRefused(t, []refused{
		{"unknown source", env{"GATEWAY_DEVICES": "log,mdns"}, []string{"GATEWAY_DEVICES", "mdns"}},
		{"topics without their source", env{"GATEWAY_DEVICES": "log", "GATEWAY_DEVICE_TOPICS": "{id}/LWT=a|b"}, []string{"GATEWAY_DEVICE_TOPICS", "GATEWAY_DEVICES"}},
		{"no id", env{"GATEWAY_DEVICE_TOPICS": "a/b"}, []string{"GATEWAY_DEVICE_TOPICS", "{id}"}},
		{"one payload", env{"GATEWAY_DEVICE_TOPICS": "{id}/LWT=a"}, []string{"GATEWAY_DEVICE_TOPICS", "=Online|Offline"}},
		{"topics that are not watched", env{"GATEWAY_DEVICE_TOPICS": "{id}/LWT=a|b", "GATEWAY_WATCH": "fleet/#"}, []string{"GATEWAY_DEVICE_TOPICS", "+/LWT", "GATEWAY_WATCH"}},
		{"no duration", env{"GATEWAY_SILENT": "a/b"}, []string{"GATEWAY_SILENT", "duration"}},
		{"short", env{"GATEWAY_SILENT": "a/b=1ms"}, []string{"GATEWAY_SILENT", "1s"}},
		{"silence that is not watched", env{"GATEWAY_SILENT": "a/b=1s", "GATEWAY_WATCH": "fleet/#"}, []string{"GATEWAY_SILENT", "a/b", "GATEWAY_WATCH"}},
	})
	c, _ := mustLoad(t, env{"GATEWAY_DEVICES": "", "GATEWAY_WATCH": "", "GATEWAY_SILENT": "a/b=1s"})
	if c.Tells(DevicesLog) || c.Tells(DevicesWill) {
		t.Errorf("got %v, want that nothing tells", c.Devices)
	}
}
