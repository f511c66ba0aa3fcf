package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/vulturepi/gateway/wire"
)

// onlyParams refuses query parameters other than the named ones.
func onlyParams(r *http.Request, names ...string) *wire.Problem {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem(wire.CodeUnknownParameter, "The query string is malformed.")
	}
	var wrong []wire.FieldError
	for name := range query {
		if !slices.Contains(names, name) {
			wrong = append(wrong, wire.FieldError{Pointer: "/" + pointerEscape(name), Detail: "There is no such query parameter here."})
		}
	}
	if len(wrong) > 0 {
		slices.SortFunc(wrong, func(a, b wire.FieldError) int { return strings.Compare(a.Pointer, b.Pointer) })
		wrong = wrong[:min(len(wrong), maxFieldErrors)]
		return problem(wire.CodeUnknownParameter, "The route has no "+those(names), wrong...)
	}
	return nil
}

// those ends the sentence that a route has no such parameter.
func those(names []string) string {
	last := len(names) - 1
	switch last {
	case -1:
		return "query parameters."
	case 0:
		return "such query parameter; it has " + names[0] + "."
	}
	return "such query parameter; it has " + strings.Join(names[:last], ", ") + " and " + names[last] + "."
}

// queryOnce reads query parameters of which each may be given once.
func queryOnce(r *http.Request, names ...string) (url.Values, *wire.Problem) {
	if bad := onlyParams(r, names...); bad != nil {
		return nil, bad
	}
	query := r.URL.Query()
	return query, single(query)
}

// single refuses parameters that are given more than once.
func single(query url.Values, many ...string) *wire.Problem {
	for name, values := range query {
		if len(values) > 1 && !slices.Contains(many, name) {
			return fieldProblem(wire.CodeInvalidParameter, "/"+pointerEscape(name), "This parameter can be given once.")
		}
	}
	return nil
}

// pathTopic is what follows prefix in the path, percent-decoded once and
// otherwise as it is, if check lets it through.
func pathTopic(r *http.Request, prefix string, check func(string) error) (string, *wire.Problem) {
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), prefix))
	if err != nil {
		return "", fieldProblem(wire.CodeTopicUTF8, "/topic", "The topic in the path is not percent-encoded.")
	}
	if err := check(name); err != nil {
		return "", problemAt("/topic", err)
	}
	return name, nil
}

func qosOption(s string) (byte, *wire.Problem) {
	if s == "0" || s == "1" || s == "2" {
		return s[0] - '0', nil
	}
	return 1, invalidQoS()
}

func retainOption(s string) (bool, *wire.Problem) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, invalidRetain()
}

func invalidQoS() *wire.Problem {
	return fieldProblem(wire.CodeInvalidQoS, "/qos", "The QoS must be the number 0, 1 or 2.")
}

func invalidRetain() *wire.Problem {
	return fieldProblem(wire.CodeInvalidRetain, "/retain", "retain must be true or false.")
}

// pageLimit reads how many objects one answer may have.
func pageLimit(query url.Values, usual, most int) (int, *wire.Problem) {
	if !query.Has("limit") {
		return usual, nil
	}
	n, err := strconv.Atoi(query.Get("limit"))
	if err != nil || n < 1 || n > most {
		return 0, fieldProblem(wire.CodeInvalidParameter, "/limit", fmt.Sprintf("limit must be a number from 1 to %d.", most))
	}
	return n, nil
}
