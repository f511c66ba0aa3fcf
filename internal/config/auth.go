package config

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
)

// Ways in which callers show who they are, for Auths.
const (
	AuthNone   = "none"
	AuthKeys   = "keys"
	AuthJWT    = "jwt"
	AuthMTLS   = "mtls"
	AuthHeader = "header"
)

var authWays = []string{AuthNone, AuthKeys, AuthJWT, AuthMTLS, AuthHeader}

// Auths reports whether GATEWAY_AUTH has this way.
func (c *Config) Auths(way string) bool { return slices.Contains(c.Auth, way) }

// checkAccess checks who may use the gateway.
func checkAccess(c *Config) ([]string, error) {
	for i, way := range c.Auth {
		way = strings.TrimSpace(way)
		switch c.Auth[i] = way; {
		case !slices.Contains(authWays, way):
			return nil, refuse(envAuth, "%q is unknown; write none, or a list of keys, jwt, mtls and header", way)
		case slices.Contains(c.Auth[:i], way):
			return nil, refuse(envAuth, "%s stands there twice; write it once", way)
		}
	}
	switch {
	case len(c.Auth) == 0:
		return nil, refuse(envAuth, "is empty; write none if everybody may do everything, or a list of keys, jwt, mtls and header")
	case c.Auths(AuthNone) && len(c.Auth) > 1:
		return nil, refuse(envAuth, "none stands alone: it lets everybody in, whatever they show; leave it out")
	case c.Auths(AuthNone) && c.AccessFile != "":
		return nil, refuse(envAccessFile, "is set, but %s=none asks nobody who they are; write %s=keys, or unset the file", envAuth, envAuth)
	case c.Auths(AuthHeader) && len(c.TrustedProxies) == 0:
		return nil, refuse(envTrustedProxies, "is not set, and %s=header believes what a proxy says; list the proxy's address", envAuth)
	case c.Auths(AuthHeader) && everybody(c.TrustedProxies) >= 0:
		return nil, refuse(envTrustedProxies, "%s is everybody, and %s=header lets them in as whomever they name; list the proxy's address", c.TrustedProxies[everybody(c.TrustedProxies)], envAuth)
	case c.Auths(AuthMTLS) && c.TLSClientCAFile == "":
		return nil, refuse(envTLSClientCA, "is not set, and %s=mtls needs it; name the file of the CA that signs clients' certificates", envAuth)
	case !c.Auths(AuthMTLS) && c.TLSClientCAFile != "":
		return nil, refuse(envTLSClientCA, "is set, but %s does not have mtls; add it, or unset the file", envAuth)
	}
	for _, way := range []string{AuthKeys, AuthMTLS, AuthHeader} {
		if c.Auths(way) && c.AccessFile == "" {
			return nil, refuse(envAccessFile, "is not set, and %s=%s needs it; make one with: gateway key new NAME --append FILE", envAuth, way)
		}
	}
	return nil, checkHeaders(c)
}

// everybody returns the index of the first network that has all addresses, or -1.
func everybody(networks CIDRs) int {
	return slices.IndexFunc(networks, func(n netip.Prefix) bool { return n.Bits() == 0 })
}

// checkHeaders checks the names of the trusted headers.
func checkHeaders(c *Config) error {
	const roles = "GATEWAY_AUTH_ROLES_HEADER"
	for _, h := range []struct{ variable, name string }{{"GATEWAY_AUTH_HEADER", c.AuthHeader}, {roles, c.AuthRolesHeader}} {
		switch {
		case !isToken(h.name):
			return refuse(h.variable, "%q is no name of a header; write for example Remote-User", h.name)
		case slices.ContainsFunc([]string{"Authorization", "Cookie", "Host", "Origin", "X-Forwarded-For"}, func(s string) bool { return strings.EqualFold(s, h.name) }):
			return refuse(h.variable, "%q has a meaning already; choose a header that only the proxy sets", h.name)
		}
	}
	if strings.EqualFold(c.AuthHeader, c.AuthRolesHeader) {
		return refuse(roles, "%q is GATEWAY_AUTH_HEADER, too; choose another", c.AuthRolesHeader)
	}
	return nil
}

