package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A key is keyPrefix and 32 random bytes in base64url: nobody can guess one, and no weak one can be chosen, because
// nothing else is taken for a key.
const (
	keyPrefix   = "gwk_"
	secretBytes = 32
	secretChars = 43
)

// Digest is the SHA-256 of a secret: what is kept of it. To look one up in a map tells nothing about secrets by the time
// it takes. The time depends on the digest, and whoever cannot choose a digest of a kind but by hashing guesses learns
// nothing from it that leads to the 256 bits of the key behind another digest.
type Digest [sha256.Size]byte

// NewKey makes a key, "gwk_" and 43 characters of base64url. It is shown once; the access file has its digest.
func NewKey() string { return newSecret(keyPrefix) }

// newSecret returns the prefix and 32 bytes of crypto/rand, which does not fail.
func newSecret(prefix string) string {
	var secret [secretBytes]byte
	rand.Read(secret[:])
	return prefix + base64.RawURLEncoding.EncodeToString(secret[:])
}

// DigestOf returns the SHA-256 of the whole key, as `printf %s "$KEY" | sha256sum` does.
func DigestOf(key string) Digest { return sha256.Sum256([]byte(key)) }

// String returns 64 hex digits, as the access file has them.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// isSecret reports whether s has the form of what newSecret makes. It looks at the length first, so a long string costs
// nothing.
func isSecret(s, prefix string) bool {
	if len(s) != len(prefix)+secretChars || !strings.HasPrefix(s, prefix) {
		return false
	}
	for i := len(prefix); i < len(s); i++ {
		if !isBase64URL(s[i]) {
			return false
		}
	}
	return true
}

func isBase64URL(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// Entry is a principal of the access file that is not written yet.
type Entry struct {
	Name    string
	Key     Digest
	Expires time.Time // zero: never; kept to the second
	Grants  Grants
}

// Check reports what is wrong with the entry, in a sentence that names the list and holds nothing of the filters.
func (e *Entry) Check() error {
	if !CheckName(e.Name) {
		return errors.New("the name must be " + nameRule)
	}
	return e.Grants.check(true)
}

// YAML returns the entry as it stands below "principals:", indented by that many spaces. The entry must be sound.
func (e *Entry) YAML(indent int) string {
	margin := strings.Repeat(" ", indent)
	var b strings.Builder
	fmt.Fprintf(&b, "%s- name: %s\n%s  key_sha256: [%s]\n", margin, quote(e.Name), margin, quote(e.Key.String()))
	if !e.Expires.IsZero() {
		fmt.Fprintf(&b, "%s  expires: %s\n", margin, e.Expires.UTC().Format(time.RFC3339))
	}
	for _, l := range lists {
		filters := *l.of(&e.Grants)
		if len(filters) == 0 {
			continue
		}
		quoted := make([]string, len(filters))
		for i, f := range filters {
			quoted[i] = quote(f)
		}
		fmt.Fprintf(&b, "%s  %s: [%s]\n", margin, l, strings.Join(quoted, ", "))
	}
	if e.Grants.Operator {
		fmt.Fprintf(&b, "%s  operator: true\n", margin)
	}
	return b.String()
}

// quote writes a string as YAML's double-quoted scalar. Names and filters have no control characters, so these two are
// all that need an escape.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// HoldsKey reports whether a key stands anywhere in s, such as a URL.
func HoldsKey(s string) bool {
	for {
		at := strings.Index(s, keyPrefix)
		if at < 0 {
			return false
		}
		if s = s[at:]; len(s) >= len(keyPrefix)+secretChars && isSecret(s[:len(keyPrefix)+secretChars], keyPrefix) {
			return true
		}
		s = s[len(keyPrefix):]
	}
}
