package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reports collects what an Authenticator tells.
type reports struct {
	mu    sync.Mutex
	all   []string
	notes []string
}

func (r *reports) report(what Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprintf("%s: %v", what.Source, what.Err))
}

func (r *reports) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, s)
}

// lines returns copies of the reports and the notes so far.
func (r *reports) lines() (all, notes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all), slices.Clone(r.notes)
}

func (r *reports) has(s string) bool {
	all, _ := r.lines()
	return slices.ContainsFunc(all, func(line string) bool { return strings.Contains(line, s) })
}

// TestFileIsReadAgainWhenItChanges takes each way in which a file changes; each tells those who wait.
func TestFileIsReadAgainWhenItChanges(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "access.yaml")
	file := func(n int) string { return fmt.Sprintf("anonymous: {subscribe: [\"%d\"]}", n) }
	write(t, path, file(0))
	var told reports
	a := open(t, Options{Keys: true, File: path, Report: told.report, Note: told.note})
	n := 0
	for name, change := range map[string]func(){
		"another file in its place": func() { write(t, path, file(n)) },
		"written over": func() {
			if err := os.WriteFile(path, []byte(file(n)), 0o600); err != nil {
				t.Error(err)
			}
		},
		"away and back": func() {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
			write(t, path, file(n))
		},
		"a link to another folder is turned": func() { // as Kubernetes does
			target := filepath.Join(folder, fmt.Sprint("..", n))
			if err := os.Mkdir(target, 0o700); err != nil {
				t.Error(err)
			}
			write(t, filepath.Join(target, "f"), file(n))
			if err := os.Symlink(filepath.Join(target, "f"), path+".link"); err != nil {
				t.Error(err)
			}
			if err := os.Rename(path+".link", path); err != nil {
				t.Error(err)
			}
		},
	} {
		n++
		change()
		eventually(t, "read after: "+name, func() bool {
			return a.Anonymous().Rights.MaySubscribe(fmt.Sprint(n))
		})
	}
	if generation, _ := a.Generation(); generation < 5 {
		t.Errorf("got generation %d, want at least 5", generation)
	}
	if _, notes := told.lines(); len(notes) != 0 {
		t.Errorf("got notes %q, want none", notes)
	}
}

func TestBadNewFileIsRefusedAndTheOldStays(t *testing.T) {
	path := tempFile(t, loginFile)
	var told reports
	a := open(t, Options{Keys: true, File: path, Report: told.report, Note: told.note})
	before, changed := a.Generation()
	for _, bad := range []string{"anonymous: {subscribe: [a#]}", "a: [", "principals: [{name: secret/value}]"} {
		write(t, path, bad)
		err := a.Reload(t.Context())
		var place *FileError
		if !errors.As(err, &place) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v, want the file and the place", bad, err)
		}
		if again := a.Reload(t.Context()); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("%q again: got %v, want %v", bad, again, err)
		}
		if _, err := a.Login(Credentials{Token: keyA}); err != nil {
			t.Errorf("%q: the old rights are gone", bad)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	if _, err := a.Login(Credentials{Token: keyA}); err != nil {
		t.Error("no file: the old rights are gone")
	}
	if after, _ := a.Generation(); after != before {
		t.Errorf("got generation %d, want %d still", after, before)
	}
	select {
	case <-changed:
		t.Error("somebody was told of a change, and there was none")
	default:
	}
	if told.has("<nil>") || !told.has("access_file: ") {
		all, _ := told.lines()
		t.Errorf("got reports %q, want refusals alone", all)
	}
	write(t, path, "# nobody\n")
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	p, err := a.Login(Credentials{Token: keyA})
	wantRefused(t, p, err)
}

