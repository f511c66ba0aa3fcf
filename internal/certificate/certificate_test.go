package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

func TestServerCertificateIsSignedByTheCAForEachHost(t *testing.T) {
	dir := t.TempDir()
	first, err := Make(dir, []string{"gateway.lan", "192.168.1.5", "gateway.lan"})
	if err != nil || !first.NewCA {
		t.Fatalf("Make: got %+v, %v, want a new CA", first, err)
	}
	ca, err := os.ReadFile(first.CA)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Make(dir, []string{"other.lan"}) // by the same CA
	if err != nil || second.NewCA {
		t.Fatalf("Make again: got %+v, %v, want the same CA", second, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	check := func(host string, want bool) {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(second.Cert, second.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots}); (err == nil) != want {
			t.Errorf("%s: got %v, want verified %t", host, err, want)
		}
	}
	check("other.lan", true)
	check("gateway.lan", false)
	if second, err = Make(dir, []string{"gateway.lan", "192.168.1.5"}); err != nil {
		t.Fatal(err)
	}
	check("gateway.lan", true)
	check("192.168.1.5", true)
	for _, key := range []string{first.CAKey, first.Key} {
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, %v, want 0600", key, info.Mode(), err)
		}
	}
}

func TestCAIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	m, err := Make(dir, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(m.CA); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir, []string{"a"}); err == nil {
		t.Error("Make: got no error, though the CA's certificate is gone and its key is not")
	}
}

// What somebody has put in the place of a new file beforehand does not get the
// private key.
func TestKeyIsWrittenThroughNoLink(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, []byte("theirs"), 0o666); err != nil {
		t.Fatal(err)
	}
	first, err := Make(t.TempDir(), []string{"gateway.lan"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{first.CA, first.CAKey, first.Cert, first.Key} {
		if err := os.Symlink(elsewhere, filepath.Join(dir, filepath.Base(path)+".new")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Make(dir, []string{"gateway.lan"}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(elsewhere); err != nil || string(got) != "theirs" {
		t.Errorf("elsewhere: got %q, %v, want it as it was", got, err)
	}
}
