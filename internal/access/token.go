package access

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxToken = 8 << 10        // bytes
	maxLife  = 24 * time.Hour // of a token, from its issue to its expiry
	maxSkew  = time.Minute    // by which an issuer's clock may be ahead
	maxKID   = 256            // bytes
)

// isToken reports whether s can be a signed token: three parts of base64url with two dots between them (RFC 7515, 7.1).
// It looks at the length first and allocates nothing, whatever s is.
func isToken(s string) bool {
	if len(s) > maxToken {
		return false
	}
	dots, part := 0, 0
	for i := range len(s) {
		switch {
		case s[i] == '.':
			if dots++; dots > 2 || part == 0 {
				return false
			}
			part = 0
		case isBase64URL(s[i]):
			part++
		default:
			return false
		}
	}
	return dots == 2 && part > 0
}

// token is a token that has been taken apart, and nothing more: nothing in it is true before its signature is checked.
type token struct {
	alg, kid  string
	signed    string // what the signature is over
	claims    members
	signature []byte
}

// members are those of one JSON object. Names are compared as they are written.
type members map[string]jsontext.Value

var strict = base64.RawURLEncoding.Strict()

// parseToken takes a token apart. The errors are constant sentences.
func parseToken(s string) (*token, error) {
	if !isToken(s) {
		return nil, errors.New("not a token")
	}
	first, last := strings.IndexByte(s, '.'), strings.LastIndexByte(s, '.')
	header, err := parseMembers(s[:first])
	if err != nil {
		return nil, errors.New("the header is not base64url of one JSON object without repeated names")
	}
	t := &token{signed: s[:last]}
	if err := t.readHeader(header); err != nil {
		return nil, err
	}
	if t.claims, err = parseMembers(s[first+1 : last]); err != nil {
		return nil, errors.New("the claims are not base64url of one JSON object without repeated names")
	}
	if t.signature, err = strict.DecodeString(s[last+1:]); err != nil {
		return nil, errors.New("the signature is not base64url")
	}
	return t, nil
}

// parseMembers decodes a part. The JSON must be well-formed, valid UTF-8, and without repeated names at any depth.
func parseMembers(part string) (members, error) {
	raw, err := strict.DecodeString(part)
	if err != nil {
		return nil, err
	}
	if jsontext.Value(raw).Kind() != '{' {
		return nil, errors.New("no object")
	}
	var m members
	return m, json.Unmarshal(raw, &m)
}

// readHeader reads what is used of the header. A key, or an address of one, that the header brings along (jwk, jku, x5c,
// x5u) is not looked at: whoever forges a token can put it there.
func (t *token) readHeader(header members) error {
	if header.confusing("alg", "kid", "typ", "crit") {
		return errors.New("the header has a name in the wrong case")
	}
	if header["crit"] != nil { // RFC 7515, 4.1.11: what must be understood, and nothing is
		return errors.New("the header has crit")
	}
	var ok bool
	if t.alg, ok = header.text("alg"); !ok {
		return errors.New("the header has no alg")
	}
	if header["kid"] != nil {
		if t.kid, ok = header.text("kid"); !ok || t.kid == "" || len(t.kid) > maxKID {
			return errors.New("the header's kid is no text, empty or too long")
		}
	}
	if header["typ"] == nil {
		return nil
	}
	typ, _ := header.text("typ")
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "jwt", "at+jwt":
		return nil
	}
	return errors.New("the header's typ is neither JWT nor at+jwt")
}

// confusing reports whether a name differs from one of known by its case alone, so that two readers may see two things.
func (m members) confusing(known ...string) bool {
	for name := range m {
		for _, k := range known {
			if name != k && strings.EqualFold(name, k) {
				return true
			}
		}
	}
	return false
}

// text returns a member that is a string.
func (m members) text(name string) (s string, ok bool) {
	return s, m[name].Kind() == '"' && json.Unmarshal(m[name], &s) == nil
}

