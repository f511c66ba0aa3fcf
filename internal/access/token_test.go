package access

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestTokensOfEachKindLetIn(t *testing.T) {
	i, c := theIssuer(), newClock()
	set := open(t, Options{
		JWT: i.options(t, "jwks", i.allKeys(t)), Now: c.now, Client: noNetwork(t),
		File: tempFile(t, "authenticated: {subscribe: [news]}\nroles: {viewer: {publish: [\"{principal}/x\"]}}\nprincipals: [{name: alice, subscribe: [hers]}]"),
	})
	secret := open(t, Options{JWT: i.options(t, "key", string(i.secret)+"\n"), Now: c.now})
	pemRSA := open(t, Options{JWT: i.options(t, "key", publicPEM(t, &i.rsa.PublicKey)), Now: c.now})
	claims := claimsAt(c.now(), nil)
	for name, login := range map[string]struct {
		a     *Authenticator
		token string
	}{
		"RS256":         {set, sign(t, object{"alg": "RS256", "kid": "rsa", "typ": "JWT"}, claims, "RS256", i.rsa)},
		"ES256":         {set, sign(t, object{"alg": "ES256", "kid": "p256", "typ": "at+jwt"}, claims, "ES256", i.p256)},
		"EdDSA":         {set, sign(t, object{"alg": "EdDSA", "kid": "ed", "typ": "application/at+JWT"}, claims, "EdDSA", i.ed)},
		"no kid":        {set, sign(t, object{"alg": "ES256"}, claims, "ES256", i.p256)},
		"ignored jku":   {set, sign(t, object{"alg": "RS256", "kid": "rsa", "jku": "https://evil.example/", "x5u": "https://evil.example"}, claims, "RS256", i.rsa)},
		"HS256":         {secret, sign(t, object{"alg": "HS256"}, claims, "HS256", i.secret)},
		"one PEM":       {pemRSA, sign(t, object{"alg": "RS256", "kid": "any"}, claims, "RS256", i.rsa)},
		"audience list": {set, sign(t, object{"alg": "ES256"}, claimsAt(c.now(), object{"aud": []string{"x", "gateway"}}), "ES256", i.p256)},
		"a day long":    {set, sign(t, object{"alg": "ES256"}, claimsAt(c.now(), object{"exp": c.now().Add(24 * time.Hour).Unix()}), "ES256", i.p256)},
		"skewed clock":  {set, sign(t, object{"alg": "ES256"}, claimsAt(c.now(), object{"iat": c.now().Add(time.Minute).Unix(), "nbf": c.now().Add(time.Minute).Unix()}), "ES256", i.p256)},
		"no iat":        {set, sign(t, object{"alg": "ES256"}, claimsAt(c.now(), object{"iat": nil}), "ES256", i.p256)},
		"fractions":     {set, sign(t, object{"alg": "ES256"}, claimsAt(c.now(), object{"exp": float64(c.now().Unix()) + 99.5}), "ES256", i.p256)},
	} {
		p, err := login.a.Login(Credentials{Authorization: "bearer " + login.token})
		if err != nil {
			_, reason := Reason(err)
			t.Errorf("%s: refused: %s", name, reason)
			continue
		}
		want := []string{"fleet/#"}
		if login.a == set {
			want = []string{"fleet/#", "news"} // and not hers: the token says what it grants
			if !p.Rights.MayPublish("alice/x") {
				t.Errorf("%s: the role grants nothing", name)
			}
		}
		if got := p.Rights.Grants().Subscribe; p.Name != "alice" || p.Via != ViaJWT || p.Expires.IsZero() || !slices.Equal(got, want) {
			t.Errorf("%s: got %+v with %q, want alice by jwt with %q", name, p, got, want)
		}
	}
}

