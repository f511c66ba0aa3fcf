package access

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/vulturepi/gateway/internal/topic"
)

// FuzzFile: a file is refused at a place that it has, or all that it grants is well-formed. An entry added to it is
// there afterwards, with every byte that was there before.
func FuzzFile(f *testing.F) {
	for _, text := range []string{
		"", "# nobody", wholeFile, loginFile, "principals:\n- name: a\n", "principals:\r\n  - name: a\r\nroles: {}\r\n", "a: [",
		"anonymous: &a {subscribe: [x]}\nauthenticated: *a", "principals: [{name: a}]", "---\n---\n", "roles: {\"a b\": {deny: [\"#\"]}}",
		"principals:\n  - name: |\n      a\n    # end\n", "{principals: null}", "? principals\n: - name: a\n", "!!map {}", "%YAML 1.1\n---\n{}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile(data)
		if err != nil {
			var place *FileError
			if !errors.As(err, &place) || place.Line > 2+bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r")) || len(err.Error()) > 400 {
				t.Fatalf("got %v, want a place in the file", err)
			}
			return
		}
		for _, a := range file.Accounts() {
			if !CheckName(a.Name) {
				t.Fatalf("got a principal %q", a.Name)
			}
			checkLists(t, a.Rights)
		}
		checkLists(t, file.anonymous)
		for digest, a := range file.keys {
			if !slices.Contains(a.keys, digest) || file.principals[a.name] != a {
				t.Fatalf("the digest %s leads to %s, who does not have it", digest, a.name)
			}
		}
		entry := someEntry("a-new-one")
		after, err := insert(data, entry)
		if err != nil {
			return
		}
		at := commonPrefix(data, after)
		if !bytes.HasSuffix(after, data[at:]) || !bytes.Contains(after, []byte(entry.Key.String())) {
			t.Fatalf("got %q, want %q and an entry in between", after, data)
		}
	})
}

func checkLists(t *testing.T, r *Rights) {
	g := r.Grants()
	for _, l := range lists {
		for _, filter := range *l.of(&g) {
			if topic.CheckSystemFilter(filter) != nil || l != listDeny && filter[0] == '$' {
				t.Fatalf("got %s %q", l, filter)
			}
		}
	}
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// FuzzRights takes lists of filters with line breaks between, and compares with the rules said plainly.
func FuzzRights(f *testing.F) {
	for _, s := range [][5]string{
		{"a/#", "a/+/secret/#", "", "a/#", "a/b/secret"},
		{"sensors/+", "", "", "sensors/#", "sensors/a/b"},
		{"#\n$SYS/#", "b", "", "+/#", "$SYS/x"},
		{"a/+\na/+/#", "a/b\na/c", "a/#", "a/+", "a/b"},
		{"1\n2\n3\n4\n5\n6\n7\n+/8", "8\n9", "+", "7", "7"},
		{"+/+", "+/", "", "a/+", "a/"},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4])
	}
	f.Fuzz(func(t *testing.T, granted, denied, within, filter, name string) {
		sound := func(l list, text string) (filters []string) {
			for line := range strings.SplitSeq(text, "\n") {
				if l.check(line, true) == nil && len(filters) < 20 {
					filters = append(filters, expand(line, "me"))
				}
			}
			return filters
		}
		subscribe, deny, inside := sound(listSubscribe, granted), sound(listDeny, denied), sound(listDeny, within)
		r, err := Compile("me", Grants{Subscribe: subscribe, Publish: subscribe, Retain: inside, Deny: deny})
		if err != nil {
			t.Fatal(err)
		}
		if within != "" {
			r = r.Narrow(inside)
		}
		if topic.CheckName(name) == nil {
			matches := func(f string) bool { return naiveMatch(f, name) }
			want := slices.ContainsFunc(subscribe, matches) && !slices.ContainsFunc(deny, matches) &&
				(within == "" || slices.ContainsFunc(inside, matches))
			if receive, publish := r.MayReceive(name), r.MayPublish(name); receive != want || publish != want {
				t.Fatalf("%q: got receive %t, publish %t, want %t", name, receive, publish, want)
			}
			if got, want := r.MayRetain(name), want && slices.ContainsFunc(inside, matches); got != want {
				t.Fatalf("MayRetain(%q): got %t, want %t", name, got, want)
			}
		}
		if topic.CheckFilter(filter) == nil {
			covers := func(f string) bool { return naiveCovers(f, filter) }
			want := slices.ContainsFunc(subscribe, covers) && !slices.ContainsFunc(deny, covers) &&
				(within == "" || slices.ContainsFunc(inside, covers))
			if got := r.MaySubscribe(filter); got != want {
				t.Fatalf("MaySubscribe(%q): got %t, want %t", filter, got, want)
			}
		}
		r.Explain(ActionSubscribe, filter)
		r.Explain(ActionPublish, name)
	})
}

