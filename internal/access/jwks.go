package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxSetKeys is how many keys a set may have: a token without kid is tried with each.
const maxSetKeys = 64

// keySet is a keySource of a JWKS, as it was when it was read.
type keySet []setKey

type setKey struct {
	signer
	alg, kid string // "" if the key has none
}

// find returns the key of that name, or all keys for a token that names none. A key that names an algorithm is for that
// one alone (RFC 7517, 4.4).
func (set keySet) find(alg, kid string) []signer {
	var found []signer
	for _, k := range set {
		if (kid == "" || kid == k.kid) && (k.alg == "" || k.alg == alg) {
			found = append(found, k.signer)
		}
	}
	return found
}

func (set keySet) has(id Digest) bool {
	return slices.ContainsFunc(set, func(k setKey) bool { return k.id == id })
}

// parseKeySet reads a JWKS. Keys that are for something else than signatures, or of a kind that is not known here, are
// left out, as RFC 7517, 5 says. A weak or damaged key, a private one and a secret refuse the whole set: somebody has
// made a mistake there that should not go unseen.
func parseKeySet(data []byte) (keySet, error) {
	var document struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil || document.Keys == nil {
		return nil, errors.New("it is no JSON object with a list of keys")
	}
	if len(document.Keys) > maxSetKeys {
		return nil, fmt.Errorf("it has more than %d keys", maxSetKeys)
	}
	var set keySet
	for i, raw := range document.Keys {
		key, use, err := parseSetKey(raw)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if use {
			set = append(set, key)
		}
	}
	if len(set) == 0 {
		return nil, errors.New("none of its keys is for checking signatures")
	}
	return set, nil
}

// parseSetKey reads one key of a set, and says whether it is to be used.
func parseSetKey(raw jsontext.Value) (key setKey, use bool, err error) {
	var m members
	if raw.Kind() != '{' || json.Unmarshal(raw, &m) != nil {
		return key, false, errors.New("it is no JSON object without repeated names")
	}
	if kty, _ := m.text("kty"); kty == "oct" || m["d"] != nil {
		return key, false, errors.New("it is secret; a set must have public keys alone")
	}
	if use, ok := m.text("use"); ok && use != "sig" {
		return key, false, nil
	}
	if operations, ok := m.texts("key_ops"); ok && !slices.Contains(operations, "verify") {
		return key, false, nil
	}
	jwk, err := jwkset.NewJWKFromRawJSON([]byte(raw), jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipAll: true})
	switch {
	case errors.Is(err, jwkset.ErrUnsupportedKey):
		return key, false, nil
	case err != nil:
		return key, false, errors.New("it is damaged")
	}
	key.alg, _ = m.text("alg")
	key.kid, _ = m.text("kid")
	key.signer, err = newSigner(jwk.Key())
	return key, err == nil, err
}

const (
	refreshEvery = time.Minute
	fetchTimeout = 10 * time.Second
)

// setSource is where a JWKS comes from: a file or an https URL.
type setSource struct {
	path   string // of a file; "" for a URL
	url    string
	client *http.Client
}

func newSetSource(where string, client *http.Client) (*setSource, error) {
	scheme, _, isURL := strings.Cut(where, "://")
	if !isURL {
		return &setSource{path: where}, nil
	}
	u, err := url.Parse(where)
	if err != nil || !strings.EqualFold(scheme, "https") || u.Host == "" || u.User != nil {
		return nil, errors.New("the address of a JWKS must be a file, or an https URL without a user name")
	}
	if client == nil {
		client = &http.Client{}
	}
	// A redirect may lead to http or anywhere; the address of the set is known, so it can be written down.
	mine := *client
	mine.Timeout = fetchTimeout
	mine.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &setSource{url: where, client: &mine}, nil
}

// read returns the document. The errors say what to do and hold nothing of it.
func (s *setSource) read(ctx context.Context, again bool) ([]byte, error) {
	if s.path != "" {
		data, _, err := readFile(s.path, again)
		return data, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, errors.New("the address of the JWKS cannot be asked")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		var failure *url.Error
		if errors.As(err, &failure) {
			err = failure.Err // without the URL, which may have a secret in its query
		}
		return nil, fmt.Errorf("the JWKS cannot be reached: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the JWKS cannot be had: its server answers %d, not 200", response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("the JWKS breaks off: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("the JWKS is larger than %d bytes", maxFile)
	}
	return data, nil
}
