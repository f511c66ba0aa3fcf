package test

import (
	"slices"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// Every listing of the recipes does what its comment says, in five languages.
func TestRecipesDoWhatTheySay(t *testing.T) {
	t.Parallel()
	all := blocks(t, "docs/recipes.md")
	langs := map[string]int{}
	for _, b := range all {
		lang := b.lang
		if b.browser {
			lang = "browser"
		}
		langs[lang]++
	}
	for _, lang := range []string{"sh", "python", "js", "go", "browser"} {
		if langs[lang] < 6 {
			t.Errorf("got %d listings for %s, want 6 at least", langs[lang], lang)
		}
	}
	g := startBuiltIn(t, nil)
	r := &reader{t: t, dir: t.TempDir(), network: brokertest.StartProxy(t, g.host()), direct: g}
	through := *g
	through.at(r.network.Addr(), "")
	r.g = &through
	for _, b := range all {
		r.paste(b)
	}
	for _, p := range r.left {
		p.wait()
	}
	for _, wait := range r.rest {
		wait()
	}
}

// cut cuts the connection of a block that runs, and publishes something before,
// and meanwhile; until waits for what the block prints.
func (r *reader) cut(b *block, until func(words []string)) {
	r.t.Helper()
	until(b.prints[:1])
	at := slices.Index(b.prints, "before")
	if at < 0 {
		r.t.Fatalf("%s: prints no before", b)
	}
	subscriptions := func() float64 { return r.direct.metric("gateway_subscriptions") }
	eventually(r.t, b.String()+" is subscribed", func() bool { return subscriptions() > 0 })
	r.direct.post(`{"topic":"home/door","payload":"before"}`)
	until(b.prints[:at+1])
	r.network.Refuse(true)
	r.network.Cut()
	eventually(r.t, b.String()+" has gone", func() bool { return subscriptions() == 0 })
	r.direct.post(`{"topic":"home/door","payload":"meanwhile"}`)
	r.network.Heal()
	until(b.prints)
}