// naiveCovers tries names that inner matches: their levels at a wildcard appear in no filter, and # stands for none up
// to more levels than outer has.
func naiveCovers(outer, inner string) bool {
	const fresh = "no filter has this level"
	levels := strings.Split(inner, "/")
	for i, level := range levels {
		if level == "+" {
			levels[i] = fresh
		}
	}
	if levels[len(levels)-1] != "#" {
		return naiveMatch(outer, strings.Join(levels, "/"))
	}
	levels = levels[:len(levels)-1]
	for range strings.Count(outer, "/") + 3 {
		if len(levels) > 0 && !naiveMatch(outer, strings.Join(levels, "/")) {
			return false
		}
		levels = append(levels, fresh)
	}
	return true
}

// FuzzCache asks the same of a cache and of the rights, for names that are alike.
func FuzzCache(f *testing.F) {
	f.Add("a\nb\na\nab\n\na/b\nfleet/1/x\nfleet/001/x")
	f.Add("fleet/000/a\nfleet/000/secret/a\nfleet/pi-3/\x00\nfleet/pi-3/")
	f.Fuzz(func(t *testing.T, names string) {
		cache, all := NewCache(), []*Rights{rightsWith(3), rightsWith(4), rightsWith(20), {}, Everything(), Everything().Narrow([]string{"a"})}
		for name := range strings.SplitSeq(names+"\n"+names, "\n") {
			for i, r := range all {
				if got, want := cache.MayReceive(r, name), r.MayReceive(name); got != want {
					t.Fatalf("rights %d, %q: got %t, want %t", i, name, got, want)
				}
			}
		}
	})
}

// FuzzTokenForm compares the check in front with a regular way to say it.
func FuzzTokenForm(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a.b.c", "a.b", "a.b.c.d", ".b.c", "a..c", "a.b.", "a.b.c=", "a.b.c\n", "a.\x00.c", "eyJ.e-_.A"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts := strings.Split(s, ".")
		want := len(parts) == 3 && len(s) <= maxToken
		for _, p := range parts {
			want = want && p != "" && strings.Trim(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
		}
		if got := isToken(s); got != want {
			t.Fatalf("%q: got %t, want %t", s, got, want)
		}
		if _, err := parseToken(s); err == nil && !want {
			t.Fatalf("%q was taken apart", s)
		}
	})
}

// FuzzHoldsSecret compares the search in URLs with a regular way to say it.
func FuzzHoldsSecret(f *testing.F) {
	key := "gwk_" + strings.Repeat("a", secretChars)
	for _, s := range []string{"", key, key[:40], "/topics?after=" + key + "x", "gwk_gwk_" + key, "eyJ.eyJ.", "/a/eyJhbGciOiJub25lIn0.eyJ4IjoxfQ.", "eyJeyJ.eyJ", "eyJ.a.eyJ.eyJ.x", "gwk_%61"} {
		f.Add(s)
	}
	form := regexp.MustCompile(`gwk_[A-Za-z0-9_-]{43}|eyJ[A-Za-z0-9_-]*\.eyJ[A-Za-z0-9_-]*\.`)
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := HoldsSecret(s), form.MatchString(s); got != want {
			t.Fatalf("%q: got %t, want %t", s, got, want)
		}
	})
}

// FuzzCertificateName: the name is one of the certificate's, and the first of
// its kind; one that is no principal's is never passed over for another.
func FuzzCertificateName(f *testing.F) {
	f.Add("spiffe://a/b", "pi-3", "a@b", "cn")
	f.Add("", "*.example", "", "cn")
	f.Add("", "", "a@b", "")
	f.Add("", "", "", "fleet/#")
	f.Fuzz(func(t *testing.T, uri, dns, mail, common string) {
		cert, want := &x509.Certificate{Subject: pkix.Name{CommonName: common}}, common
		if mail != "" {
			cert.EmailAddresses, want = []string{mail, "other"}, mail
		}
		if dns != "" {
			cert.DNSNames, want = []string{dns, "other"}, dns
		}
		if u, err := url.Parse(uri); uri != "" && err == nil {
			cert.URIs, want = []*url.URL{u}, u.String()
		}
		if got, err := certificateName(cert); (err == nil) != CheckName(want) || err == nil && got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	})
}

