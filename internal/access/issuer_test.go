package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuer has a key of each kind.
type issuer struct {
	rsa, weak, other *rsa.PrivateKey
	p256, p384       *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
	secret           []byte
}

var theIssuer = sync.OnceValue(func() *issuer {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	i := &issuer{secret: []byte("0123456789abcdef0123456789abcdef")}
	var err error
	i.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	i.other, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	i.weak, err = rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	i.p256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	i.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	_, i.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return i
})

type object = map[string]any

func part(t testing.TB, v any) string {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// sign makes a token of a header and claims, which are objects or JSON texts, with the algorithm's signature by the key.
func sign(t testing.TB, header, claims any, alg string, key any) string {
	t.Helper()
	text := part(t, header) + "." + part(t, claims)
	signature, err := jwt.GetSigningMethod(alg).Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// claimsAt are good ones, with changes; nil takes a claim away.
func claimsAt(now time.Time, changes object) object {
	c := object{
		"iss": "https://issuer.example", "aud": "gateway", "sub": "alice", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"gateway": object{"subscribe": []string{"fleet/#"}, "roles": []string{"viewer"}},
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func publicPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func jwk(t testing.TB, key any, more object) object {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	var m object
	switch k := key.(type) {
	case *rsa.PublicKey:
		m = object{"kty": "RSA", "n": b64(k.N.Bytes()), "e": "AQAB"}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := (len(point) - 1) / 2
		m = object{"kty": "EC", "crv": k.Curve.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		m = object{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	default:
		t.Fatalf("%T", key)
	}
	maps.Copy(m, more)
	return m
}

func jwks(t testing.TB, keys ...object) string {
	t.Helper()
	raw, err := json.Marshal(object{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// allKeys is a set with a key of each kind.
func (i *issuer) allKeys(t testing.TB) string {
	return jwks(t,
		jwk(t, &i.rsa.PublicKey, object{"kid": "rsa", "use": "sig"}),
		jwk(t, &i.p256.PublicKey, object{"kid": "p256", "alg": "ES256"}),
		jwk(t, &i.p384.PublicKey, object{"kid": "p384"}),
		jwk(t, i.ed.Public(), object{"kid": "ed", "key_ops": []string{"verify"}}),
		jwk(t, &i.other.PublicKey, object{"kid": "enc", "use": "enc"}),
		jwk(t, &i.other.PublicKey, object{"kid": "wrap", "key_ops": []string{"wrapKey"}}),
		object{"kty": "from the future", "kid": "new"},
		object{"kty": "OKP", "crv": "X25519", "kid": "x", "use": "enc", "x": "AAAA"},
	)
}

func (i *issuer) options(t testing.TB, file, text string) *JWTOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), file)
	write(t, path, text)
	o := &JWTOptions{Issuer: "https://issuer.example", Audience: "gateway"}
	if file == "jwks" {
		o.JWKS = path
	} else {
		o.KeyFile = path
	}
	return o
}

// noNetwork fails the test if anybody asks for anything.
func noNetwork(t testing.TB) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("somebody asked for %s", r.URL)
		return nil, os.ErrPermission
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func selfSigned(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
