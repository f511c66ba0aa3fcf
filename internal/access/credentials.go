package access

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
)

// Credentials are what a caller shows. Of several, the first of these that there is decides, and it alone: a wrong one
// is never made good by another.
type Credentials struct {
	Ticket string // and the Origin that it comes from, "" for none
	Origin string

	// User and Roles are the values of the trusted headers; "" for none. The caller of Login vouches that they came from
	// a trusted proxy, and from nobody else.
	User  string
	Roles string

	Token         string // a key or token as such, as in the first frame of a WebSocket
	Authorization string // the value of the header

	// Certificate is the client's, and the caller of Login vouches that TLS has verified it. Nil for none.
	Certificate *x509.Certificate
	Issuers     []*x509.Certificate // of the certificate, up to a CA
}

// maxAuthorization is what the value of an Authorization header may have: a token of 8 KiB in Basic, and room for a user.
const maxAuthorization = 12 << 10

// parseAuthorization returns the key or token in the value of an Authorization header: Bearer (RFC 6750, 2.1), or the
// password of Basic (RFC 7617, 2), whoever the user. The error is a constant sentence.
func parseAuthorization(value string) (string, error) {
	if len(value) > maxAuthorization {
		return "", errors.New("the Authorization header is too long")
	}
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.Trim(rest, " ")
	switch {
	case rest == "":
		return "", errors.New("the Authorization header has no credentials")
	case strings.EqualFold(scheme, "Bearer"):
		return rest, nil
	case !strings.EqualFold(scheme, "Basic"):
		return "", errors.New("the Authorization header is neither Bearer nor Basic")
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(rest)
	if err != nil || strings.ContainsAny(rest, "\r\n") { // which the decoder skips
		return "", errors.New("the Basic credentials are not base64")
	}
	_, password, found := strings.Cut(string(pair), ":")
	if !found || password == "" {
		return "", errors.New("the Basic credentials have no password")
	}
	return password, nil
}

// certificateName returns the name that a client certificate gives its holder: the first URI, else the first DNS name,
// else the first e-mail address of its subject alternative names, else the common name (RFC 5280, 4.2.1.6). One that is
// no principal's name is refused, not passed over: what comes next in the certificate is for something else.
func certificateName(cert *x509.Certificate) (string, error) {
	name := cert.Subject.CommonName
	switch {
	case len(cert.URIs) > 0:
		name = cert.URIs[0].String()
	case len(cert.DNSNames) > 0:
		name = cert.DNSNames[0]
	case len(cert.EmailAddresses) > 0:
		name = cert.EmailAddresses[0]
	}
	if !CheckName(name) {
		return "", errors.New("the certificate's name is no principal's: it must be " + nameRule)
	}
	return name, nil
}

// splitRoles returns the roles in a header such as Remote-Groups: a list with commas between.
func splitRoles(value string) []string {
	var roles []string
	for role := range strings.SplitSeq(value, ",") {
		if role = strings.TrimSpace(role); isRole(role) {
			roles = append(roles, role)
		}
	}
	return roles
}
