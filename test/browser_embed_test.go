package test

import (
	"bytes"
	"image"
	"image/png"
	"net/http"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// A foreign page may not show a picture of a device either: its size, and
// whether there is one, would be told by that. One that is listed may, as it may
// read it: with CORS.
func TestForeignPageShowsNoValue(t *testing.T) {
	t.Parallel()
	foreign, listed := foreignPage(t), foreignPage(t)
	g := startReady(t, brokertest.Start(t).URL(), map[string]string{"GATEWAY_ALLOWED_ORIGINS": listed})
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 17, 1))); err != nil {
		t.Fatal(err)
	}
	if a := g.do(request{method: "PUT", path: "/topics/cam", body: picture.String()}); a.status != http.StatusOK {
		t.Fatalf("PUT: got %d %s, want 200", a.status, a.body)
	}
	const show = `new Promise(done => {
		const i = new Image();
		i.onload = () => done('shown ' + i.naturalWidth);
		i.onerror = () => done('refused');
		if (%[2]q) i.crossOrigin = %[2]q;
		i.src = '%[1]s/topics/cam';
	})`
	b := openTab(t)
	for _, row := range []struct{ page, cors, want string }{
		{foreign, "", "refused"}, {foreign, "anonymous", "refused"}, {listed, "anonymous", "shown 17"},
	} {
		b.visit(row.page)
		if got := b.js(show, g.url, row.cors); got != row.want {
			t.Errorf("%s, crossorigin=%q: got %s, want %s", row.page, row.cors, got, row.want)
		}
	}
}
