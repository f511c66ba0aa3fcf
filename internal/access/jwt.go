package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWTOptions say which tokens (RFC 7519) are believed.
type JWTOptions struct {
	Issuer   string // iss must be it
	Audience string // aud must be it or contain it

	// Algorithms are the only ones, whatever a token says of itself. None: RS256, ES256 and EdDSA, or HS256 where
	// KeyFile holds a secret. HS256 is for a secret alone, and a secret for HS256.
	Algorithms []string

	// One of the two. KeyFile holds a public key or a certificate in PEM, or a secret of at least 32 bytes. JWKS is
	// a file or an https URL with a set of public keys (RFC 7517), read again every minute.
	KeyFile string
	JWKS    string

	// Claim is the claim with the lists and roles; "": gateway.
	Claim string
}

// verifier checks tokens. It does not change; the keys come from outside, because they may.
type verifier struct {
	issuer, audience, claim string
	algorithms              []string
}

// signer is a key that signs tokens.
type signer struct {
	key any    // what the library takes: *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or a secret as []byte
	id  Digest // tells it from other keys
}

// keySource finds the keys that may have signed a token with this alg and kid; kid is "" if the token has none.
type keySource interface {
	find(alg, kid string) []signer
	has(id Digest) bool
}

// knownAlgorithms are those of RFC 7518, 3.1 and RFC 8037, 3.1 that a gateway can be told to accept.
var knownAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", algHS256,
}

const algHS256 = "HS256"

// newVerifier checks the options. Which algorithms can be used depends on whether the key is a secret.
func newVerifier(o *JWTOptions, secret bool) (*verifier, error) {
	if o.Issuer == "" || o.Audience == "" {
		return nil, errors.New("tokens need an issuer and an audience")
	}
	v := &verifier{issuer: o.Issuer, audience: o.Audience, claim: o.Claim, algorithms: o.Algorithms}
	if v.claim == "" {
		v.claim = "gateway"
	}
	if slices.Contains([]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}, v.claim) {
		return nil, about("Claim", fmt.Errorf("the claim %s has a meaning already; choose another for the rights", v.claim))
	}
	if len(v.algorithms) == 0 {
		v.algorithms = []string{"RS256", "ES256", "EdDSA"}
		if secret {
			v.algorithms = []string{algHS256}
		}
	}
	for _, alg := range v.algorithms {
		switch {
		case !slices.Contains(knownAlgorithms, alg):
			return nil, about("Algorithms", fmt.Errorf("the algorithm %q is not accepted; there are %s", alg, strings.Join(knownAlgorithms, ", ")))
		case alg == algHS256 && !secret:
			return nil, about("Algorithms", errors.New("HS256 is for a secret, and the key is public; leave HS256 out"))
		case alg != algHS256 && secret:
			return nil, about("Algorithms", fmt.Errorf("%s needs a public key, and the key file holds a secret; a secret is for HS256 alone", alg))
		}
	}
	return v, nil
}

// verify checks a token from its form to its claims. The error is a sentence for the log.
func (v *verifier) verify(s string, keys keySource, now time.Time) (id identity, by Digest, err error) {
	t, err := parseToken(s)
	if err != nil {
		return id, by, err
	}
	if !slices.Contains(v.algorithms, t.alg) {
		return id, by, errors.New("an algorithm that is not accepted")
	}
	method := jwt.GetSigningMethod(t.alg)
	candidates := keys.find(t.alg, t.kid)
	good := slices.IndexFunc(candidates, func(c signer) bool {
		return suits(c.key, t.alg) && method.Verify(t.signed, t.signature, c.key) == nil
	})
	switch {
	case len(candidates) == 0:
		return id, by, errors.New("no such key")
	case good < 0:
		return id, by, errors.New("a wrong signature")
	}
	id, err = v.readClaims(t.claims, now)
	return id, candidates[good].id, err
}

// suits reports whether an elliptic curve is the one that the algorithm is for (RFC 7518, 3.4). The library looks at the
// type of a key alone, which it does for all kinds.
func suits(key any, alg string) bool {
	k, ok := key.(*ecdsa.PublicKey)
	return !ok || map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[alg] == k.Curve.Params().BitSize
}

// newSigner checks that a public key is strong enough to believe what it signs.
func newSigner(key any) (signer, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 || k.E < 3 || k.E&1 == 0 {
			return signer{}, fmt.Errorf("an RSA key of %d bits cannot be used; it must have 2048 to 8192, and an odd exponent from 3", bits)
		}
	case *ecdsa.PublicKey: // P-256 and up: the parsers know no other curves but P-224
		if k.Curve.Params().BitSize < 256 {
			return signer{}, errors.New("an elliptic curve of less than 256 bits cannot be used")
		}
	case ed25519.PublicKey:
	default:
		return signer{}, errors.New("the key is neither RSA, nor ECDSA, nor Ed25519")
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return signer{}, errors.New("the key is damaged")
	}
	return signer{key, sha256.Sum256(der)}, nil
}

const minSecret = 32 // bytes: RFC 7518, 3.2 asks for the size of the hash

// keyFile is the file of the key that signs tokens.
type keyFile struct {
	path   string
	secret bool // it held a secret at the start; guarded by the source's lock, like known
	known  bool
}

// source reads the file again. A secret is for other algorithms than a public key, and which are accepted is decided at
// the start; so one does not take the other's place.
func (f *keyFile) source() *source {
	return &source{
		name: SourceKeyFile,
		read: func(_ context.Context, again bool) ([]byte, error) {
			data, _, err := readFile(f.path, again)
			return data, err
		},
		use: func(data []byte) (func(*state), error) {
			key, secret, err := parseKeyFile(data)
			if err == nil && !f.known {
				f.secret, f.known = secret, true
			}
			if err == nil && secret != f.secret {
				err = errors.New("a secret and a public key do not take each other's place while the gateway runs; start it again if that is meant")
			}
			if err != nil {
				return nil, fmt.Errorf("%q: %w", f.path, err)
			}
			return func(s *state) { s.keys = oneKey(key) }, nil
		},
	}
}

// parseKeyFile reads a public key in PEM, or a secret. What begins like PEM is never taken for a secret: whoever has the
// public key could sign with it.
func parseKeyFile(data []byte) (key signer, secret bool, err error) {
	if strings.Contains(string(data), "-----BEGIN") {
		key, err = parsePublicKey(data)
		return key, false, err
	}
	value := []byte(strings.TrimRight(string(data), "\r\n"))
	if len(value) < minSecret {
		return signer{}, true, fmt.Errorf("the secret is shorter than %d bytes; make one with: openssl rand -base64 48", minSecret)
	}
	return signer{value, sha256.Sum256(value)}, true, nil
}

// parsePublicKey reads the one PEM block of a file.
func parsePublicKey(data []byte) (signer, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return signer{}, errors.New("the PEM block is damaged")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return signer{}, errors.New("there is more than one PEM block; write one public key, or use a JWKS for several")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return signer{}, errors.New("it holds a private key; the gateway needs the public key, and nobody but the issuer the private one")
		}
		return signer{}, errors.New("the PEM block must be PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE")
	}
	if err != nil {
		return signer{}, errors.New("the PEM block holds no key that can be read")
	}
	return newSigner(key)
}

// oneKey is a keySource of a key file. Its key has no name, so a token's kid does not matter.
type oneKey signer

func (k oneKey) find(string, string) []signer { return []signer{signer(k)} }
func (k oneKey) has(id Digest) bool           { return k.id == id }
