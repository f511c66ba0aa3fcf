package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// writePair writes a certificate and its key.
func writePair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return writeFile(t, "cert.pem", block("CERTIFICATE", der), 0o644), writeFile(t, "key.pem", block("PRIVATE KEY", keyDER), 0o600)
}

func TestAuthIsAListOfKnownWays(t *testing.T) {
	const name = "GATEWAY_AUTH"
	wantRefused(t, []refused{
		{"other", env{name: "basic"}, []string{name, `"basic" is unknown`, "keys, jwt, mtls and header"}},
		{"case", env{name: "None"}, []string{name, "write none"}},
		{"empty", env{name: ""}, []string{name, "is empty", "write none"}},
		{"twice", env{name: "keys,keys"}, []string{name, "keys stands there twice"}},
		{"none and more", env{name: "none,keys", "GATEWAY_ACCESS_FILE": "a"}, []string{name, "none stands alone"}},
		{"file of nobody", env{"GATEWAY_ACCESS_FILE": "a"}, []string{"GATEWAY_ACCESS_FILE", "GATEWAY_AUTH=keys"}},
		{"no file", env{name: "keys"}, []string{"GATEWAY_ACCESS_FILE", "gateway key new"}},
		{"no proxies", env{name: "header", "GATEWAY_ACCESS_FILE": "a"}, []string{"GATEWAY_TRUSTED_PROXIES"}},
		{"everybody a proxy", env{name: "header", "GATEWAY_ACCESS_FILE": "a", "GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8,0.0.0.0/0"}, []string{"GATEWAY_TRUSTED_PROXIES", "0.0.0.0/0", "everybody"}},
		{"everybody a proxy, IPv6", env{name: "header", "GATEWAY_ACCESS_FILE": "a", "GATEWAY_TRUSTED_PROXIES": "::/0"}, []string{"GATEWAY_TRUSTED_PROXIES", "::/0"}},
		{"no client CA", env{name: "mtls", "GATEWAY_ACCESS_FILE": "a"}, []string{"GATEWAY_TLS_CLIENT_CA_FILE"}},
		{"client CA of nobody", env{"GATEWAY_TLS_CLIENT_CA_FILE": "a"}, []string{"GATEWAY_TLS_CLIENT_CA_FILE", "mtls"}},
		{"header's name", env{"GATEWAY_AUTH_HEADER": "Remote User"}, []string{"GATEWAY_AUTH_HEADER", `"Remote User"`}},
		{"header with a meaning", env{"GATEWAY_AUTH_HEADER": "authorization"}, []string{"GATEWAY_AUTH_HEADER", "has a meaning"}},
		{"one header for both", env{"GATEWAY_AUTH_HEADER": "remote-groups"}, []string{"GATEWAY_AUTH_ROLES_HEADER", "choose another"}},
	})
}

func TestKeysMayListenAnywhere(t *testing.T) {
	mustLoad(t, env{"GATEWAY_AUTH": "keys", "GATEWAY_ACCESS_FILE": "access.yaml", "GATEWAY_HTTP_ADDR": ":8080"})
}

func TestBuiltInBrokerBeyondLoopbackLetsEverybodyInWhateverTheGatewayAsks(t *testing.T) {
	wantRefused(t, []refused{{"keys", env{
		"GATEWAY_AUTH": "keys", "GATEWAY_ACCESS_FILE": "access.yaml", "GATEWAY_EMBEDDED_ADDR": ":1883",
	}, []string{"GATEWAY_EMBEDDED_ADDR", "GATEWAY_ALLOW_ANONYMOUS=true"}}})
}

