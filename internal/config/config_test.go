package config

import (
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	got, notices := mustLoad(t, nil)
	want := &Config{
		HTTPAddr:          "127.0.0.1:8080",
		AdminAddr:         "127.0.0.1:8081",
		EmbeddedAddr:      "127.0.0.1:1883",
		MQTTPool:          4,
		MQTTKeepAlive:     10 * time.Second,
		MQTTVersion:       "auto",
		MQTTSubscribeQoS:  "auto",
		RefusedFor:        time.Minute,
		Watch:             []string{"#"},
		Devices:           []string{"log", "will"},
		MaxPayloadBytes:   256 << 10,
		PublishTimeout:    5 * time.Second,
		BodyTimeout:       5 * time.Minute,
		ShutdownTimeout:   15 * time.Second,
		ClientQueueBytes:  1 << 20,
		ClientsQueueBytes: 256 << 20,
		BodiesBytes:       64 << 20,
		AnswersBytes:      64 << 20,
		HistoryBytes:      64 << 20,
		HistoryAge:        10 * time.Minute,
		ValuesBytes:       64 << 20,
		IndexBytes:        64 << 20,
		MaxConnections:    10000,
		Auth:              []string{"none"},
		JWTClaim:          "gateway",
		AuthHeader:        "Remote-User",
		AuthRolesHeader:   "Remote-Groups",
		Console:           true,
		LogFormat:         "text",
		LogLevel:          "info",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("defaults:\n got %+v\nwant %+v", got, want)
	}
	if len(notices) != 0 {
		t.Errorf("notices: got %q, want none", notices)
	}
}

