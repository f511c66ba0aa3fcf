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
// order. Without the header everything is accepted.
func accepted(r *http.Request) []string {
	header := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(header) == "" {
		return []string{"*/*"}
	}
	type weighed struct {
		name string
		q    float64
	}
	var ranges []weighed
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		if q := weight(params); q > 0 {
			ranges = append(ranges, weighed{strings.ToLower(strings.TrimSpace(name)), q})
		}
	}
	slices.SortStableFunc(ranges, func(a, b weighed) int { return cmp.Compare(b.q, a.q) })
	names := make([]string, 0, len(ranges))
	for _, m := range ranges {
		names = append(names, m.name)
	}
	return names
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

// choose picks the offer that the request wants most, the first one where it
// does not care; "" if it takes none.
func choose(r *http.Request, offers ...string) string {
	for _, mediaRange := range accepted(r) {
		for _, offer := range offers {
			if takes(mediaRange, offer) {
				return offer
			}
		}
	}
	return ""
}
