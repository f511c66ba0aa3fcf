package access

import (
	"crypto/x509"
	"errors"
	"time"
)

// Via says how a principal was recognised. The set is closed, so it can be a label of a metric.
type Via string

// The ways in.
const (
	ViaNone      Via = "none"      // GATEWAY_AUTH=none: nobody is asked
	ViaAnonymous Via = "anonymous" // no credentials were shown
	ViaKey       Via = "key"
	ViaJWT       Via = "jwt"
	ViaMTLS      Via = "mtls"
	ViaHeader    Via = "header"
	ViaTicket    Via = "ticket" // of refusals only: a ticket's principal keeps the way in of whoever took the ticket
)

// Principal is a caller who has been let in. It never changes, and any number of goroutines may read it.
type Principal struct {
	Name    string    // 1 to 64 bytes, see [CheckName]; "" for those without credentials
	Via     Via       // how the caller was recognised
	Rights  *Rights   // never nil
	Expires time.Time // from then on the principal is nobody; zero: never

	proof proof
}

// proof is what Revalidate needs in order to find out whether the principal would be let in again. It holds no secret.
type proof struct {
	digest  Digest    // of the key, for ViaKey
	signer  Digest    // of the public key or secret that signed the token, for ViaJWT
	roles   []string  // that were shown, for ViaJWT and ViaHeader
	own     Grants    // the lists in the token, for ViaJWT
	expires time.Time // of the token or certificate itself; zero: never

	certificate *x509.Certificate   // for ViaMTLS
	issuers     []*x509.Certificate // what was shown with it

	narrowed bool     // by a ticket
	topics   []string // to these filters
}

// MaxName is how many bytes a principal's name may have.
const MaxName = 64

// nameRule is CheckName in words.
const nameRule = "1 to 64 of A-Z a-z 0-9 . _ @ - (and neither . nor ..)"

// CheckName reports whether name can be a principal's: [A-Za-z0-9._@-]{1,64}, and not "." or "..". So a name is always
// one level of a topic, and never a wildcard.
func CheckName(name string) bool {
	if name == "" || len(name) > MaxName || name == "." || name == ".." {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '@' && c != '-' {
			return false
		}
	}
	return true
}

// The errors of Login and Revalidate. Their texts are constant, so they tell a caller nothing about the cause.
var (
	ErrUnauthenticated = errors.New("unauthenticated") // the credentials do not let anybody in
	ErrExpired         = errors.New("expired")         // they did, and their time is over
	ErrRevoked         = errors.New("revoked")         // they did, and do not any more
)

// refusal is an ErrUnauthenticated with its cause.
type refusal struct {
	via    Via
	reason string
}

func refuse(via Via, reason string) error { return &refusal{via, reason} }

func (r *refusal) Error() string        { return ErrUnauthenticated.Error() }
func (r *refusal) Is(target error) bool { return target == ErrUnauthenticated }

// Reason says, for the log and for metrics, which way in refused the caller and why. The reason is a constant sentence
// or a name that has been checked; it holds nothing of the credentials. For other errors than an ErrUnauthenticated of
// Login both are "".
func Reason(err error) (via Via, reason string) {
	var r *refusal
	if errors.As(err, &r) {
		return r.via, r.reason
	}
	return "", ""
}