// TestTokensThatAreRefused has one row for each way to get in with a token that should not let in.
func TestTokensThatAreRefused(t *testing.T) {
	i, c := theIssuer(), newClock()
	now := c.now()
	a := open(t, Options{JWT: i.options(t, "jwks", i.allKeys(t)), Now: c.now, Client: noNetwork(t), File: tempFile(t, wholeFile), Keys: true})
	es := func(changes object) string {
		return sign(t, object{"alg": "ES256", "kid": "p256"}, claimsAt(now, changes), "ES256", i.p256)
	}
	raw := func(claims string) string {
		return sign(t, object{"alg": "ES256", "kid": "p256"}, claims, "ES256", i.p256)
	}
	head := func(header object) string {
		if header["alg"] == nil {
			header["alg"] = "ES256"
		}
		return sign(t, header, claimsAt(now, nil), "ES256", i.p256)
	}
	gateway := func(v any) string { return es(object{"gateway": v}) }
	good := es(nil)
	if _, err := a.Login(Credentials{Token: good}); err != nil {
		t.Fatal("the good token is refused")
	}
	dot := strings.LastIndexByte(good, '.')
	flipped := []byte(good)
	if flipped[dot+10]++; !strings.ContainsRune("BCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxyz", rune(flipped[dot+10])) {
		flipped[dot+10] = 'A' // of base64 in any case, and another than it was
	}
	rsaPEM := []byte(publicPEM(t, &i.rsa.PublicKey))
	own := object{"alg": "RS256", "kid": "rsa", "jwk": jwk(t, &i.other.PublicKey, nil)}
	claims := `{"iss":"https://issuer.example","aud":"gateway","exp":` + fmt.Sprint(now.Add(time.Hour).Unix())
	many := make([]string, 10_000)
	for n := range many {
		many[n] = fmt.Sprint(n)
	}
	zero := strings.Repeat("A", 86)
	for _, row := range []struct{ id, token, reason string }{
		{"J01 none", part(t, object{"alg": "none"}) + "." + part(t, claimsAt(now, nil)) + "." + zero, "algorithm"},
		{"J01 none, unsigned", part(t, object{"alg": "none"}) + "." + part(t, claimsAt(now, nil)) + ".", "not a token"},
		{"J01 NONE", part(t, object{"alg": "NONE"}) + "." + part(t, claimsAt(now, nil)) + "." + zero, "algorithm"},
		{"J01 missing", part(t, object{"kid": "p256"}) + "." + part(t, claimsAt(now, nil)) + "." + zero, "no alg"},
		{"J01 null", part(t, `{"alg":null}`) + "." + part(t, claimsAt(now, nil)) + "." + zero, "no alg"},
		{"J01 number", part(t, `{"alg":1}`) + "." + part(t, claimsAt(now, nil)) + "." + zero, "no alg"},
		{"J01 lower case", part(t, object{"alg": "es256"}) + "." + part(t, claimsAt(now, nil)) + "." + zero, "algorithm"},
		{"J02 HS256 with the public key", sign(t, object{"alg": "HS256", "kid": "rsa"}, claimsAt(now, nil), "HS256", rsaPEM), "algorithm"},
		{"J03 RS256 of an EC key", sign(t, object{"alg": "RS256", "kid": "p256"}, claimsAt(now, nil), "RS256", i.rsa), "no such key"},
		{"J03 ES256 of an RSA key", sign(t, object{"alg": "ES256", "kid": "rsa"}, claimsAt(now, nil), "ES256", i.p256), "wrong signature"},
		{"J03 ES384 is not listed", sign(t, object{"alg": "ES384", "kid": "p384"}, claimsAt(now, nil), "ES384", i.p384), "algorithm"},
		{"J03 ES256 of another curve", sign(t, object{"alg": "ES256", "kid": "p384"}, claimsAt(now, nil), "ES256", i.p256), "wrong signature"},
		{"J04 path", head(object{"kid": "../../key"}), "no such key"},
		{"J04 SQL", head(object{"kid": "' OR 1=1 --"}), "no such key"},
		{"J04 long", head(object{"kid": strings.Repeat("k", 1000)}), "kid"},
		{"J04 10 KB", head(object{"kid": strings.Repeat("k", 10_000)}), "not a token"},
		{"J04 unknown", head(object{"kid": "nobody's"}), "no such key"},
		{"J04 empty", head(object{"kid": ""}), "kid"},
		{"J04 number", head(object{"kid": 7}), "kid"},
		{"J04 for encryption", sign(t, object{"alg": "RS256", "kid": "enc"}, claimsAt(now, nil), "RS256", i.other), "no such key"},
		{"J04 for wrapping", sign(t, object{"alg": "RS256", "kid": "wrap"}, claimsAt(now, nil), "RS256", i.other), "no such key"},
		{"J05 jwk", sign(t, own, claimsAt(now, nil), "RS256", i.other), "wrong signature"},
		{"J05 jku", sign(t, object{"alg": "RS256", "jku": "https://evil.example/keys"}, claimsAt(now, nil), "RS256", i.other), "wrong signature"},
		{"J05 x5u", sign(t, object{"alg": "RS256", "x5u": "https://evil.example/cert"}, claimsAt(now, nil), "RS256", i.other), "wrong signature"},
		{"J06 no exp", es(object{"exp": nil}), "exp is missing"},
		{"J06 past", es(object{"exp": now.Add(-time.Second).Unix()}), "expired"},
		{"J06 now", es(object{"exp": now.Unix()}), "expired"},
		{"J06 string", es(object{"exp": fmt.Sprint(now.Add(time.Hour).Unix())}), "exp is missing"},
		{"J06 huge", raw(claims[:strings.Index(claims, `"exp"`)] + `"exp":1e308,"sub":"alice"}`), "exp is missing"},
		{"J06 too huge for a number", raw(claims[:strings.Index(claims, `"exp"`)] + `"exp":1e999,"sub":"alice"}`), "exp is missing"},
		{"J06 null", raw(claims[:strings.Index(claims, `"exp"`)] + `"exp":null,"sub":"alice"}`), "exp is missing"},
		{"J06 negative", es(object{"exp": -1}), "exp is missing"},
		{"J06 ten years", es(object{"exp": now.AddDate(10, 0, 0).Unix()}), "longer than 24 hours"},
		{"J06 ten years, of unknown age", es(object{"exp": now.AddDate(10, 0, 0).Unix(), "iat": nil}), "longer than 24 hours"},
		{"J06 a day and a second", es(object{"exp": now.Add(24*time.Hour + time.Second).Unix()}), "longer than 24 hours"},
		{"J06 old and long", es(object{"iat": now.Add(-24 * time.Hour).Unix()}), "longer than 24 hours"},
		{"J07 nbf", es(object{"nbf": now.Add(61 * time.Second).Unix()}), "not yet valid"},
		{"J07 iat", es(object{"iat": now.Add(61 * time.Second).Unix()}), "not yet valid"},
		{"J07 nbf string", es(object{"nbf": "0"}), "no time"},
		{"J07 iat null", raw(claims + `,"sub":"alice","iat":null}`), "no time"},
		{"J08 no aud", es(object{"aud": nil}), "audience"},
		{"J08 another aud", es(object{"aud": "other"}), "audience"},
		{"J08 empty aud", es(object{"aud": ""}), "audience"},
		{"J08 list without us", es(object{"aud": []string{"a", "gateway2"}}), "audience"},
		{"J08 list with a number", es(object{"aud": []any{"gateway", 1}}), "audience"},
		{"J08 aud object", es(object{"aud": object{"gateway": 1}}), "audience"},
		{"J08 no iss", es(object{"iss": nil}), "issuer"},
		{"J08 another iss", es(object{"iss": "https://issuer.example/"}), "issuer"},
		{"J08 iss list", es(object{"iss": []string{"https://issuer.example"}}), "issuer"},
		{"J09 a million dots", strings.Repeat(".", 1_000_000), "not a token"},
		{"J09 dots below the limit", strings.Repeat(".", 8000), "not a token"},
		{"J09 two parts", good[:dot], "not a token"},
		{"J09 four parts", good + ".AAAA", "not a token"},
		{"J09 an empty part", strings.Replace(good, ".", "..", 1), "not a token"},
		{"J09 padding", good + "=", "not a token"},
		{"J09 standard alphabet", strings.Replace(good, good[:1], "+", 1), "not a token"},
		{"J09 line break", good[:20] + "\n" + good[20:], "not a token"},
		{"J09 too long", good[:dot] + strings.Repeat("A", 9000) + good[dot:], "not a token"},
		{"J10 stripped", good[:dot+1], "not a token"},
		{"J10 one bit", string(flipped), "wrong signature"},
		{"J10 trailing bytes", good + "AAAA", "wrong signature"},
		{"J10 loose end of base64", good[:len(good)-1] + loosened(good[len(good)-1]), "not base64url"},
		{"J10 another's claims", strings.Join([]string{good[:strings.IndexByte(good, '.')], part(t, claimsAt(now, object{"sub": "bob"})), good[dot+1:]}, "."), "wrong signature"},
		{"J11 sub twice", raw(claims + `,"sub":"alice","sub":"bob"}`), "repeated names"},
		{"J11 a list twice", raw(claims + `,"sub":"alice","gateway":{"deny":["#"],"deny":[]}}`), "repeated names"},
		{"J11 alg twice", sign(t, `{"alg":"ES256","alg":"ES256"}`, claimsAt(now, nil), "ES256", i.p256), "repeated names"},
		{"J11 Sub", es(object{"sub": nil, "Sub": "alice"}), "wrong case"},
		{"J11 Sub beside sub", es(object{"Sub": "bob"}), "wrong case"},
		{"J11 EXP beside exp", es(object{"EXP": 1}), "wrong case"},
		{"J11 Gateway", es(object{"Gateway": object{}}), "wrong case"},
		{"J11 ALG beside alg", head(object{"ALG": "none"}), "wrong case"},
		{"J11 crit", head(object{"crit": []string{"exp"}}), "crit"},
		{"J11 crit of nothing", head(object{"crit": []string{}}), "crit"},
		{"J11 CRIT", head(object{"CRIT": []string{"exp"}}), "wrong case"},
		{"J11 another type", head(object{"typ": "logout+jwt"}), "typ"},
		{"J11 type is a number", head(object{"typ": 1}), "typ"},
		{"J11 invalid UTF-8", raw(claims + `,"sub":"al` + "\xff" + `ice"}`), "one JSON object"},
		{"J11 claims are a list", raw(`[]`), "one JSON object"},
		{"J11 claims are null", raw(`null`), "one JSON object"},
		{"J11 claims and more", raw(claims + `,"sub":"alice"}{}`), "one JSON object"},
		{"J11 header is text", sign(t, `"ES256"`, claimsAt(now, nil), "ES256", i.p256), "one JSON object"},
		{"J12 no sub", es(object{"sub": nil}), "sub is no name"},
		{"J12 +", es(object{"sub": "+"}), "sub is no name"},
		{"J12 #", es(object{"sub": "#"}), "sub is no name"},
		{"J12 a/#", es(object{"sub": "a/#"}), "sub is no name"},
		{"J12 /", es(object{"sub": "a/b"}), "sub is no name"},
		{"J12 NUL", es(object{"sub": "a\x00"}), "sub is no name"},
		{"J12 empty", es(object{"sub": ""}), "sub is no name"},
		{"J12 ..", es(object{"sub": ".."}), "sub is no name"},
		{"J12 number", es(object{"sub": 7}), "sub is no name"},
		{"J12 long", es(object{"sub": strings.Repeat("a", 65)}), "sub is no name"},
		{"J13 null", raw(claims + `,"sub":"alice","gateway":null}`), "no object"},
		{"J13 text", gateway(""), "no object"},
		{"J13 list", gateway([]string{"a"}), "no object"},
		{"J13 list null", gateway(object{"subscribe": nil}), "wrong type"},
		{"J13 list text", gateway(object{"subscribe": ""}), "wrong type"},
		{"J13 list number", gateway(object{"subscribe": 1}), "wrong type"},
		{"J13 list of numbers", gateway(object{"subscribe": []int{1}}), "wrong type"},
		{"J13 list of null", gateway(object{"deny": []any{nil}}), "wrong type"},
		{"J13 10,000", gateway(object{"subscribe": many}), "not a token"},
		{"J13 257", gateway(object{"subscribe": many[:257]}), "more than 256"},
		{"J13 bad filter", gateway(object{"subscribe": []string{"a/#/b"}}), "subscribe[0]"},
		{"J13 empty filter", gateway(object{"publish": []string{"a", ""}}), "publish[1]"},
		{"J13 $SYS", gateway(object{"subscribe": []string{"$SYS/#"}}), "operator"},
		{"J13 operator text", gateway(object{"operator": "true"}), "wrong type"},
		{"J13 operator null", gateway(object{"operator": nil}), "wrong type"},
		{"J13 roles text", gateway(object{"roles": "admin"}), "wrong type"},
		{"J13 misspelt deny", gateway(object{"subscribe": []string{"#"}, "denny": []string{"x"}}), "unknown member"},
		{"J13 Deny", gateway(object{"subscribe": []string{"#"}, "Deny": []string{"x"}}), "unknown member"},
		{"J14 r=0, s=0", good[:dot+1] + zero, "wrong signature"},
		{"J14 empty Ed25519", sign(t, object{"alg": "EdDSA", "kid": "ed"}, claimsAt(now, nil), "EdDSA", ed25519.NewKeyFromSeed(make([]byte, 32))), "wrong signature"},
	} {
		p, err := a.Login(Credentials{Authorization: "Bearer " + row.token})
		wantRefused(t, p, err)
		if _, reason := Reason(err); !strings.Contains(reason, row.reason) && reason != "the Authorization header is too long" {
			t.Errorf("%s: got reason %q, want %q", row.id, reason, row.reason)
		} else if len(reason) > 200 {
			t.Errorf("%s: the reason has %d bytes; it repeats the token", row.id, len(reason))
		}
		if p, err := a.Login(Credentials{Token: row.token}); err == nil {
			t.Errorf("%s as a first frame: got %+v", row.id, p)
		}
	}
}