// moment returns a member that is seconds since 1970 (RFC 7519, 2: NumericDate), in the years that RFC 3339 can write.
func (m members) moment(name string) (t time.Time, ok bool) {
	const year9999 = 253402300799
	var seconds float64
	if m[name].Kind() != '0' || json.Unmarshal(m[name], &seconds) != nil || seconds < 0 || seconds > year9999 {
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

// texts returns a member that is a list of strings.
func (m members) texts(name string) (list []string, ok bool) {
	var items []jsontext.Value
	if m[name].Kind() != '[' || json.Unmarshal(m[name], &items) != nil {
		return nil, false
	}
	for _, item := range items {
		var s string
		if item.Kind() != '"' || json.Unmarshal(item, &s) != nil {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

// identity is what the claims of a good token say.
type identity struct {
	name    string
	expires time.Time
	grants  Grants
	roles   []string
}

// readClaims checks the claims of a token whose signature is good. The errors are constant sentences, or name a list.
func (v *verifier) readClaims(m members, now time.Time) (id identity, err error) {
	if m.confusing("iss", "sub", "aud", "exp", "nbf", "iat", v.claim) {
		return id, errors.New("a claim has a name in the wrong case")
	}
	if issuer, ok := m.text("iss"); !ok || issuer != v.issuer {
		return id, errors.New("another issuer")
	}
	if !m.isFor(v.audience) {
		return id, errors.New("another audience")
	}
	if id.expires, err = m.life(now); err != nil {
		return id, err
	}
	var ok bool
	if id.name, ok = m.text("sub"); !ok || !CheckName(id.name) {
		return id, errors.New("sub is no name: it must be " + nameRule)
	}
	if m[v.claim] != nil {
		err = id.readGrants(m[v.claim])
	}
	return id, err
}

// isFor reports whether aud is the audience or a list with it.
func (m members) isFor(audience string) bool {
	if one, ok := m.text("aud"); ok {
		return one == audience
	}
	several, _ := m.texts("aud")
	return slices.Contains(several, audience)
}

// life checks when the token is good, and returns when that ends.
func (m members) life(now time.Time) (expires time.Time, err error) {
	expires, ok := m.moment("exp")
	if !ok {
		return expires, errors.New("exp is missing or no time")
	}
	if !now.Before(expires) {
		return expires, errors.New("expired")
	}
	if expires.Sub(now) > maxLife+maxSkew {
		return expires, errors.New("it lives longer than 24 hours")
	}
	for _, name := range [...]string{"nbf", "iat"} {
		if m[name] == nil {
			continue
		}
		from, ok := m.moment(name)
		if !ok {
			return expires, errors.New("nbf or iat is no time")
		}
		if from.Sub(now) > maxSkew {
			return expires, errors.New("not yet valid")
		}
		if name == "iat" && expires.Sub(from) > maxLife {
			return expires, errors.New("it lives longer than 24 hours")
		}
	}
	return expires, nil
}

// readGrants reads the claim with the lists and roles. An unknown member is refused: it may be a misspelt deny.
func (id *identity) readGrants(raw jsontext.Value) error {
	var m members
	if raw.Kind() != '{' || json.Unmarshal(raw, &m) != nil {
		return errors.New("the claim with the rights is no object")
	}
	for name := range m {
		ok := true
		switch name {
		case "operator":
			ok = json.Unmarshal(m[name], &id.grants.Operator) == nil && m[name].Kind() != 'n'
		case "roles":
			id.roles, ok = m.texts(name)
		case string(listPublish), string(listRetain), string(listSubscribe), string(listDeny):
			*list(name).of(&id.grants), ok = m.texts(name)
		default:
			return errors.New("the claim with the rights has an unknown member")
		}
		if !ok {
			return errors.New("the claim with the rights has a member of the wrong type: lists of texts, or true for operator")
		}
	}
	return id.grants.check(true)
}
