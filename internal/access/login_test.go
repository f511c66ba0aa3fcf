package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var keyA, keyB = keyPrefix + strings.Repeat("A", 43), keyPrefix + strings.Repeat("B", 43)

// loginFile has principals that keyA and keyB are the keys of.
var loginFile = `
anonymous: {subscribe: ["public/#"]}
authenticated: {subscribe: ["news/#"], deny: ["news/{principal}/hidden"]}
principals:
  - {name: dashboard, key_sha256: ["` + DigestOf(keyA).String() + `"], subscribe: ["fleet/#"]}
  - {name: pi-3, key_sha256: ["` + DigestOf(keyB).String() + `"], expires: 2026-11-26T13:00:00Z, publish: ["fleet/{principal}/#"]}
roles:
  viewer: {subscribe: ["roles/{principal}/#"]}
  "Domain Admins": {operator: true}
`

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestKeysLetIn(t *testing.T) {
	c := newClock()
	a := open(t, Options{Keys: true, File: tempFile(t, loginFile), Now: c.now})
	for name, shown := range map[string]Credentials{
		"Bearer":         {Authorization: "Bearer " + keyA},
		"bearer, spaces": {Authorization: "bEARER   " + keyA + " "},
		"Basic":          {Authorization: basic("", keyA)},
		"Basic, a user":  {Authorization: basic("anybody", keyA)},
		"first frame":    {Token: keyA},
	} {
		p, err := a.Login(shown)
		if err != nil || p.Name != "dashboard" || p.Via != ViaKey || !p.Expires.IsZero() {
			t.Errorf("%s: got %+v, %v; want dashboard by key", name, p, err)
			continue
		}
		want := "{Publish:[] Retain:[] Subscribe:[fleet/# news/#] Deny:[news/dashboard/hidden] Operator:false}"
		if got := fmt.Sprintf("%+v", p.Rights.Grants()); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if p, err := a.Login(Credentials{Token: keyB}); err != nil || !p.Expires.Equal(c.now().Add(time.Hour)) {
		t.Errorf("a key with an end: got %+v, %v", p, err)
	}
	c.advance(time.Hour)
	p, err := a.Login(Credentials{Token: keyB})
	wantRefused(t, p, err)
	if via, reason := Reason(err); via != ViaKey || reason != "expired" {
		t.Errorf("after its end: got %s, %q", via, reason)
	}
}

func TestWrongCredentialsLetNobodyIn(t *testing.T) {
	a := open(t, Options{Keys: true, File: tempFile(t, loginFile)})
	for _, authorization := range []string{
		"Bearer", "Bearer ", "Bearer  ", "Basic", "Basic ", "Digest " + keyA, keyA, "Bearer\t" + keyA, "Bearer " + keyA + " " + keyA,
		"Bearer " + keyA[:46], "Bearer " + keyA + "A", "Bearer " + keyPrefix + strings.Repeat("C", 43), "Bearer " + strings.ToLower(keyA),
		"Bearer " + DigestOf(keyA).String(), "Bearer gwt_" + keyA[4:], "Bearer x", "Bearer a.b.c", " Bearer " + keyA,
		"Basic " + keyA, basic(keyA, ""), basic("user", "wrong"), "Basic " + base64.StdEncoding.EncodeToString([]byte(keyA)),
		"Basic " + base64.RawStdEncoding.EncodeToString([]byte("u:"+keyA)), basic("a", "b:"+keyA),
		"Basic " + strings.Replace(basic("", keyA)[6:], "Q", "Q\n", 1), "Bearer " + strings.Repeat("x", 1<<20),
	} {
		p, err := a.Login(Credentials{Authorization: authorization})
		if err == nil {
			t.Errorf("%.60q lets in %s", authorization, p.Name)
			continue
		}
		wantRefused(t, p, err)
	}
	for _, token := range []string{"x", keyA[:46], "Bearer " + keyA, strings.Repeat("x", 1<<20)} {
		p, err := a.Login(Credentials{Token: token})
		wantRefused(t, p, err)
	}
}

func TestNobodyIsAnonymous(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		show Credentials
		via  Via
		want []string
	}{
		"no credentials":         {Options{Keys: true, File: tempFile(t, loginFile)}, Credentials{Origin: "https://x"}, ViaAnonymous, []string{"public/#"}},
		"no file":                {Options{Keys: true}, Credentials{}, ViaAnonymous, nil},
		"no way in":              {Options{}, Credentials{User: "alice", Authorization: "Bearer x", Certificate: new(x509.Certificate)}, ViaAnonymous, nil},
		"a proxy's own password": {Options{MTLS: true, File: tempFile(t, loginFile)}, Credentials{Authorization: basic("u", "p")}, ViaAnonymous, []string{"public/#"}},
		"none":                   {Options{None: true}, Credentials{}, ViaNone, []string{"#"}},
		"none, a wrong key":      {Options{None: true}, Credentials{Authorization: "Bearer wrong", Token: "x", Ticket: "y", User: "+"}, ViaNone, []string{"#"}},
	} {
		a := open(t, c.o)
		p, err := a.Login(c.show)
		if err != nil || p.Via != c.via || p.Name != "" || !slices.Equal(p.Rights.Grants().Subscribe, c.want) || p != a.Anonymous() {
			t.Errorf("%s: got %+v, %v; want nobody via %s with %q", name, p, err, c.via, c.want)
		}
		if again, err := a.Revalidate(p); again != p || err != nil {
			t.Errorf("%s again: got %+v, %v", name, again, err)
		}
	}
	a := open(t, Options{MTLS: true})
	p, err := a.Login(Credentials{Token: keyA})
	wantRefused(t, p, err) // a first frame with a token is for nobody else
}

