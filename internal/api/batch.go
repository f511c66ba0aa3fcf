package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/wire"
)

const typeNDJSON = "application/x-ndjson"

// Bounds of a batch that is an array. A stream has none.
const (
	maxBatch      = 10_000
	maxBatchBytes = 16 << 20
	resultRoom    = 512 // of each result, besides as much as its object has
	sliceHeader   = 24
)

// paramResults says which results of a batch stream are written: all, or errors.
const paramResults = "results"

// postBatch is POST /publish/batch: many messages, each with its own outcome.
func (s *Server) postBatch(w http.ResponseWriter, r *http.Request) {
	query, bad := queryOnce(r, paramResults)
	key, failures := "", query.Get(paramResults) == "errors"
	if bad == nil && query.Has(paramResults) && !failures && query.Get(paramResults) != "all" {
		bad = fieldProblem(wire.CodeInvalidParameter, "/results", "results must be all or errors.")
	}
	if bad == nil {
		key, bad = idempotencyKey(r)
	}
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if bad == nil && (err != nil || !isUTF8(params)) {
		mediaType = ""
	}
	switch {
	case bad != nil:
		writeProblem(w, bad)
	case mediaType == typeJSON && failures:
		writeProblem(w, fieldProblem(wire.CodeInvalidParameter, "/results", "An array is answered as a whole; results=errors is for application/x-ndjson."))
	case mediaType == typeJSON:
		s.batchArray(w, r)
	case mediaType == typeNDJSON || mediaType == "application/ndjson" || mediaType == "application/jsonl":
		s.batchStream(w, r, key, failures)
	default:
		writeProblem(w, problem(wire.CodeUnsupportedMediaType, "Send Content-Type: application/json with an array, or application/x-ndjson with one object a line, in UTF-8."))
	}
}

func isUTF8(params map[string]string) bool {
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "utf8", "us-ascii", "ascii": // ASCII is UTF-8
		return true
	}
	return false
}

// batchArray publishes the objects of an array and answers with an array.
func (s *Server) batchArray(w http.ResponseWriter, r *http.Request) {
	held := hold{budget: s.bodies}
	defer held.release()
	body, bad := s.readBody(w, r, s.maxArray(), &held)
	var objects []jsontext.Value
	if bad == nil {
		objects, bad = splitArray(body)
	}
	room := len(objects)*resultRoom + len(body)
	switch {
	case bad != nil:
	case s.draining.Load():
		bad = shuttingDown()
	case !held.Take(room):
		bad = noRoom()
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	s.once(w, r, body, max(room, answerRoom), func() *answer { return s.publishArray(objects, s.lasting(callerOf(w).quiet())) })
}

// maxArray is how large an array may be: reading it and answering it takes
// nearly three times as much.
func (s *Server) maxArray() int64 {
	return max(min(maxBatchBytes, s.bodies.limit/4), s.maxObject())
}

// splitArray gives the elements of a JSON array, which are parts of body; what
// is wrong inside of one is found out later and concerns that one only.
func splitArray(body []byte) ([]jsontext.Value, *wire.Problem) {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return nil, problem(wire.CodeEmptyBody, "The body is empty; send a JSON array of objects.")
	case trimmed[0] != '[' && json.Valid(trimmed):
		return nil, problem(wire.CodeNotAnArray, "The body is valid JSON, but not an array.")
	}
	offset := len(body) - len(trimmed)
	dec := jsontext.NewDecoder(bytes.NewBuffer(trimmed), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	malformed := func() *wire.Problem {
		if bytes.HasPrefix(trimmed, byteOrderMark) {
			return markedProblem()
		}
		return problem(wire.CodeInvalidJSON, fmt.Sprintf("The JSON breaks off or is malformed near byte %d; nothing was published.", offset+int(dec.InputOffset())))
	}
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
		return nil, malformed()
	}
	var objects []jsontext.Value
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return nil, malformed()
		}
		if len(objects) == maxBatch {
			return nil, problem(wire.CodeBatchTooLarge, fmt.Sprintf("The array has more than %d objects; send them as application/x-ndjson, which has no limit. Nothing was published.", maxBatch))
		}
		end := dec.InputOffset()
		objects = append(objects, jsontext.Value(trimmed[end-int64(len(v)):end]))
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, malformed()
	}
	if rest := trimmed[dec.InputOffset():]; len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return nil, problem(wire.CodeTrailingData, "More follows behind the array; nothing was published.")
	}
	return objects, nil
}

// publishArray publishes the objects. What it answers takes no more memory
// than resultRoom for each and what they take themselves.
func (s *Server) publishArray(objects []jsontext.Value, by *lasting) *answer {
	read := 0
	next := func() (batchItem, bool) {
		if read == len(objects) {
			return batchItem{}, false
		}
		read++
		return s.batchItem(objects[read-1], by), true
	}
	a := &answer{status: http.StatusOK, batch: make([][]byte, 0, len(objects)), nothing: true}
	s.pipeline(next, func(line []byte, res *batchResult, _ bool) bool {
		if line == nil {
			return true
		}
		index := len(a.batch)
		if len(line) > resultRoom-sliceHeader+len(objects[index]) {
			brief := *res.problem // a good outcome is never so long
			brief.Errors = nil
			line = appendResult(line[:0], index, &batchResult{problem: &brief})
		}
		a.batch = append(a.batch, bytes.Clone(line))
		if res.problem != nil {
			a.status = http.StatusMultiStatus
		}
		a.nothing = a.nothing && !res.sent()
		return true
	})
	return a
}

// maxObject is the largest JSON object that a message of the allowed size can
// need: every byte of a payload can take six (\u0000).
func (s *Server) maxObject() int64 { return int64(s.opts.MaxPayload)*6 + 16<<10 }

// batchItem reads one object of a batch and gets it ready to be published.
func (s *Server) batchItem(object []byte, by *lasting) batchItem {
	var f publishFields
	if bad := scanObject(object, f.set); bad != nil {
		return batchItem{problem: bad}
	}
	p, bad := f.publication(s.opts.MaxPayload)
	if bad != nil {
		return batchItem{problem: bad}
	}
	c, bad := by.now()
	if bad == nil {
		p.requestID = c.requestID
		bad = s.mayPublish(c, p)
	}
	if bad != nil {
		return batchItem{problem: bad}
	}
	return batchItem{publication: p}
}

// appendResult appends one line of a batch's answer: that of a good outcome by
// hand, because there may be very many.
func appendResult(dst []byte, index int, res *batchResult) []byte {
	if res.problem != nil {
		p := res.problem
		return append(dst, marshal(&wire.BatchResult{
			Index: index, Status: p.Status, Code: p.Code, Detail: p.Detail, Retryable: &p.Retryable, ReasonCode: p.ReasonCode, Errors: p.Errors,
		})...)
	}
	dst = strconv.AppendInt(append(dst, `{"index":`...), int64(index), 10)
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(res.status), 10)
	dst = append(dst, ',')
	body := len(dst)
	dst = wire.AppendPublishResult(dst, res.result)
	return append(dst[:body], dst[body+1:]...) // without its opening brace
}
