// Package config reads the gateway's settings from the environment and from
// the files the environment names. It refuses what cannot work, so that a
// Config that Load returns needs no second check.
//
// Every error is one line. It names the variable, says what to do, and never
// holds a secret. Only the command reads this package.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/vulturepi/gateway/internal/device"
)

// Variables that errors of other variables mention, too.
const (
	envHTTPAddr       = "GATEWAY_HTTP_ADDR"
	envAdminAddr      = "GATEWAY_ADMIN_ADDR"
	envEmbeddedAddr   = "GATEWAY_EMBEDDED_ADDR"
	envEmbeddedDir    = "GATEWAY_EMBEDDED_DIR"
	envMQTTURL        = "GATEWAY_MQTT_URL"
	envSettingsFile   = "GATEWAY_SETTINGS_FILE"
	envUsername       = "GATEWAY_MQTT_USERNAME"
	envPassword       = "GATEWAY_MQTT_PASSWORD"
	envAuth           = "GATEWAY_AUTH"
	envAllowAnonymous = "GATEWAY_ALLOW_ANONYMOUS"
	envDecodersFile   = "GATEWAY_DECODERS_FILE"
	envValueMetrics   = "GATEWAY_VALUE_METRICS"
	envAccessFile     = "GATEWAY_ACCESS_FILE"
	envJWTKeyFile     = "GATEWAY_JWT_KEY_FILE"
	envJWTJWKS        = "GATEWAY_JWT_JWKS"
	envTLSCertFile    = "GATEWAY_TLS_CERT_FILE"
	envTLSKeyFile     = "GATEWAY_TLS_KEY_FILE"
	envTLSClientCA    = "GATEWAY_TLS_CLIENT_CA_FILE"
	envTrustedProxies = "GATEWAY_TRUSTED_PROXIES"
	envDevices        = "GATEWAY_DEVICES"
	envDeviceTopics   = "GATEWAY_DEVICE_TOPICS"
	envSilent         = "GATEWAY_SILENT"
)