// isToken accepts the name of a header field (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// checkTokens checks that what tokens need is there, and only with them.
func checkTokens(c *Config) ([]string, error) {
	values := []struct{ variable, value string }{
		{"GATEWAY_JWT_ISSUER", c.JWTIssuer}, {"GATEWAY_JWT_AUDIENCE", c.JWTAudience},
		{envJWTKeyFile, c.JWTKeyFile}, {envJWTJWKS, c.JWTJWKS}, {"GATEWAY_JWT_ALGORITHMS", strings.Join(c.JWTAlgorithms, ",")},
	}
	if !c.Auths(AuthJWT) {
		for _, v := range values {
			if v.value != "" {
				return nil, refuse(v.variable, "is set, but %s does not have jwt; add it, or unset the variable", envAuth)
			}
		}
		return nil, nil
	}
	for _, v := range values[:2] {
		if v.value == "" {
			return nil, refuse(v.variable, "is not set, and %s=jwt needs it: a token for somebody else must not let anybody in", envAuth)
		}
	}
	switch {
	case c.JWTKeyFile == "" && c.JWTJWKS == "":
		return nil, refuse(envJWTKeyFile, "is not set, nor is %s; set one of them: it says which signatures count", envJWTJWKS)
	case c.JWTKeyFile != "" && c.JWTJWKS != "":
		return nil, refuse(envJWTJWKS, "is set, and so is %s; set only one of them", envJWTKeyFile)
	}
	for i := range c.JWTAlgorithms {
		c.JWTAlgorithms[i] = strings.TrimSpace(c.JWTAlgorithms[i])
	}
	return nil, nil
}

// checkTLS checks the files of the public listener.
func checkTLS(c *Config) ([]string, error) {
	if c.TLSCertFile == "" && c.TLSClientCAFile != "" {
		return nil, refuse(envTLSCertFile, "is not set, and %s needs it: clients show certificates to servers that have one", envTLSClientCA)
	}
	notices, err := checkPair(envTLSCertFile, c.TLSCertFile, envTLSKeyFile, c.TLSKeyFile)
	if err != nil || c.TLSClientCAFile == "" {
		return notices, err
	}
	return notices, checkCertificates(envTLSClientCA, c.TLSClientCAFile)
}

// checkBrokerCertificate checks what the gateway shows to the broker.
func checkBrokerCertificate(c *Config) ([]string, error) {
	const cert, key = "GATEWAY_MQTT_CERT_FILE", "GATEWAY_MQTT_KEY_FILE"
	if c.MQTTCertFile != "" && (c.broker == nil || c.broker.Scheme != "mqtts" && c.broker.Scheme != "wss") {
		return nil, refuse(cert, "needs a %s that starts with mqtts:// or wss://; unset it, or use TLS", envMQTTURL)
	}
	return checkPair(cert, c.MQTTCertFile, key, c.MQTTKeyFile)
}

// checkPair checks a certificate and its key, both in PEM.
func checkPair(certVariable, certFile, keyVariable, keyFile string) ([]string, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case keyFile == "":
		return nil, refuse(keyVariable, "is not set, but %s is; set both", certVariable)
	case certFile == "":
		return nil, refuse(certVariable, "is not set, but %s is; set both", keyVariable)
	}
	if err := checkCertificates(certVariable, certFile); err != nil {
		return nil, err
	}
	cert, _, err := readFile(certVariable, certFile)
	if err != nil {
		return nil, err
	}
	key, mode, err := readFile(keyVariable, keyFile)
	if err != nil {
		return nil, err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return nil, refuse(keyVariable, "%q is not the key of %s in PEM form, or has a passphrase", keyFile, certVariable)
	}
	return openToOthers(keyVariable, keyFile, mode), nil
}

// checkCertificates checks that a file holds certificates.
func checkCertificates(variable, path string) error {
	pem, _, err := readFile(variable, path)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return refuse(variable, "%q holds no certificate in PEM form; it must start with -----BEGIN CERTIFICATE-----", path)
	}
	return nil
}
