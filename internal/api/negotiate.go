package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// accepted lists the media ranges that a request accepts (RFC 9110 section
// 12.5.1), in lower case, the most wanted first and otherwise in the client's
// order, and those that it refuses. Without the header everything is accepted.
// A lone * is how Java and old tools write */*.
func accepted(r *http.Request) (wanted, refused []string) {
	header := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(header) == "" {
		return []string{"*/*"}, nil
	}
	type weighed struct {
		name string
		q    float64
	}
	var ranges []weighed
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		if name = strings.ToLower(strings.TrimSpace(name)); name == "*" {
			name = "*/*"
		}
		if q := weight(params); q > 0 {
			ranges = append(ranges, weighed{name, q})
		} else if name != "*/*" { // that one only takes nothing more in
			refused = append(refused, name)
		}
	}
	slices.SortStableFunc(ranges, func(a, b weighed) int { return cmp.Compare(b.q, a.q) })
	for _, m := range ranges {
		wanted = append(wanted, m.name)
	}
	return wanted, refused
}

// weight is the q among the parameters of a media range: 1 if there is none.
func weight(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 1
			}
			return q
		}
	}
	return 1
}

// takes reports whether a media range takes a media type without parameters.
func takes(mediaRange, mediaType string) bool {
	if mediaRange == "*/*" || mediaRange == mediaType {
		return true
	}
	family, isFamily := strings.CutSuffix(mediaRange, "/*")
	return isFamily && strings.HasPrefix(mediaType, family+"/")
}

// pick is the first offer that a media range takes, unless the request refuses
// it and does not name it; "" if there is none.
func pick(mediaRange string, refused, offers []string) string {
	for _, offer := range offers {
		isRefused := slices.ContainsFunc(refused, func(r string) bool { return takes(r, offer) })
		if takes(mediaRange, offer) && (mediaRange == offer || !isRefused) {
			return offer
		}
	}
	return ""
}

// choose picks the offer that the request wants most, the first one where it
// does not care; "" if it takes none.
func choose(r *http.Request, offers ...string) string {
	wanted, refused := accepted(r)
	for _, mediaRange := range wanted {
		if offer := pick(mediaRange, refused, offers); offer != "" {
			return offer
		}
	}
	return ""
}