// Config is the whole configuration. The tags are the one source for the
// parser, for Usage and for the table in docs/configuration.md.
//
// The envconfig tag holds the full name and Process gets no prefix: with a
// prefix, envconfig reads the bare name (HTTP_ADDR) as well.
//
// A Config does not change after Load, so any goroutine may read it.
type Config struct {
	HTTPAddr  string `envconfig:"GATEWAY_HTTP_ADDR" default:"127.0.0.1:8080" desc:"Address of the public listener: REST, streams, WebSocket, documentation."`
	AdminAddr string `envconfig:"GATEWAY_ADMIN_ADDR" default:"127.0.0.1:8081" desc:"Address of the admin listener: metrics and health."`

	MQTTURL          string        `envconfig:"GATEWAY_MQTT_URL" desc:"Broker: mqtt://, mqtts://, ws:// or wss://, host and port. Not set: the settings file, else the embedded broker."`
	SettingsFile     string        `envconfig:"GATEWAY_SETTINGS_FILE" desc:"A settings.ini of the device SDK that names the broker. GATEWAY_MQTT_URL wins over it."`
	EmbeddedAddr     string        `envconfig:"GATEWAY_EMBEDDED_ADDR" default:"127.0.0.1:1883" desc:"Address of the embedded broker, which starts when no broker is set."`
	EmbeddedDir      string        `envconfig:"GATEWAY_EMBEDDED_DIR" desc:"Directory where the embedded broker keeps retained messages and sessions. Not set: in memory, until it ends."`
	MQTTUsername     string        `envconfig:"GATEWAY_MQTT_USERNAME" desc:"User name at the broker."`
	MQTTPassword     Secret        `envconfig:"GATEWAY_MQTT_PASSWORD" desc:"Password at the broker. Needs GATEWAY_MQTT_USERNAME."`
	MQTTPasswordFile string        `envconfig:"GATEWAY_MQTT_PASSWORD_FILE" desc:"File that holds the password, instead of GATEWAY_MQTT_PASSWORD."`
	MQTTClientID     string        `envconfig:"GATEWAY_MQTT_CLIENT_ID" desc:"Stable identity at the broker, which keeps a session for it. Not set: random, clean session."`
	MQTTPool         int           `envconfig:"GATEWAY_MQTT_POOL" default:"4" min:"1" max:"64" desc:"Connections that publish to the broker."`
	MQTTCAFile       string        `envconfig:"GATEWAY_MQTT_CA_FILE" desc:"PEM file of the CA that signed the broker's certificate (mqtts, wss). Not set: the system's CAs."`
	MQTTCertFile     string        `envconfig:"GATEWAY_MQTT_CERT_FILE" desc:"PEM file of the certificate that the gateway shows to the broker (mqtts, wss). Needs GATEWAY_MQTT_KEY_FILE."`
	MQTTKeyFile      string        `envconfig:"GATEWAY_MQTT_KEY_FILE" desc:"PEM file of the private key of GATEWAY_MQTT_CERT_FILE."`
	MQTTKeepAlive    time.Duration `envconfig:"GATEWAY_MQTT_KEEPALIVE" default:"10s" min:"5s" max:"120s" desc:"Keep-alive of the broker connections, in whole seconds."`
	MQTTVersion      string        `envconfig:"GATEWAY_MQTT_VERSION" default:"auto" desc:"MQTT version: 5, 4 (which is 3.1.1), or auto: 5, and 3.1.1 where the broker does not speak it."`
	MQTTSubscribeQoS string        `envconfig:"GATEWAY_MQTT_SUBSCRIBE_QOS" default:"auto" desc:"QoS at which the gateway itself subscribes. auto: 0 with a clean session on brokers whose connected QoS 0 clients lose less (mosquitto, the built-in one), else 1."`
	RefusedFor       time.Duration `envconfig:"GATEWAY_REFUSED_FOR" default:"1m" min:"1s" max:"24h" desc:"How long messages like one that the broker ended a connection on are refused at once."`
	Watch            []string      `envconfig:"GATEWAY_WATCH" default:"#" desc:"Comma-separated filters that are always subscribed at the broker. Empty: only what clients ask for."`

	Devices      []string `envconfig:"GATEWAY_DEVICES" default:"log,will" desc:"What tells which devices are at the broker: log, which is mosquitto's own log (log_dest topic), and will, which is GATEWAY_DEVICE_TOPICS. Empty: nothing does."`
	DeviceTopics string   `envconfig:"GATEWAY_DEVICE_TOPICS" desc:"Comma-separated topics of devices, with {id} for one level, and the payloads of an online and of an offline one: {id}/LWT=Online|Offline. Without payloads the device is only seen there: fleet/{id}/#."`
	Silent       string   `envconfig:"GATEWAY_SILENT" desc:"Comma-separated filters of topics, and how long each topic may be quiet: fleet/+/heartbeat=30s."`

	MaxPayloadBytes   int           `envconfig:"GATEWAY_MAX_PAYLOAD_BYTES" default:"262144" min:"1" max:"8388608" desc:"Largest payload of a message, in bytes."`
	PublishTimeout    time.Duration `envconfig:"GATEWAY_PUBLISH_TIMEOUT" default:"5s" min:"1ms" max:"10m" desc:"How long a publish waits for the broker."`
	BodyTimeout       time.Duration `envconfig:"GATEWAY_BODY_TIMEOUT" default:"5m" min:"1s" max:"24h" desc:"How long a request's body may take in all. It must also bring 1 KiB in any 10 seconds."`
	ShutdownTimeout   time.Duration `envconfig:"GATEWAY_SHUTDOWN_TIMEOUT" default:"15s" min:"1ms" max:"1h" desc:"How long a stop waits for open requests and streams. Longer than GATEWAY_PUBLISH_TIMEOUT."`
	ClientQueueBytes  int           `envconfig:"GATEWAY_CLIENT_QUEUE_BYTES" default:"1048576" min:"1" max:"1073741824" desc:"Bytes that may wait for one client. At least twice GATEWAY_MAX_PAYLOAD_BYTES."`
	ClientsQueueBytes int64         `envconfig:"GATEWAY_CLIENTS_QUEUE_BYTES" default:"268435456" min:"1" max:"1099511627776" desc:"Bytes that may wait for all clients together. At least GATEWAY_CLIENT_QUEUE_BYTES."`
	BodiesBytes       int64         `envconfig:"GATEWAY_BODIES_BYTES" default:"67108864" min:"16777216" max:"1099511627776" desc:"Bytes of unfinished bodies and WebSocket messages, all together; beyond it requests get 503. At least 4 times GATEWAY_MAX_PAYLOAD_BYTES."`
	AnswersBytes      int64         `envconfig:"GATEWAY_ANSWERS_BYTES" default:"67108864" min:"16777216" max:"1099511627776" desc:"Bytes of lists and values that wait to be read by their clients, all together; beyond it requests get 503. At least 4 times GATEWAY_MAX_PAYLOAD_BYTES."`
	HistoryBytes      int64         `envconfig:"GATEWAY_HISTORY_BYTES" default:"67108864" min:"0" max:"1099511627776" desc:"Memory for the history that clients resume from, in bytes. 0: none."`
	HistoryAge        time.Duration `envconfig:"GATEWAY_HISTORY_AGE" default:"10m" min:"1s" max:"168h" desc:"How long a message stays in the history."`
	ValuesBytes       int64         `envconfig:"GATEWAY_VALUES_BYTES" default:"67108864" min:"65536" max:"1099511627776" desc:"Memory for the newest message of each topic, for snapshots, in bytes."`
	IndexBytes        int64         `envconfig:"GATEWAY_INDEX_BYTES" default:"67108864" min:"65536" max:"1099511627776" desc:"Memory for the names of topics, in bytes. When it is full, the topic that was updated longest ago is forgotten."`
	MaxConnections    int           `envconfig:"GATEWAY_MAX_CONNECTIONS" default:"10000" min:"1" max:"1000000" desc:"Streams (WebSocket and events) that may be open at once. As many connections, at least 1000, may carry requests or wait for one; the longest wait makes room for more."`

	MDNS bool `envconfig:"GATEWAY_MDNS" default:"false" desc:"Announce the gateway on the local network by mDNS, and the embedded broker: what of both listens beyond loopback."`

	DecodersFile string `envconfig:"GATEWAY_DECODERS_FILE" desc:"YAML file that says how the payloads of which topics are decoded. Not set: none is."`
	ValueMetrics string `envconfig:"GATEWAY_VALUE_METRICS" desc:"YAML file that says which numbers on which topics are metrics on the admin listener. Not set: none is."`

	Auth            []string `envconfig:"GATEWAY_AUTH" default:"none" desc:"How callers show who they are: a comma-separated list of keys, jwt, mtls and header; or none: everybody who reaches the gateway may do everything."`
	AllowAnonymous  bool     `envconfig:"GATEWAY_ALLOW_ANONYMOUS" default:"false" desc:"Allow listening beyond loopback without access control."`
	AccessFile      string   `envconfig:"GATEWAY_ACCESS_FILE" desc:"YAML file with principals, the digests of their keys, and rights. Read again when it changes, and on SIGHUP."`
	JWTIssuer       string   `envconfig:"GATEWAY_JWT_ISSUER" desc:"The iss that a token must have."`
	JWTAudience     string   `envconfig:"GATEWAY_JWT_AUDIENCE" desc:"The aud that a token must have."`
	JWTKeyFile      string   `envconfig:"GATEWAY_JWT_KEY_FILE" desc:"File of the key that signs tokens: a public key in PEM, or a secret of at least 32 bytes. Read again when it changes, and on SIGHUP. Or else GATEWAY_JWT_JWKS."`
	JWTJWKS         string   `envconfig:"GATEWAY_JWT_JWKS" desc:"The keys that sign tokens, as a JWKS: a file, or an https URL that is asked again every minute."`
	JWTAlgorithms   []string `envconfig:"GATEWAY_JWT_ALGORITHMS" desc:"Comma-separated algorithms of tokens. Not set: RS256, ES256 and EdDSA; with a secret HS256."`
	JWTClaim        string   `envconfig:"GATEWAY_JWT_CLAIM" default:"gateway" desc:"Claim of a token that holds its rights."`
	AuthHeader      string   `envconfig:"GATEWAY_AUTH_HEADER" default:"Remote-User" desc:"Header in which a trusted proxy names the principal (GATEWAY_AUTH=header)."`
	AuthRolesHeader string   `envconfig:"GATEWAY_AUTH_ROLES_HEADER" default:"Remote-Groups" desc:"Header in which a trusted proxy lists the principal's roles."`

	TLSCertFile     string `envconfig:"GATEWAY_TLS_CERT_FILE" desc:"PEM file of the public listener's certificate, and those between it and its CA. Not set: plain HTTP. Read again when it changes."`
	TLSKeyFile      string `envconfig:"GATEWAY_TLS_KEY_FILE" desc:"PEM file of the private key of GATEWAY_TLS_CERT_FILE."`
	TLSClientCAFile string `envconfig:"GATEWAY_TLS_CLIENT_CA_FILE" desc:"PEM file of the CAs that sign clients' certificates (GATEWAY_AUTH=mtls)."`

	RatePublish         int    `envconfig:"GATEWAY_RATE_PUBLISH" default:"0" min:"0" max:"1000000" desc:"Messages that a principal, or an address without one, may publish per second. 0: no limit."`
	RateRequests        int    `envconfig:"GATEWAY_RATE_REQUESTS" default:"0" min:"0" max:"1000000" desc:"Requests that a principal, or an address without one, may send per second. 0: no limit."`
	MaxStreamsPerClient int    `envconfig:"GATEWAY_MAX_STREAMS_PER_CLIENT" default:"0" min:"0" max:"1000000" desc:"Streams that a principal, or an address without one, may have open at once. 0: no limit."`
	AuditLog            string `envconfig:"GATEWAY_AUDIT_LOG" desc:"File, or stdout, that gets a line of JSON for each publish, refusal, failed login, ticket and reload. The file is opened anew on SIGHUP."`

	BasePath       string   `envconfig:"GATEWAY_BASE_PATH" desc:"Path below which the public listener answers, such as /mqtt, for a proxy that does not strip it."`
	AllowedHosts   []string `envconfig:"GATEWAY_ALLOWED_HOSTS" desc:"Comma-separated host names, each with an optional port, that requests may ask for besides localhost and this machine's addresses."`
	AllowedOrigins []string `envconfig:"GATEWAY_ALLOWED_ORIGINS" desc:"Comma-separated origins of web pages and apps that may use the gateway, such as https://app.example or capacitor://localhost."`
	TrustedProxies CIDRs    `envconfig:"GATEWAY_TRUSTED_PROXIES" desc:"Comma-separated networks (CIDR) of proxies whose forwarding headers, and GATEWAY_AUTH_HEADER, count."`

	Console bool `envconfig:"GATEWAY_CONSOLE" default:"true" desc:"Serve the console at / on the public listener. false: / is 404."`

	LogFormat string `envconfig:"GATEWAY_LOG_FORMAT" default:"text" desc:"Format of the log: text or json."`
	LogLevel  string `envconfig:"GATEWAY_LOG_LEVEL" default:"info" desc:"Least level that is logged: debug, info, warn or error."`
	PProf     bool   `envconfig:"GATEWAY_PPROF" default:"false" desc:"Serve /debug/pprof/ on the admin listener."`

	// broker is the external broker, nil when the embedded one starts.
	broker *url.URL
	// find is true when it has to be found; findPort is the port that counts.
	find     bool
	findPort int
	// patterns and quiet are what DeviceTopics and Silent say.
	patterns []device.Pattern
	quiet    []device.Quiet
	// decoders and valueMetrics are what DecodersFile and ValueMetrics hold.
	decoders, valueMetrics []byte
}

