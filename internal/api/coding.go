package api

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"github.com/vulturepi/gateway/wire"
)

// compressed lets an answer of some size come with gzip, to those who accept it.
// Nothing is held for that: each write is compressed by itself.
func compressed(h http.HandlerFunc) http.HandlerFunc {
	return gzip1024(h)
}

var gzip1024 = func() func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.EnableZstd(false), gzhttp.CompressionLevel(statelessGzip))
	if err != nil { // the options are constant
		panic(err)
	}
	return wrap
}()

// statelessGzip keeps nothing between two writes.
const statelessGzip = -3

// gunzipBytes is about what undoing gzip takes.
const gunzipBytes = 48 << 10

// decodeBody undoes Content-Encoding (RFC 9110, 8.4), which h counts: from here
// on r.Body is the body as it was before. The bounds of a body are those of what
// comes out.
func decodeBody(w http.ResponseWriter, r *http.Request, h *hold) *wire.Problem {
	var codings []string
	for coding := range strings.SplitSeq(strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ",")), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && coding != "identity" { // that one changes nothing
			codings = append(codings, coding)
		}
	}
	switch strings.Join(codings, ", ") {
	case "":
		return nil
	case "gzip", "x-gzip":
		if !h.Take(gunzipBytes) {
			return noRoom()
		}
		r.Body = &gunzipped{Closer: r.Body, body: r.Body}
		r.ContentLength = -1
		return nil
	}
	w.Header().Set("Accept-Encoding", "gzip, identity") // RFC 9110, 15.5.16
	return problem(wire.CodeUnsupportedEncoding, "Send the body as it is, or with Content-Encoding: gzip.")
}

// gunzipped is a body without its gzip.
type gunzipped struct {
	io.Closer
	body io.Reader
	zip  *gzip.Reader // nil before the first Read
}

// errNotGzip says that a body is not what its Content-Encoding says.
var errNotGzip = errors.New("the body is not gzip")

// Read implements io.Reader.
func (g *gunzipped) Read(p []byte) (n int, err error) {
	if g.zip == nil {
		if g.zip, err = gzip.NewReader(g.body); err != nil {
			g.zip = nil
			return 0, notGzip(err)
		}
	}
	n, err = g.zip.Read(p)
	return n, notGzip(err)
}

func notGzip(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, new(flate.CorruptInputError)) {
		return errNotGzip
	}
	return err
}