// FuzzToken signs any header and claims. A token that lets in must let in at the library's own parser as well, with
// the same name and end.
func FuzzToken(f *testing.F) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	good := `{"iss":"i","aud":"a","sub":"alice","exp":1795694500,"iat":1795694400,"gateway":{"subscribe":["a/#"],"roles":["r"]}}`
	for _, s := range [][2]string{
		{`{"alg":"HS256"}`, good},
		{`{"alg":"HS256","typ":"JWT","kid":"x"}`, strings.Replace(good, `"a"`, `["b","a"]`, 1)},
		{`{"alg":"HS256","crit":["exp"]}`, good},
		{`{"alg":"none"}`, good},
		{`{"alg":"HS256","alg":"none"}`, good},
		{`{"alg":"HS256"}`, strings.Replace(good, `"sub"`, `"Sub"`, 1)},
		{`{"alg":"HS256"}`, strings.Replace(good, `"sub":"alice"`, `"sub":"alice","sub":"bob"`, 1)},
		{`{"alg":"HS256"}`, strings.Replace(good, "1795694500", "1795694500.5", 1)},
		{`{"alg":"HS256"}`, strings.Replace(good, "1795694500", "1e308", 1)},
		{`{"alg":"HS256"}`, strings.Replace(good, "1795694500", "17956945e2", 1)},
		{`[]`, `null`},
		{"{\"alg\":\"HS256\"}\n", " " + good},
	} {
		f.Add(s[0], s[1])
	}
	secret := []byte("0123456789abcdef0123456789abcdef")
	v, err := newVerifier(&JWTOptions{Issuer: "i", Audience: "a"}, true)
	if err != nil {
		f.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("i"), jwt.WithAudience("a"), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithLeeway(maxSkew), jwt.WithIssuedAt(), jwt.WithTimeFunc(func() time.Time { return now }))
	f.Fuzz(func(t *testing.T, header, claims string) {
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		signature, err := jwt.SigningMethodHS256.Sign(text, secret)
		if err != nil {
			t.Fatal(err)
		}
		token := text + "." + base64.RawURLEncoding.EncodeToString(signature)
		id, _, err := v.verify(token, oneKey{key: secret}, now)
		if err != nil {
			return
		}
		theirs, err := parser.Parse(token, func(*jwt.Token) (any, error) { return secret, nil })
		if err != nil {
			t.Fatalf("%s . %s lets in, and the library says %v", header, claims, err)
		}
		subject, _ := theirs.Claims.GetSubject()
		expires, _ := theirs.Claims.GetExpirationTime()
		if id.name != subject || !CheckName(id.name) || id.expires.Sub(expires.Time).Abs() > time.Second {
			t.Fatalf("%s: got %s until %s, the library says %s until %s", claims, id.name, id.expires, subject, expires)
		}
		if life := id.expires.Sub(now); life <= 0 || life > maxLife+maxSkew || id.grants.check(true) != nil || !utf8.ValidString(claims) {
			t.Fatalf("%s: got a life of %s and %+v", claims, life, id.grants)
		}
	})
}

// FuzzAuthorization compares Basic with net/http.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer x", "bearer  x ", "Basic", basic("u", "p"), basic("", "a:b"), basic("u", ""), "Basic ====", "Basic dTpw\n", "Digest x", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		secret, err := parseAuthorization(value)
		if err != nil {
			if secret != "" {
				t.Fatalf("%q: got %q and %v", value, secret, err)
			}
			return
		}
		if secret == "" || len(value) > maxAuthorization {
			t.Fatalf("%q: got %q", value, secret)
		}
		scheme, rest, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			if secret != strings.Trim(rest, " ") {
				t.Fatalf("%q: got %q", value, secret)
			}
			return
		}
		request := http.Request{Header: http.Header{"Authorization": {"Basic " + strings.Trim(rest, " ")}}}
		if _, password, ok := request.BasicAuth(); !ok || password != secret {
			t.Fatalf("%q: got %q, net/http says %q, %t", value, secret, password, ok)
		}
	})
}

// FuzzTickets runs a script in which each byte is an event, against a list.
func FuzzTickets(f *testing.F) {
	f.Add([]byte{0, 2, 2})
	f.Add([]byte{0, 8, 0x41, 0x41, 2, 3})
	f.Add([]byte{0, 0xFD, 0, 2, 0x22})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) < 200 { // below what one principal may hold
			checkTickets(t, script)
		}
	})
}

// FuzzLogin shows anything as anything: nobody is let in but by what is known.
func FuzzLogin(f *testing.F) {
	f.Add("gwk_"+strings.Repeat("A", 43), "alice", "viewer")
	f.Add("gwt_"+strings.Repeat("A", 43), "..", ",,")
	f.Add("a.b.c", "+", "Domain Admins")
	a := open(f, Options{Keys: true, Header: true, File: tempFile(f, strings.ReplaceAll(loginFile, DigestOf(keyA).String(), digestA)), Now: newClock().now})
	f.Fuzz(func(t *testing.T, secret, user, roles string) {
		for _, c := range []Credentials{{Token: secret}, {Authorization: "Bearer " + secret}, {Authorization: basic(user, secret)}, {Ticket: secret}} {
			p, err := a.Login(c)
			switch {
			case secret == "" && err == nil && p == a.Anonymous(), secret == keyB && err == nil && p.Name == "pi-3":
			case err == nil:
				t.Fatalf("%+v lets in %+v", c, p)
			case !errors.Is(err, ErrUnauthenticated):
				t.Fatalf("%+v: got %v", c, err)
			}
		}
		p, err := a.Login(Credentials{User: user, Roles: roles})
		if (err == nil) != (user == "" || CheckName(user)) || err == nil && (p.Name != user || p.Rights.Operator() && !strings.Contains(roles, "Domain Admins")) {
			t.Fatalf("%q with %q: got %+v, %v", user, roles, p, err)
		}
	})
}
