package access

import (
	"fmt"
	"strings"
	"testing"
)

// rightsWith has n subscribe filters of which none but the last matches what is asked, and as many denied.
func rightsWith(n int) *Rights {
	var g Grants
	for i := range n - 1 {
		g.Subscribe = append(g.Subscribe, fmt.Sprintf("fleet/%03d/+/#", i))
		g.Deny = append(g.Deny, fmt.Sprintf("fleet/%03d/secret/#", i))
	}
	g.Subscribe = append(g.Subscribe, "fleet/pi-3/#")
	g.Deny = append(g.Deny, "fleet/+/secret/#")
	r, err := Compile("pi-3", g)
	if err != nil {
		panic(err)
	}
	return r
}

const benchTopic = "fleet/pi-3/sensors/temperature"

func BenchmarkMayReceive(b *testing.B) {
	for _, n := range []int{1, 4, 16, 64, 256} {
		r := rightsWith(n)
		b.Run(fmt.Sprintf("filters=%d", 2*n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.MayReceive(benchTopic)
			}
		})
	}
}

func BenchmarkCache(b *testing.B) {
	for _, n := range []int{1, 4, 256} {
		r, cache := rightsWith(n), NewCache()
		b.Run(fmt.Sprintf("hit/filters=%d", 2*n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				cache.MayReceive(r, benchTopic)
			}
		})
	}
	r, cache := rightsWith(256), NewCache()
	names := make([]string, 4*cacheSlots)
	for i := range names {
		names[i] = fmt.Sprintf("fleet/%d/x", i)
	}
	b.Run("miss/filters=512", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			cache.MayReceive(r, names[i%len(names)])
		}
	})
}

func BenchmarkMaySubscribe(b *testing.B) {
	r := rightsWith(256)
	for b.Loop() {
		r.MaySubscribe("fleet/pi-3/+/temperature")
	}
}

func BenchmarkCompile(b *testing.B) {
	g := rightsWith(256).Grants()
	for b.Loop() {
		if _, err := Compile("pi-3", g); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrontCheck(b *testing.B) {
	for name, s := range map[string]string{"million dots": strings.Repeat(".", 1_000_000), "8 KiB": strings.Repeat("a", 2700) + "." + strings.Repeat("b", 2700) + "." + strings.Repeat("c", 2700)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				isToken(s)
			}
		})
	}
}