func TestTokensNeedIssuerAudienceAndOneKey(t *testing.T) {
	sound := func(more env) env {
		e := env{"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_ISSUER": "i", "GATEWAY_JWT_AUDIENCE": "a", "GATEWAY_JWT_KEY_FILE": "k"}
		for name, value := range more {
			if e[name] = value; value == "" {
				delete(e, name)
			}
		}
		return e
	}
	mustLoad(t, sound(nil))
	mustLoad(t, sound(env{"GATEWAY_JWT_KEY_FILE": "", "GATEWAY_JWT_JWKS": "keys.json"}))
	wantRefused(t, []refused{
		{"issuer", sound(env{"GATEWAY_JWT_ISSUER": ""}), []string{"GATEWAY_JWT_ISSUER", "GATEWAY_AUTH=jwt"}},
		{"audience", sound(env{"GATEWAY_JWT_AUDIENCE": ""}), []string{"GATEWAY_JWT_AUDIENCE"}},
		{"no key", sound(env{"GATEWAY_JWT_KEY_FILE": ""}), []string{"GATEWAY_JWT_KEY_FILE", "GATEWAY_JWT_JWKS"}},
		{"two keys", sound(env{"GATEWAY_JWT_JWKS": "j"}), []string{"GATEWAY_JWT_JWKS", "only one"}},
		{"without jwt", env{"GATEWAY_JWT_ISSUER": "i"}, []string{"GATEWAY_JWT_ISSUER", "does not have jwt"}},
	})
}

func TestCertificateAndKeyBelongTogether(t *testing.T) {
	cert, key := writePair(t)
	_, other := writePair(t)
	mustLoad(t, env{"GATEWAY_TLS_CERT_FILE": cert, "GATEWAY_TLS_KEY_FILE": key})
	broker := func(e env) env { e["GATEWAY_MQTT_URL"] = "mqtts://broker.lan"; return e }
	mustLoad(t, broker(env{"GATEWAY_MQTT_CERT_FILE": cert, "GATEWAY_MQTT_KEY_FILE": key}))
	wantRefused(t, []refused{
		{"no key", env{"GATEWAY_TLS_CERT_FILE": cert}, []string{"GATEWAY_TLS_KEY_FILE", "set both"}},
		{"no certificate", env{"GATEWAY_TLS_KEY_FILE": key}, []string{"GATEWAY_TLS_CERT_FILE", "set both"}},
		{"another key", env{"GATEWAY_TLS_CERT_FILE": cert, "GATEWAY_TLS_KEY_FILE": other}, []string{"GATEWAY_TLS_KEY_FILE", "is not the key"}},
		{"no PEM", env{"GATEWAY_TLS_CERT_FILE": key, "GATEWAY_TLS_KEY_FILE": key}, []string{"GATEWAY_TLS_CERT_FILE", "PEM"}},
		{"missing", env{"GATEWAY_TLS_CERT_FILE": "/nonexistent/c", "GATEWAY_TLS_KEY_FILE": key}, []string{"GATEWAY_TLS_CERT_FILE", "no such file"}},
		{"broker, no key", broker(env{"GATEWAY_MQTT_CERT_FILE": cert}), []string{"GATEWAY_MQTT_KEY_FILE", "set both"}},
		{"broker without TLS", env{"GATEWAY_MQTT_URL": brokerURL, "GATEWAY_MQTT_CERT_FILE": cert, "GATEWAY_MQTT_KEY_FILE": key}, []string{"GATEWAY_MQTT_CERT_FILE", "mqtts://"}},
		{"client CA without TLS", env{"GATEWAY_AUTH": "mtls", "GATEWAY_ACCESS_FILE": "a", "GATEWAY_TLS_CLIENT_CA_FILE": cert}, []string{"GATEWAY_TLS_CERT_FILE", "GATEWAY_TLS_CLIENT_CA_FILE"}},
	})
}

func TestPrivateKeyReadableByOthersIsNoticed(t *testing.T) {
	cert, key := writePair(t)
	_, notices := mustLoad(t, env{"GATEWAY_TLS_CERT_FILE": cert, "GATEWAY_TLS_KEY_FILE": key})
	if len(notices) != 0 {
		t.Errorf("mode 0600: got notices %q, want none", notices)
	}
	read, _, err := readFile("GATEWAY_TLS_KEY_FILE", key)
	if err != nil {
		t.Fatal(err)
	}
	open := writeFile(t, "key.pem", string(read), 0o640)
	_, notices = mustLoad(t, env{"GATEWAY_TLS_CERT_FILE": cert, "GATEWAY_TLS_KEY_FILE": open})
	if len(notices) != 1 || !strings.Contains(notices[0], "GATEWAY_TLS_KEY_FILE") {
		t.Errorf("mode 0640: got notices %q, want one about GATEWAY_TLS_KEY_FILE", notices)
	}
}