// Load reads the process environment and the files it names. Notices are
// lines to log once; they hold no secret.
func Load() (cfg *Config, notices []string, err error) {
	if err := checkEnvironment(); err != nil {
		return nil, nil, err
	}
	cfg = new(Config)
	if err := process(cfg); err != nil {
		return nil, nil, err
	}
	steps := []func(*Config) ([]string, error){
		loadSecrets,
		resolveBroker,
		checkEmbedded,
		loadRules,
		checkIdentity,
		checkAccess, checkTokens, checkTLS, checkBrokerCertificate,
		checkListeners,
		checkGuard,
		checkWatch, checkDevices,
		checkLimits,
		checkMQTT, checkLog,
	}
	for _, step := range steps {
		lines, err := step(cfg)
		if err != nil {
			return nil, nil, err
		}
		notices = append(notices, lines...)
	}
	return cfg, notices, nil
}

// process fills the struct. envconfig's own error prints the raw value, which
// may be a secret, so it is never passed on.
func process(cfg *Config) error {
	err := envconfig.Process("", cfg)
	var parse *envconfig.ParseError
	if !errors.As(err, &parse) {
		return err
	}
	var reason valueError
	if errors.As(parse.Err, &reason) {
		return refuse(parse.KeyName, "%s", reason)
	}
	return refuse(parse.KeyName, "is malformed; see the list that -h prints")
}

// valueError is an error of this package's own value types. Its text is safe
// to show.
type valueError string

func (e valueError) Error() string { return string(e) }

func valueErrorf(format string, args ...any) error {
	return valueError(fmt.Sprintf(format, args...))
}

// refuse builds the one line about a variable.
func refuse(name, format string, args ...any) error {
	return fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
}
