package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

func TestTokenOptionsAreChecked(t *testing.T) {
	i := theIssuer()
	private, err := x509.MarshalPKCS8PrivateKey(i.rsa)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := publicPEM(t, &i.rsa.PublicKey)
	tiny := jwk(t, &rsa.PublicKey{N: i.rsa.N, E: 65537}, object{"e": "AQ"}) // exponent 1: every number is a signature
	for name, c := range map[string]struct {
		file, text string
		change     func(*JWTOptions)
		want       string
	}{
		"no issuer":          {"key", rsaKey, func(o *JWTOptions) { o.Issuer = "" }, "issuer and an audience"},
		"no audience":        {"key", rsaKey, func(o *JWTOptions) { o.Audience = "" }, "issuer and an audience"},
		"no key":             {"key", rsaKey, func(o *JWTOptions) { o.KeyFile = "" }, "either a key file or a JWKS"},
		"two keys":           {"key", rsaKey, func(o *JWTOptions) { o.JWKS = o.KeyFile }, "either a key file or a JWKS"},
		"no file":            {"key", rsaKey, func(o *JWTOptions) { o.KeyFile += "x" }, "no such file"},
		"none":               {"key", rsaKey, func(o *JWTOptions) { o.Algorithms = []string{"none"} }, "not accepted"},
		"HS512":              {"key", string(i.secret), func(o *JWTOptions) { o.Algorithms = []string{"HS512"} }, "not accepted"},
		"HS256 with a key":   {"key", rsaKey, func(o *JWTOptions) { o.Algorithms = []string{"RS256", "HS256"} }, "HS256 is for a secret"},
		"HS256 with a JWKS":  {"jwks", i.allKeys(t), func(o *JWTOptions) { o.Algorithms = []string{"HS256"} }, "HS256 is for a secret"},
		"RS256 and a secret": {"key", string(i.secret), func(o *JWTOptions) { o.Algorithms = []string{"HS256", "RS256"} }, "needs a public key"},
		"claim sub":          {"key", rsaKey, func(o *JWTOptions) { o.Claim = "sub" }, "has a meaning already"},
		"short secret":       {"key", string(i.secret[:31]) + "\n", nil, "shorter than 32 bytes"},
		"empty secret":       {"key", "", nil, "shorter than 32 bytes"},
		"weak RSA":           {"key", publicPEM(t, &i.weak.PublicKey), nil, "1024 bits"},
		"weak curve":         {"key", publicPEM(t, &p224.PublicKey), nil, "less than 256 bits"},
		"private":            {"key", block("PRIVATE KEY", private), nil, "private key"},
		"private, PKCS 1":    {"key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(i.rsa)), nil, "private key"},
		"two blocks":         {"key", rsaKey + rsaKey, nil, "more than one"},
		"other block":        {"key", block("DH PARAMETERS", []byte{1}), nil, "must be PUBLIC KEY"},
		"damaged block":      {"key", "-----BEGIN PUBLIC KEY-----\nAAAA", nil, "damaged"},
		"damaged key":        {"key", block("PUBLIC KEY", []byte("x")), nil, "no key that can be read"},
		"not JSON":           {"jwks", "<html>", nil, "no JSON object"},
		"no keys":            {"jwks", "{}", nil, "no JSON object"},
		"keys null":          {"jwks", `{"keys":null}`, nil, "no JSON object"},
		"empty set":          {"jwks", `{"keys":[]}`, nil, "none of its keys"},
		"set of others":      {"jwks", jwks(t, jwk(t, &i.rsa.PublicKey, object{"use": "enc"})), nil, "none of its keys"},
		"set with weak RSA":  {"jwks", jwks(t, jwk(t, &i.rsa.PublicKey, nil), jwk(t, &i.weak.PublicKey, nil)), nil, "keys[1]: an RSA key of 1024 bits"},
		"exponent 1":         {"jwks", jwks(t, tiny), nil, "odd exponent"},
		"set with a secret":  {"jwks", jwks(t, object{"kty": "oct", "k": "AAAA"}), nil, "secret"},
		"set with a private": {"jwks", jwks(t, jwk(t, &i.rsa.PublicKey, object{"d": "AAAA"})), nil, "secret"},
		"off the curve":      {"jwks", jwks(t, jwk(t, &i.p256.PublicKey, object{"y": "AAAA"})), nil, "damaged"},
		"a key twice inside": {"jwks", `{"keys":[{"kty":"RSA","kty":"RSA"}]}`, nil, "no JSON object"},
		"too many":           {"jwks", jwks(t, slices.Repeat([]object{jwk(t, &i.rsa.PublicKey, nil)}, 65)...), nil, "more than 64"},
		"http":               {"jwks", "x", func(o *JWTOptions) { o.JWKS = "http://issuer.example/jwks" }, "https"},
		"user in the URL":    {"jwks", "x", func(o *JWTOptions) { o.JWKS = "https://u:p@issuer.example/jwks" }, "without a user name"},
		"no host":            {"jwks", "x", func(o *JWTOptions) { o.JWKS = "https://" }, "https"},
	} {
		o := i.options(t, c.file, c.text)
		if c.change != nil {
			c.change(o)
		}
		a, err := Open(Options{JWT: o, Client: noNetwork(t)})
		if err == nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestCertificateAndOldPEMAreKeysToo(t *testing.T) {
	i := theIssuer()
	cert := selfSigned(t, i.p256, nil)
	for name, text := range map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		"PKCS 1":      string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&i.rsa.PublicKey)})),
		"Ed25519":     publicPEM(t, i.ed.Public()),
		"P-384":       publicPEM(t, &i.p384.PublicKey),
	} {
		if _, secret, err := parseKeyFile([]byte(text)); err != nil || secret {
			t.Errorf("%s: got secret %t, %v; want a public key", name, secret, err)
		}
	}
}
