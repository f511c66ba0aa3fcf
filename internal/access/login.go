package access

import (
	"crypto/x509"
	"slices"
	"time"
)

// Login says who the caller is. Without credentials that is [Authenticator.Anonymous], with wrong ones an
// [ErrUnauthenticated], whatever is wrong with them.
func (a *Authenticator) Login(c Credentials) (*Principal, error) {
	s := a.state.Load()
	switch {
	case a.options.None:
		return s.anonymous, nil
	case c.Ticket != "":
		return a.redeem(c.Ticket, c.Origin)
	case c.User != "" && a.options.Header:
		return a.byHeader(s, c.User, c.Roles)
	case c.Token != "" && a.takesSecrets():
		return a.bySecret(s, c.Token)
	case c.Authorization != "" && a.takesSecrets():
		secret, err := parseAuthorization(c.Authorization)
		if err != nil {
			return nil, refuse(ViaKey, err.Error())
		}
		return a.bySecret(s, secret)
	case c.Token != "":
		return nil, refuse(ViaKey, "neither keys nor tokens are accepted")
	case c.Certificate != nil && a.options.MTLS:
		return a.byCertificate(s, c.Certificate)
	}
	return s.anonymous, nil
}

// takesSecrets reports whether keys or tokens are accepted. If not, an Authorization header is somebody else's, such
// as that of a proxy which asks for a password itself, and does not count as credentials.
func (a *Authenticator) takesSecrets() bool { return a.options.Keys || a.tokens != nil }

// Anonymous returns who callers without credentials are: with GATEWAY_AUTH=none everybody with the rights to everything,
// else nobody with what the access file grants to them.
func (a *Authenticator) Anonymous() *Principal { return a.state.Load().anonymous }

// bySecret takes a key for a key and everything else for a token.
func (a *Authenticator) bySecret(s *state, secret string) (*Principal, error) {
	if isSecret(secret, keyPrefix) && a.options.Keys {
		return a.byKey(s, DigestOf(secret))
	}
	if a.tokens == nil {
		return nil, refuse(ViaKey, "not a key")
	}
	if s.keys == nil {
		return nil, refuse(ViaJWT, "the keys that tokens are signed with are not known yet")
	}
	now := a.options.Now()
	id, signer, err := a.tokens.verify(secret, s.keys, now)
	if err != nil {
		return nil, refuse(ViaJWT, err.Error())
	}
	proof := proof{signer: signer, roles: id.roles, own: id.grants, expires: id.expires}
	return a.admit(s, ViaJWT, id.name, proof)
}

func (a *Authenticator) byKey(s *state, digest Digest) (*Principal, error) {
	principal := s.file.holders[digest]
	switch {
	case principal == nil:
		return nil, refuse(ViaKey, "no such key")
	case a.over(principal):
		return nil, refuse(ViaKey, "expired")
	}
	return principal, nil
}

func (a *Authenticator) byHeader(s *state, user, roles string) (*Principal, error) {
	if !CheckName(user) {
		return nil, refuse(ViaHeader, "the user's name is no principal's: it must be "+nameRule)
	}
	return a.admit(s, ViaHeader, user, proof{roles: splitRoles(roles)})
}

func (a *Authenticator) byCertificate(s *state, cert *x509.Certificate) (*Principal, error) {
	name, err := certificateName(cert)
	if err != nil {
		return nil, refuse(ViaMTLS, err.Error())
	}
	return a.admit(s, ViaMTLS, name, proof{expires: cert.NotAfter})
}

// admit lets somebody in whose credentials are good.
func (a *Authenticator) admit(s *state, via Via, name string, shown proof) (*Principal, error) {
	principal, err := s.file.principal(via, name, shown)
	if err != nil {
		return nil, refuse(via, err.Error())
	}
	if a.over(principal) {
		return nil, refuse(via, "expired")
	}
	return principal, nil
}

// over reports whether the principal's time has come.
func (a *Authenticator) over(p *Principal) bool {
	return !p.Expires.IsZero() && !a.options.Now().Before(p.Expires)
}

// principal puts a principal together from the file and what was shown. A token brings its rights along; those of the
// file's principal of the same name are for who shows its key, and for whom a certificate or a proxy gives that name.
// The error is a sentence.
func (f *File) principal(via Via, name string, shown proof) (*Principal, error) {
	p := &Principal{Name: name, Via: via, Expires: shown.expires, proof: shown}
	grants := []Grants{f.authenticated, shown.own}
	if account := f.principals[name]; account != nil && via != ViaJWT {
		grants = slices.Clone(account.grants)
		p.Rights = account.rights
		p.Expires = earlier(p.Expires, account.expires)
	}
	for _, role := range shown.roles {
		if g, ok := f.roles[role]; ok {
			grants = append(grants, g)
			p.Rights = nil
		}
	}
	if p.Rights == nil {
		var err error
		if p.Rights, err = Compile(name, grants...); err != nil {
			return nil, err
		}
	}
	if shown.narrowed {
		p.Rights = p.Rights.Narrow(shown.topics)
	}
	return p, nil
}

// earlier returns the earlier of two times; the zero time is never.
func earlier(x, y time.Time) time.Time {
	if x.IsZero() || !y.IsZero() && y.Before(x) {
		return y
	}
	return x
}

// Revalidate says what has become of a principal: the same with the rights that are in force now, or [ErrExpired], or
// [ErrRevoked]. If nothing changed, it is p itself. It does not ask for the credentials again.
func (a *Authenticator) Revalidate(p *Principal) (*Principal, error) {
	s := a.state.Load()
	next := s.anonymous
	switch p.Via {
	case ViaKey:
		if account := s.file.keys[p.proof.digest]; account == nil || account.name != p.Name {
			return nil, ErrRevoked
		}
	case ViaJWT:
		if s.keys == nil || !s.keys.has(p.proof.signer) {
			return nil, ErrRevoked
		}
	}
	if p.Name != "" {
		var err error
		if next, err = s.file.principal(p.Via, p.Name, p.proof); err != nil {
			return nil, ErrRevoked
		}
	}
	if a.over(next) {
		return nil, ErrExpired
	}
	if next.Rights.Class() == p.Rights.Class() && next.Expires.Equal(p.Expires) {
		return p, nil
	}
	return next, nil
}

// IssueTicket makes a ticket for the principal: whoever brings it to Login within [TicketLife], once, is let in as the
// principal. See [Tickets.Issue].
func (a *Authenticator) IssueTicket(p *Principal, origin string, topics []string) (string, error) {
	return a.tickets.Issue(p, origin, topics)
}

// redeem lets in whoever brings a ticket, if its principal would still be let in.
func (a *Authenticator) redeem(ticket, origin string) (*Principal, error) {
	p, err := a.tickets.Redeem(ticket, origin)
	if err != nil {
		return nil, err
	}
	if p, err = a.Revalidate(p); err != nil {
		return nil, refuse(ViaTicket, "its principal is "+err.Error())
	}
	return p, nil
}
