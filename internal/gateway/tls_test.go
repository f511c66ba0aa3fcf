package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever else changes in the folder of the certificates, what is wrong with
// them is said once.
func TestBadCertificatesAreToldOnce(t *testing.T) {
	dir := t.TempDir()
	c := &certificates{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem")}
	var told strings.Builder
	log := NewLog("text", "info", &told)
	for range 3 {
		c.again(log.Logger)
	}
	for _, path := range []string{c.certFile, c.keyFile} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		c.again(log.Logger)
	}
	log.Close()
	for _, want := range []string{"GATEWAY_TLS_CERT_FILE: the file cannot be read", "GATEWAY_TLS_KEY_FILE: it is not the key"} {
		if n := strings.Count(told.String(), want); n != 1 {
			t.Errorf("%q is said %d times, want once:\n%s", want, n, told.String())
		}
	}
}