// TestAlgorithmIsForItsCurve has a signature that is good but for the curve: made by a P-256 key, and written as long as
// one of P-384.
func TestAlgorithmIsForItsCurve(t *testing.T) {
	i, now := theIssuer(), newClock().now()
	v, err := newVerifier(&JWTOptions{Issuer: "https://issuer.example", Audience: "gateway", Algorithms: []string{"ES384"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	text := part(t, object{"alg": "ES384"}) + "." + part(t, claimsAt(now, nil))
	sum := sha512.Sum384([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.p256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 96)
	r.FillBytes(signature[:48])
	s.FillBytes(signature[48:])
	if err := jwt.SigningMethodES384.Verify(text, signature, &i.p256.PublicKey); err != nil {
		t.Fatalf("the library: got %v, want a signature that it takes", err)
	}
	key, err := newSigner(&i.p256.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = v.verify(text+"."+base64.RawURLEncoding.EncodeToString(signature), oneKey(key), now)
	if err == nil || err.Error() != "a wrong signature" {
		t.Errorf("got %v, want a wrong signature", err)
	}
}

// loosened returns a base64url character that stands for the same byte, but for bits that belong to no byte.
func loosened(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}

func TestFrontCheckAllocatesNothing(t *testing.T) {
	for name, s := range map[string]string{
		"a million dots": strings.Repeat(".", 1_000_000), "8000 dots": strings.Repeat(".", 8000), "a megabyte": strings.Repeat("a", 1<<20),
		"a token": "aaaa.bbbb.cccc", "four parts": "a.b.c.d",
	} {
		if got := testing.AllocsPerRun(100, func() { _ = isToken(s) }); got != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, got)
		}
	}
}