func TestEveryVariableReachesItsField(t *testing.T) {
	ca := writeFile(t, "ca.pem", testCA, 0o644)
	cert, key := writePair(t)
	decoders := writeFile(t, "decoders.yaml", "decoders:\n", 0o644)
	got, _ := mustLoad(t, env{
		"GATEWAY_HTTP_ADDR":              "0.0.0.0:80",
		"GATEWAY_ADMIN_ADDR":             "[::1]:0",
		"GATEWAY_EMBEDDED_ADDR":          "localhost:0",
		"GATEWAY_EMBEDDED_DIR":           "/var/lib/none",
		"GATEWAY_MQTT_URL":               "mqtts://broker.lan",
		"GATEWAY_MQTT_USERNAME":          "gateway",
		"GATEWAY_MQTT_PASSWORD":          "hunter2",
		"GATEWAY_MQTT_CLIENT_ID":         "gw-1",
		"GATEWAY_MQTT_POOL":              "64",
		"GATEWAY_MQTT_CA_FILE":           ca,
		"GATEWAY_MQTT_KEEPALIVE":         "2m",
		"GATEWAY_MQTT_VERSION":           "4",
		"GATEWAY_MQTT_SUBSCRIBE_QOS":     "1",
		"GATEWAY_REFUSED_FOR":            "1s",
		"GATEWAY_WATCH":                  "sensors/#, actors/+/state",
		"GATEWAY_DEVICES":                "will",
		"GATEWAY_DEVICE_TOPICS":          "sensors/{id}/LWT=up|down",
		"GATEWAY_SILENT":                 "sensors/+/heartbeat=30s",
		"GATEWAY_MAX_PAYLOAD_BYTES":      "8388608",
		"GATEWAY_PUBLISH_TIMEOUT":        "1m30s",
		"GATEWAY_BODY_TIMEOUT":           "7m",
		"GATEWAY_SHUTDOWN_TIMEOUT":       "2m",
		"GATEWAY_CLIENT_QUEUE_BYTES":     "16777216",
		"GATEWAY_CLIENTS_QUEUE_BYTES":    "8589934592",
		"GATEWAY_BODIES_BYTES":           "134217728",
		"GATEWAY_ANSWERS_BYTES":          "33554432",
		"GATEWAY_HISTORY_BYTES":          "0",
		"GATEWAY_HISTORY_AGE":            "1h",
		"GATEWAY_VALUES_BYTES":           "65536",
		"GATEWAY_INDEX_BYTES":            "131072",
		"GATEWAY_MAX_CONNECTIONS":        "5",
		"GATEWAY_MDNS":                   "true",
		"GATEWAY_DECODERS_FILE":          decoders,
		"GATEWAY_VALUE_METRICS":          decoders,
		"GATEWAY_AUTH":                   "keys, jwt,mtls,header",
		"GATEWAY_ACCESS_FILE":            "access.yaml",
		"GATEWAY_JWT_ISSUER":             "https://issuer.example",
		"GATEWAY_JWT_AUDIENCE":           "gateway",
		"GATEWAY_JWT_JWKS":               "https://issuer.example/keys",
		"GATEWAY_JWT_ALGORITHMS":         "ES256, EdDSA",
		"GATEWAY_JWT_CLAIM":              "rights",
		"GATEWAY_AUTH_HEADER":            "X-User",
		"GATEWAY_AUTH_ROLES_HEADER":      "X-Groups",
		"GATEWAY_TLS_CERT_FILE":          cert,
		"GATEWAY_TLS_KEY_FILE":           key,
		"GATEWAY_TLS_CLIENT_CA_FILE":     ca,
		"GATEWAY_MQTT_CERT_FILE":         cert,
		"GATEWAY_MQTT_KEY_FILE":          key,
		"GATEWAY_RATE_PUBLISH":           "10",
		"GATEWAY_RATE_REQUESTS":          "20",
		"GATEWAY_MAX_STREAMS_PER_CLIENT": "30",
		"GATEWAY_AUDIT_LOG":              "stdout",
		"GATEWAY_ALLOW_ANONYMOUS":        "true",
		"GATEWAY_BASE_PATH":              "/mqtt",
		"GATEWAY_ALLOWED_HOSTS":          "Gateway.example, gw.lan:8080,192.168.1.5,[fd00::1]:8080,[fd00::2]",
		"GATEWAY_ALLOWED_ORIGINS":        "https://App.example,http://localhost:3000, https://[fd00::1]:8443",
		"GATEWAY_TRUSTED_PROXIES":        "10.0.0.0/8, fd00::/8",
		"GATEWAY_LOG_FORMAT":             "json",
		"GATEWAY_LOG_LEVEL":              "debug",
		"GATEWAY_PPROF":                  "1",
		"GATEWAY_CONSOLE":                "false",
	})
	if u, embedded := got.Broker(); u.String() != "mqtts://broker.lan:8883" || embedded {
		t.Errorf("Broker: got %s, %v, want mqtts://broker.lan:8883, false", u, embedded)
	}
	if pw := got.MQTTPassword.Reveal(); pw != "hunter2" {
		t.Errorf("MQTTPassword: got %q, want hunter2", pw)
	}
	if d := string(got.Decoders()); d != "decoders:\n" {
		t.Errorf("Decoders: got %q, want what the file holds", d)
	}
	got.broker, got.MQTTPassword, got.decoders = nil, Secret{}, nil
	want := &Config{
		HTTPAddr:            "0.0.0.0:80",
		AdminAddr:           "[::1]:0",
		EmbeddedAddr:        "localhost:0",
		EmbeddedDir:         "/var/lib/none",
		MQTTURL:             "mqtts://broker.lan",
		MQTTUsername:        "gateway",
		MQTTClientID:        "gw-1",
		MQTTPool:            64,
		MQTTCAFile:          ca,
		MQTTKeepAlive:       2 * time.Minute,
		MQTTVersion:         "4",
		MQTTSubscribeQoS:    "1",
		RefusedFor:          time.Second,
		Watch:               []string{"sensors/#", "actors/+/state"},
		Devices:             []string{"will"},
		DeviceTopics:        "sensors/{id}/LWT=up|down",
		Silent:              "sensors/+/heartbeat=30s",
		MaxPayloadBytes:     8 << 20,
		PublishTimeout:      90 * time.Second,
		BodyTimeout:         7 * time.Minute,
		ShutdownTimeout:     2 * time.Minute,
		ClientQueueBytes:    16 << 20,
		ClientsQueueBytes:   8 << 30,
		BodiesBytes:         128 << 20,
		AnswersBytes:        32 << 20,
		HistoryAge:          time.Hour,
		ValuesBytes:         64 << 10,
		IndexBytes:          128 << 10,
		MaxConnections:      5,
		MDNS:                true,
		DecodersFile:        decoders,
		ValueMetrics:        decoders,
		Auth:                []string{"keys", "jwt", "mtls", "header"},
		AccessFile:          "access.yaml",
		JWTIssuer:           "https://issuer.example",
		JWTAudience:         "gateway",
		JWTJWKS:             "https://issuer.example/keys",
		JWTAlgorithms:       []string{"ES256", "EdDSA"},
		JWTClaim:            "rights",
		AuthHeader:          "X-User",
		AuthRolesHeader:     "X-Groups",
		TLSCertFile:         cert,
		TLSKeyFile:          key,
		TLSClientCAFile:     ca,
		MQTTCertFile:        cert,
		MQTTKeyFile:         key,
		RatePublish:         10,
		RateRequests:        20,
		MaxStreamsPerClient: 30,
		AuditLog:            "stdout",
		AllowAnonymous:      true,
		BasePath:            "/mqtt",
		AllowedHosts:        []string{"gateway.example", "gw.lan:8080", "192.168.1.5", "[fd00::1]:8080", "[fd00::2]"},
		AllowedOrigins:      []string{"https://app.example", "http://localhost:3000", "https://[fd00::1]:8443"},
		TrustedProxies:      CIDRs{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		LogFormat:           "json",
		LogLevel:            "debug",
		PProf:               true,
	}
	if string(got.valueMetrics) != "decoders:\n" {
		t.Errorf("value metrics: got %q, want what stands in the file", got.valueMetrics)
	}
	if len(got.DevicePatterns()) != 1 || len(got.Quiet()) != 1 {
		t.Errorf("got patterns %v and %v, want one of each", got.DevicePatterns(), got.Quiet())
	}
	want.patterns, want.quiet, want.valueMetrics = got.patterns, got.quiet, got.valueMetrics
	if !reflect.DeepEqual(got, want) {
		t.Errorf("configuration:\n got %+v\nwant %+v", got, want)
	}
}

// A field of a type that check does not know would skip the checks.
func TestDefaultsPassTheChecksOfRawValues(t *testing.T) {
	for _, v := range variables() {
		if v.def == "" {
			continue
		}
		if err := v.check(v.def); err != nil {
			t.Errorf("default of %s: %v", v.name, err)
		}
		switch v.typ.Kind() {
		case reflect.Int, reflect.Int64:
			if v.min == "" || v.max == "" {
				t.Errorf("%s: got no range, want min and max", v.name)
			}
		}
	}
}

func TestBareNamesAreNotRead(t *testing.T) {
	for _, v := range variables() {
		t.Setenv(v.name[len(prefix):], "hunter2")
	}
	for _, name := range []string{"PORT", "HOST", "USER", "USERNAME", "PASSWORD", "HTTPADDR", "MQTTURL"} {
		t.Setenv(name, "hunter2")
	}
	got, _ := mustLoad(t, nil)
	t.Run("against clean", func(t *testing.T) {
		for _, v := range variables() {
			t.Setenv(v.name[len(prefix):], "")
			if err := os.Unsetenv(v.name[len(prefix):]); err != nil {
				t.Fatal(err)
			}
		}
		want, _ := mustLoad(t, nil)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("with bare names set:\n got %+v\nwant %+v", got, want)
		}
	})
}