func TestNoneStandsAlone(t *testing.T) {
	for _, o := range []Options{{None: true, Keys: true}, {None: true, MTLS: true}, {None: true, Header: true}, {None: true, JWT: &JWTOptions{}}} {
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "none stands alone") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

func TestCertificateGivesItsName(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	end := time.Date(2026, 11, 26, 20, 0, 0, 0, time.UTC)
	c := newClock()
	a := open(t, Options{MTLS: true, File: tempFile(t, loginFile), Now: c.now})
	for name, row := range map[string]struct {
		change func(*x509.Certificate)
		want   string
	}{
		"common name":        {func(x *x509.Certificate) { x.Subject.CommonName = "dashboard" }, "dashboard"},
		"DNS before CN":      {func(x *x509.Certificate) { x.Subject.CommonName = "root"; x.DNSNames = []string{"dashboard", "root"} }, "dashboard"},
		"e-mail":             {func(x *x509.Certificate) { x.EmailAddresses = []string{"alice@example.org", "root@example.org"} }, "alice@example.org"},
		"DNS before e-mail":  {func(x *x509.Certificate) { x.DNSNames = []string{"pi-3"}; x.EmailAddresses = []string{"root@x"} }, "pi-3"},
		"URI first":          {func(x *x509.Certificate) { x.URIs = []*url.URL{uri("pi-3")}; x.DNSNames = []string{"root"} }, "pi-3"},
		"URI is no name":     {func(x *x509.Certificate) { x.URIs = []*url.URL{uri("spiffe://x/root")}; x.DNSNames = []string{"pi-3"} }, ""},
		"DNS wildcard":       {func(x *x509.Certificate) { x.DNSNames = []string{"*.example.org"}; x.Subject.CommonName = "root" }, ""},
		"a wildcard of MQTT": {func(x *x509.Certificate) { x.Subject.CommonName = "+" }, ""},
		"levels":             {func(x *x509.Certificate) { x.Subject.CommonName = "a/#" }, ""},
		"no name":            {func(x *x509.Certificate) { x.Subject = pkix.Name{Organization: []string{"root"}} }, ""},
		"long":               {func(x *x509.Certificate) { x.Subject.CommonName = strings.Repeat("a", 65) }, ""},
	} {
		cert := selfSigned(t, theIssuer().p256, func(x *x509.Certificate) { x.NotAfter = end; row.change(x) })
		p, err := a.Login(Credentials{Certificate: cert})
		if row.want == "" {
			wantRefused(t, p, err)
			continue
		}
		if err != nil || p.Name != row.want || p.Via != ViaMTLS {
			t.Errorf("%s: got %+v, %v; want %s by mtls", name, p, err, row.want)
			continue
		}
		want := []string{"news/#"} // what everybody gets
		if row.want == "dashboard" {
			want = []string{"fleet/#", "news/#"}
		}
		if got := p.Rights.Grants().Subscribe; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		wantEnd := end
		if row.want == "pi-3" { // the file's is sooner
			wantEnd = c.now().Add(time.Hour)
		}
		if !p.Expires.Equal(wantEnd) {
			t.Errorf("%s: got an end at %s, want %s", name, p.Expires, wantEnd)
		}
	}
}

func TestTrustedHeaderGivesNameAndRoles(t *testing.T) {
	a := open(t, Options{Header: true, Keys: true, File: tempFile(t, loginFile)})
	for _, c := range []struct {
		user, roles, subscribe string
		operator               bool
	}{
		{"alice", "", "news/#", false},
		{"alice", "viewer", "news/# roles/alice/#", false},
		{"alice", " viewer , Domain Admins,nobody's,,\x00,", "news/# roles/alice/#", true},
		{"alice", "Viewer", "news/#", false},
		{"dashboard", "", "fleet/# news/#", false},
		{"dashboard", "viewer", "fleet/# news/# roles/dashboard/#", false},
	} {
		p, err := a.Login(Credentials{User: c.user, Roles: c.roles, Authorization: "Bearer wrong"})
		if err != nil || p.Name != c.user || p.Via != ViaHeader || !slices.Equal(p.Rights.Grants().Subscribe, split(c.subscribe)) || p.Rights.Operator() != c.operator {
			t.Errorf("%+v: got %+v, %v", c, p, err)
		}
	}
	for _, user := range []string{"+", "a/b", "al ice", "a,b", "..", strings.Repeat("a", 65), "DOMAIN\\alice"} {
		p, err := a.Login(Credentials{User: user})
		wantRefused(t, p, err)
	}
	without := open(t, Options{Keys: true, File: tempFile(t, loginFile)})
	if p, err := without.Login(Credentials{User: "dashboard"}); err != nil || p.Via != ViaAnonymous {
		t.Errorf("a header that nobody trusts: got %+v, %v; want nobody", p, err)
	}
}

// TestRightsOfAnEqualNameStayWithTheirProof: a token for a name that is in the file has only what it brings along.
func TestRightsOfAnEqualNameStayWithTheirProof(t *testing.T) {
	i, c := theIssuer(), newClock()
	a := open(t, Options{JWT: i.options(t, "key", string(i.secret)), Keys: true, File: tempFile(t, loginFile), Now: c.now})
	token := sign(t, object{"alg": "HS256"}, claimsAt(c.now(), object{"sub": "dashboard", "gateway": nil}), "HS256", i.secret)
	p, err := a.Login(Credentials{Token: token})
	if err != nil || !slices.Equal(p.Rights.Grants().Subscribe, []string{"news/#"}) {
		t.Errorf("got %+v, %v; want what everybody gets", p, err)
	}
}

func TestRevalidateFollowsTheFile(t *testing.T) {
	c := newClock()
	path := tempFile(t, loginFile)
	a := open(t, Options{Keys: true, MTLS: true, Header: true, File: path, Now: c.now})
	login := func(shown Credentials) *Principal {
		t.Helper()
		p, err := a.Login(shown)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	nobody, byKey := login(Credentials{}), login(Credentials{Token: keyA})
	byHeader := login(Credentials{User: "alice", Roles: "viewer"})
	byCert := login(Credentials{Certificate: selfSigned(t, theIssuer().p256, func(x *x509.Certificate) { x.Subject.CommonName = "dashboard" })})
	ending := login(Credentials{Token: keyB})
	for _, p := range []*Principal{nobody, byKey, byHeader, byCert, ending} {
		if again, err := a.Revalidate(p); again != p || err != nil {
			t.Errorf("%s, nothing changed: got %+v, %v; want the same", p.Via, again, err)
		}
	}
	reload := func(text string) {
		t.Helper()
		write(t, path, text)
		if err := a.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reload(strings.NewReplacer(`["fleet/#"]`, `["fleet/1/#"]`, `["public/#"]`, `["open"]`, `["roles/{principal}/#"]`, `["other"]`).Replace(loginFile))
	for p, want := range map[*Principal]string{
		nobody: "open", byKey: "fleet/1/# news/#", byHeader: "news/# other", byCert: "fleet/1/# news/#",
	} {
		again, err := a.Revalidate(p)
		if err != nil || again.Name != p.Name || again.Via != p.Via || !slices.Equal(again.Rights.Grants().Subscribe, split(want)) {
			t.Errorf("%s, other rights: got %+v, %v; want %q", p.Via, again, err, want)
		}
		if back, err := a.Revalidate(again); back != again || err != nil {
			t.Errorf("%s, again: got %+v, %v; want the same", p.Via, back, err)
		}
	}
	c.advance(time.Hour)
	if _, err := a.Revalidate(ending); !errors.Is(err, ErrExpired) {
		t.Errorf("a key after its end: got %v, want %v", err, ErrExpired)
	}
	reload(strings.Replace(loginFile, "2026-11-26T13:00:00Z", "2028-01-01T00:00:00Z", 1))
	if again, err := a.Revalidate(ending); err != nil || again.Expires.Year() != 2028 {
		t.Errorf("a key whose end was put off: got %+v, %v", again, err)
	}
	reload(strings.Replace(loginFile, DigestOf(keyA).String(), digestA, 1))
	if _, err := a.Revalidate(byKey); !errors.Is(err, ErrRevoked) {
		t.Errorf("a key that is gone: got %v, want %v", err, ErrRevoked)
	}
	reload(strings.Replace(loginFile, "name: dashboard", "name: other", 1))
	if _, err := a.Revalidate(byKey); !errors.Is(err, ErrRevoked) {
		t.Errorf("a key that is somebody else's: got %v, want %v", err, ErrRevoked)
	}
	if again, err := a.Revalidate(byCert); err != nil || !slices.Equal(again.Rights.Grants().Subscribe, []string{"news/#"}) {
		t.Errorf("a certificate without a principal: got %+v, %v; want what everybody gets", again, err)
	}
	c.advance(365 * 24 * time.Hour)
	if _, err := a.Revalidate(byCert); !errors.Is(err, ErrExpired) {
		t.Errorf("a certificate after its end: got %v, want %v", err, ErrExpired)
	}
}

func TestRevalidateFollowsTheKeysOfTokens(t *testing.T) {
	i, c := theIssuer(), newClock()
	o := i.options(t, "jwks", i.allKeys(t))
	a := open(t, Options{JWT: o, Now: c.now, File: tempFile(t, loginFile)})
	p, err := a.Login(Credentials{Token: sign(t, object{"alg": "ES256", "kid": "p256"}, claimsAt(c.now(), nil), "ES256", i.p256)})
	if err != nil {
		t.Fatal(err)
	}
	write(t, o.JWKS, jwks(t, jwk(t, &i.rsa.PublicKey, nil), jwk(t, &i.p256.PublicKey, object{"kid": "renamed"})))
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, err := a.Revalidate(p); again != p || err != nil {
		t.Errorf("its key is still there: got %+v, %v", again, err)
	}
	write(t, o.JWKS, jwks(t, jwk(t, &i.rsa.PublicKey, object{"kid": "p256"})))
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revalidate(p); !errors.Is(err, ErrRevoked) {
		t.Errorf("its key is gone: got %v, want %v", err, ErrRevoked)
	}
	c.advance(2 * time.Hour)
	write(t, o.JWKS, i.allKeys(t))
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revalidate(p); !errors.Is(err, ErrExpired) {
		t.Errorf("after its end: got %v, want %v", err, ErrExpired)
	}
}
