package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/wire"
)

// FuzzIdentify: whatever a request shows, somebody is let in only by a key that
// is known or by a trusted proxy; everybody else is nobody, or gets one of the
// few answers. KEY stands for the good key.
func FuzzIdentify(f *testing.F) {
	for _, s := range []struct {
		authorization, query, user string
		trusted                    bool
	}{
		{"Bearer KEY", "", "", false}, {"bearer  KEY ", "filter=a", "", false}, {"Basic KEY", "", "", false}, {"Bearer KEY, Bearer KEY", "", "", false},
		{"", "token=KEY", "", false}, {"Bearer KEY", "ticket=x", "", false}, {"", "", "ada", true}, {"", "", "ada", false}, {"Bearer KEY", "", "../x", true},
		{"Bearer x", "", "ada", true}, {"", "after=a&KEY", "", false}, {"", "%74oken=x", "", false}, {"Digest KEY", "TOKEN=", "\x00", true},
	} {
		f.Add(s.authorization, s.query, s.user, s.trusted)
	}
	key, file := access.NewKey(), filepath.Join(f.TempDir(), "access.yaml")
	rules := fmt.Sprintf("principals: [{name: p, key_sha256: [%q], subscribe: [a]}]\n", access.DigestOf(key))
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		f.Fatal(err)
	}
	callers, err := access.Open(access.Options{Keys: true, Header: true, File: file})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(callers.Close)
	g := startRig(f, func(o *Options) {
		o.Access, o.UserHeader, o.RolesHeader = callers, "Remote-User", "Remote-Groups"
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	g.stop = append(g.stop, func() error { g.server.Drain(); return nil })
	peers := uint32(0)
	f.Fuzz(func(t *testing.T, authorization, query, user string, trusted bool) {
		authorization, query = strings.ReplaceAll(authorization, "KEY", key), strings.ReplaceAll(query, "KEY", key)
		uri := &url.URL{Path: "/topics", RawQuery: query}
		r := httptest.NewRequest(http.MethodGet, "/topics", nil)
		r.URL, r.RequestURI = uri, uri.RequestURI()
		peers++ // each from an address of its own: nobody has to wait
		r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(peers >> 16), byte(peers >> 8), byte(peers)}), 1).String()
		if trusted {
			r.RemoteAddr = "192.0.2.1:1"
			r.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", byte(peers>>16), byte(peers>>8), byte(peers)))
		}
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		if user != "" {
			r.Header["Remote-User"] = []string{user}
		}
		c := &caller{}
		bad := g.server.identify(c, r)
		if bad != nil {
			switch bad.Code {
			case wire.CodeUnauthenticated, wire.CodeTokenInURL, wire.CodeUntrustedHeader, wire.CodeRateLimited:
			default:
				t.Fatalf("got %+v", bad)
			}
			if strings.Contains(bad.Detail, key) || user != "" && len(user) > 8 && strings.Contains(bad.Detail, user) {
				t.Fatalf("the answer repeats what was shown: %s", bad.Detail)
			}
			return
		}
		if strings.Contains(query, key) {
			t.Fatalf("a key in the URL is let pass: %q", query)
		}
		switch c.principal.Via {
		case access.ViaHeader:
			if !trusted || c.principal.Name != user {
				t.Fatalf("%q from %s is let in as %s", user, r.RemoteAddr, c.principal.Name)
			}
		case access.ViaKey:
			scheme, rest, _ := strings.Cut(authorization, " ")
			plain, _ := base64.StdEncoding.DecodeString(strings.Trim(rest, " "))
			good := strings.EqualFold(scheme, "bearer") && strings.Trim(rest, " ") == key || strings.EqualFold(scheme, "basic") && strings.HasSuffix(string(plain), ":"+key)
			if !good || c.principal.Name != "p" {
				t.Fatalf("%q is let in as %s", authorization, c.principal.Name)
			}
		default:
			t.Fatalf("%q, %q is let in as %+v, who may do nothing", authorization, user, c.principal)
		}
	})
}
