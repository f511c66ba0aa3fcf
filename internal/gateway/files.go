package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/decode"
)

// ConfigError is a mistake in a file that the configuration names. It is one
// line that names the variable.
type ConfigError struct{ err error }

func (e ConfigError) Error() string { return e.err.Error() }

// Unwrap is the mistake itself.
func (e ConfigError) Unwrap() error { return e.err }

// decoders are the rules of GATEWAY_DECODERS_FILE, nil without.
func decoders(cfg *config.Config) (*decode.Rules, error) {
	file := cfg.Decoders()
	if file == nil {
		return nil, nil
	}
	rules, err := decode.Parse(file)
	if err != nil {
		return nil, ConfigError{fmt.Errorf("GATEWAY_DECODERS_FILE: %q: %w", cfg.DecodersFile, err)}
	}
	return rules, nil
}

// brokerTLS trusts the configured CA, or the system's, and shows the configured
// certificate, if any; nil is what TLS is without.
func brokerTLS(cfg *config.Config) (*tls.Config, error) {
	if cfg.MQTTCAFile == "" && cfg.MQTTCertFile == "" {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.MQTTCertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.MQTTCertFile, cfg.MQTTKeyFile)
		if err != nil {
			return nil, ConfigError{errors.New("GATEWAY_MQTT_CERT_FILE: it cannot be used with GATEWAY_MQTT_KEY_FILE")}
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if cfg.MQTTCAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(cfg.MQTTCAFile)
	if err != nil {
		return nil, ConfigError{errors.New("GATEWAY_MQTT_CA_FILE: the file cannot be read")}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, ConfigError{fmt.Errorf("GATEWAY_MQTT_CA_FILE: %q holds no certificate in PEM", cfg.MQTTCAFile)}
	}
	conf.RootCAs = pool
	return conf, nil
}