// TestSameFileIsNoChange: others write into the folder, too.
func TestSameFileIsNoChange(t *testing.T) {
	path := tempFile(t, loginFile)
	var told reports
	a := open(t, Options{Keys: true, File: path, Report: told.report})
	before, _ := a.Generation()
	for range 3 {
		write(t, path, loginFile)
		if err := a.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := told.lines()
	if after, _ := a.Generation(); after != before || len(all) != 0 {
		t.Errorf("got generation %d and %q, want %d and no report", after, all, before)
	}
}

// TestWhatIsWrongIsSaidToWhoAsks: SIGHUP gets an answer, and a folder in which something else changes does not.
func TestWhatIsWrongIsSaidToWhoAsks(t *testing.T) {
	path := tempFile(t, loginFile)
	var told reports
	a := open(t, Options{Keys: true, File: path, Report: told.report})
	write(t, path, "a: [")
	for want := 1; want <= 3; want++ {
		if err := a.Reload(t.Context()); err == nil {
			t.Fatal("a bad file was taken")
		}
		if err := a.reload(t.Context(), a.file, false); err == nil {
			t.Fatal("a bad file was taken")
		}
		if all, _ := told.lines(); len(all) < want || len(all) > want+1 { // the watch may have been first
			t.Errorf("got reports %q, want %d", all, want)
		}
	}
	write(t, path, loginFile)
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, _ := told.lines()
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, _ := told.lines(); len(after) != len(before) {
		t.Errorf("got reports %q, want none of what is in force already", after[len(before):])
	}
}

func TestOpenRefusesABadFile(t *testing.T) {
	if _, err := Open(Options{Keys: true, File: tempFile(t, "a: 1")}); err == nil || !strings.Contains(err.Error(), "line 1, a: ") {
		t.Errorf("got %v, want the place", err)
	}
	if _, err := Open(Options{Keys: true, File: filepath.Join(t.TempDir(), "no", "file")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

func TestFileThatOthersCanReadIsNoted(t *testing.T) {
	path := tempFile(t, loginFile)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	var told reports
	a := open(t, Options{Keys: true, File: path, Note: told.note})
	for range 3 {
		if err := a.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, notes := told.lines(); len(notes) != 1 || !strings.Contains(notes[0], "chmod 600") {
		t.Errorf("got %q, want one note", notes)
	}
}

// TestAllAreToldOfEachChange waits as those do who look after open streams.
func TestAllAreToldOfEachChange(t *testing.T) {
	path := tempFile(t, loginFile)
	a := open(t, Options{Keys: true, File: path})
	p, err := a.Login(Credentials{Token: keyA})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for {
				_, changed := a.Generation()
				if _, err := a.Revalidate(p); err != nil {
					return
				}
				<-changed
			}
		})
	}
	for n := range 20 {
		write(t, path, loginFile+fmt.Sprintf("# %d\n", n))
		if err := a.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, "")
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// issuerServer serves a JWKS that a test sets; "" is a server that fails.
type issuerServer struct {
	*httptest.Server
	set   atomic.Pointer[string]
	asked atomic.Int64
}

func newIssuerServer(t testing.TB, set string) *issuerServer {
	s := &issuerServer{}
	s.set.Store(&set)
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		switch text := *s.set.Load(); text {
		case "":
			http.Error(w, "down", http.StatusServiceUnavailable)
		case "redirect":
			http.Redirect(w, r, "http://evil.example/", http.StatusFound)
		default:
			fmt.Fprint(w, text)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestJWKSIsKeptFreshAndTheLastGoodSetStays(t *testing.T) {
	i, c := theIssuer(), newClock()
	server := newIssuerServer(t, jwks(t, jwk(t, &i.rsa.PublicKey, object{"kid": "one"})))
	var told reports
	a := open(t, Options{
		JWT: &JWTOptions{Issuer: "https://issuer.example", Audience: "gateway", JWKS: server.URL + "/jwks?secret=canary"}, Client: server.Client(), Now: c.now,
		Report: told.report, Note: told.note, refreshEvery: 10 * time.Millisecond,
	})
	one := sign(t, object{"alg": "RS256", "kid": "one"}, claimsAt(c.now(), nil), "RS256", i.rsa)
	two := sign(t, object{"alg": "ES256", "kid": "two"}, claimsAt(c.now(), nil), "ES256", i.p256)
	good := func(token string) bool {
		_, err := a.Login(Credentials{Token: token})
		return err == nil
	}
	if !good(one) || good(two) {
		t.Fatalf("the first set: got %t, %t; want the first token alone", good(one), good(two))
	}
	serve := func(s string) { server.set.Store(&s) }
	again := func() {
		t.Helper()
		asked := server.asked.Load()
		eventually(t, "asked again", func() bool { return server.asked.Load() > asked+1 })
	}
	serve(jwks(t, jwk(t, &i.p256.PublicKey, object{"kid": "two"})))
	eventually(t, "the second set", func() bool { return good(two) && !good(one) })
	for what, want := range map[string]string{
		"":                                      "answers 503",
		"redirect":                              "answers 302",
		"<html>":                                "no JSON object",
		jwks(t, jwk(t, &i.weak.PublicKey, nil)): "1024 bits",
		strings.Repeat(" ", maxFile+1):          "larger than",
	} {
		serve(what)
		again()
		eventually(t, "told of: "+want, func() bool { return told.has(want) })
		if !good(two) {
			t.Errorf("%.20q: the last good set is gone", what)
		}
	}
	server.CloseClientConnections()
	server.Listener.Close()
	eventually(t, "told that the server is away", func() bool { return told.has("connection refused") })
	if !good(two) {
		t.Error("the server is away: the last good set is gone")
	}
	all, notes := told.lines()
	for _, line := range append(all, notes...) {
		if strings.Contains(line, "canary") {
			t.Errorf("the log has the URL's query: %s", line)
		}
	}
}

func TestJWKSMayBeAwayAtTheStart(t *testing.T) {
	i, c := theIssuer(), newClock()
	server := newIssuerServer(t, "")
	var told reports
	a := open(t, Options{
		JWT: &JWTOptions{Issuer: "https://issuer.example", Audience: "gateway", JWKS: server.URL}, Client: server.Client(), Now: c.now,
		Report: told.report, Note: told.note, refreshEvery: 10 * time.Millisecond,
	})
	if _, notes := told.lines(); len(notes) != 1 || !strings.Contains(notes[0], "tokens are refused until") {
		t.Errorf("got notes %q, want what is wrong", notes)
	}
	token := sign(t, object{"alg": "ES256"}, claimsAt(c.now(), nil), "ES256", i.p256)
	p, err := a.Login(Credentials{Token: token})
	wantRefused(t, p, err)
	set := i.allKeys(t)
	server.set.Store(&set)
	eventually(t, "the set", func() bool {
		_, err := a.Login(Credentials{Token: token})
		return err == nil
	})
}

// TestUnknownKeysAskNobody: what callers send does not make the gateway ask the issuer.
func TestUnknownKeysAskNobody(t *testing.T) {
	i, c := theIssuer(), newClock()
	server := newIssuerServer(t, i.allKeys(t))
	a := open(t, Options{JWT: &JWTOptions{Issuer: "https://issuer.example", Audience: "gateway", JWKS: server.URL}, Client: server.Client(), Now: c.now})
	asked := server.asked.Load()
	for n := range 100 {
		token := sign(t, object{"alg": "ES256", "kid": fmt.Sprint("unknown", n)}, claimsAt(c.now(), nil), "ES256", i.p256)
		p, err := a.Login(Credentials{Token: token})
		wantRefused(t, p, err)
	}
	if got := server.asked.Load(); got != asked || asked != 1 {
		t.Errorf("got %d requests, want 1 at the start and no more", got)
	}
}

// The key file is followed as the access file is: the last good key stays, and what it has signed ends with it.
func TestKeyFileIsReadAgainAndTheLastGoodKeyStays(t *testing.T) {
	i, c := theIssuer(), newClock()
	o := i.options(t, "key", publicPEM(t, &i.rsa.PublicKey))
	var told reports
	a := open(t, Options{JWT: o, Now: c.now, Report: told.report, Note: told.note})
	one := sign(t, object{"alg": "RS256"}, claimsAt(c.now(), nil), "RS256", i.rsa)
	two := sign(t, object{"alg": "ES256"}, claimsAt(c.now(), nil), "ES256", i.p256)
	good := func(token string) bool {
		_, err := a.Login(Credentials{Token: token})
		return err == nil
	}
	p, err := a.Login(Credentials{Token: one})
	if err != nil || good(two) {
		t.Fatalf("the first key: got %v, %t; want the first token alone", err, good(two))
	}
	write(t, o.KeyFile, publicPEM(t, &i.p256.PublicKey))
	eventually(t, "the second key", func() bool { return good(two) && !good(one) })
	if _, err := a.Revalidate(p); !errors.Is(err, ErrRevoked) {
		t.Errorf("the first key's principal: got %v, want it revoked", err)
	}
	for bad, want := range map[string]string{
		publicPEM(t, &i.weak.PublicKey): "1024 bits",
		"-----BEGIN canary":             "PEM block is damaged",
		"canary":                        "shorter than 32 bytes",
		string(i.secret):                "do not take each other's place",
	} {
		write(t, o.KeyFile, bad)
		eventually(t, "told of: "+want, func() bool { return told.has("jwt_key_file: ") && told.has(want) })
		if !good(two) {
			t.Errorf("%.20q: the last good key is gone", bad)
		}
	}
	if err := os.Remove(o.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(t.Context()); !errors.Is(err, os.ErrNotExist) || !good(two) {
		t.Errorf("no file: got %v and the last good key %t", err, good(two))
	}
	write(t, o.KeyFile, publicPEM(t, &i.rsa.PublicKey))
	if err := a.Reload(t.Context()); err != nil || !good(one) {
		t.Errorf("SIGHUP: got %v, and the key in force %t", err, good(one))
	}
	all, notes := told.lines()
	for _, line := range append(all, notes...) {
		if strings.Contains(line, "canary") || strings.Contains(line, string(i.secret)) {
			t.Errorf("the log has what the file holds: %s", line)
		}
	}
}
