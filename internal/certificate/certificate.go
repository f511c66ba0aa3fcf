// Package certificate makes a private CA, and certificates for servers that it
// signs, so that a local network can have TLS without the Internet.
package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// How long certificates hold: that of a server no longer than browsers accept.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 397 * 24 * time.Hour
	before     = time.Hour // for clocks that are behind
)

// Made says what Make has made.
type Made struct {
	CA, CAKey, Cert, Key string // paths
	NewCA                bool   // there was none
	Hosts                []string
	Until                time.Time // when Cert ends
}

// Make makes a server's certificate for hosts, names and addresses, signed by
// the CA in dir, which it makes if there is none. Keys get mode 0600. A server
// certificate that is there is replaced, a CA never.
func Make(dir string, hosts []string) (*Made, error) {
	m := &Made{
		CA: filepath.Join(dir, "ca.pem"), CAKey: filepath.Join(dir, "ca-key.pem"),
		Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server-key.pem"),
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ca, key, err := m.openCA()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, NotBefore: now.Add(-before), NotAfter: earlier(now.Add(serverLife), ca.NotAfter),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if slices.Contains(m.Hosts, host) {
			continue
		}
		m.Hosts = append(m.Hosts, host)
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	m.Until = template.NotAfter
	return m, issue(template, ca, key, m.Cert, m.Key)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// openCA reads the CA, or makes it.
func (m *Made) openCA() (*x509.Certificate, crypto.Signer, error) {
	_, err := os.Stat(m.CA)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(m.CAKey); err == nil {
			return nil, nil, fmt.Errorf("%q is there, but %q is not; put it back, or remove the key", m.CAKey, m.CA)
		}
		m.NewCA = true
		now := time.Now()
		template := &x509.Certificate{
			Subject: pkix.Name{CommonName: "Vulture Gateway private CA"}, NotBefore: now.Add(-before), NotAfter: now.Add(caLife),
			IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		if err := issue(template, nil, nil, m.CA, m.CAKey); err != nil {
			return nil, nil, err
		}
	}
	pair, err := tls.LoadX509KeyPair(m.CA, m.CAKey)
	if err != nil {
		return nil, nil, fmt.Errorf("the CA in %q and %q cannot be used: %w", m.CA, m.CAKey, err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA || time.Now().After(pair.Leaf.NotAfter) {
		return nil, nil, fmt.Errorf("%q is no CA that can sign now; remove it and its key to make another", m.CA)
	}
	return pair.Leaf, signer, nil
}

// issue makes a key and a certificate; without a CA it signs itself.
func issue(template, ca *x509.Certificate, signer crypto.Signer, certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return err
	}
	if ca == nil {
		ca, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := write(keyFile, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	return write(certFile, "CERTIFICATE", der, 0o644)
}

// write puts a file in the place of another in one step. What an earlier attempt,
// or somebody else, has left in the way goes: it may be a link, or open to others.
func write(path, kind string, der []byte, mode fs.FileMode) error {
	_ = os.Remove(path + ".new")
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}
