package topic_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/topic"
)

func BenchmarkCheckName(b *testing.B) {
	for b.Loop() {
		_ = topic.CheckName("building/3/floor/2/room/17/temperature")
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range [][2]string{
		{"a/b/c", "a/b/c"},
		{"a/+/c", "a/b/c"},
		{"building/+/floor/+/#", "building/3/floor/2/room/17/temperature"},
		{"building/4/#", "building/3/floor/2/room/17/temperature"},
	} {
		b.Run(strings.ReplaceAll(c[0], "/", "."), func(b *testing.B) {
			for b.Loop() {
				topic.Match(c[0], c[1])
			}
		})
	}
}

// mixed is a trie of n filters as clients write them: most for one device, some with wildcards.
func mixed(n int) *topic.Trie[int] {
	var trie topic.Trie[int]
	for i := range n {
		switch i % 10 {
		case 0:
			trie.Add(fmt.Sprintf("pi/%d/#", i), i)
		case 1:
			trie.Add(fmt.Sprintf("pi/+/sensor-%d", i), i)
		case 2:
			trie.Add(fmt.Sprintf("+/%d/battery", i), i)
		default:
			trie.Add(fmt.Sprintf("pi/%d/battery", i), i)
		}
	}
	trie.Add("pi/3/+", n)
	trie.Add("a/b/c", n)
	return &trie
}

func BenchmarkTrieMatch(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		trie := mixed(n)
		for _, name := range []string{"a/b/c", "pi/3/battery"} {
			b.Run(fmt.Sprintf("filters=%d/%s", n, strings.ReplaceAll(name, "/", ".")), func(b *testing.B) {
				b.ReportAllocs()
				dst := make([][]int, 0, 16)
				for b.Loop() {
					dst = trie.Match(dst[:0], name)
				}
			})
		}
	}
}

// BenchmarkTrieMatchWorst has every combination of "a" and "+" over eight levels, all of
// which match or, with one level more at the end of each filter, all of which are tried in vain.
func BenchmarkTrieMatchWorst(b *testing.B) {
	for _, end := range []string{"", "/x"} {
		var trie topic.Trie[int]
		for bits := range 1 << 8 {
			levels := make([]string, 8)
			for i := range levels {
				levels[i] = []string{"a", "+"}[bits>>i&1]
			}
			trie.Add(strings.Join(levels, "/")+end, bits)
		}
		name := strings.TrimSuffix(strings.Repeat("a/", 8), "/")
		b.Run(map[string]string{"": "all", "/x": "none"}[end], func(b *testing.B) {
			dst := make([][]int, 0, 1<<8)
			for b.Loop() {
				dst = trie.Match(dst[:0], name+strings.Replace(end, "x", "y", 1))
			}
		})
	}
}

func BenchmarkTrieAddRemove(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("filters=%d", n), func(b *testing.B) {
			trie := mixed(n)
			for b.Loop() {
				trie.Add("pi/x/battery", 1)
				trie.Remove("pi/x/battery", 1)
			}
		})
		b.Run(fmt.Sprintf("sameFilter=%d", n), func(b *testing.B) {
			var trie topic.Trie[int]
			for i := range n {
				trie.Add("#", i)
			}
			for b.Loop() {
				trie.Add("#", n)
				trie.Remove("#", n)
			}
		})
	}
}

func BenchmarkCovers(b *testing.B) {
	for b.Loop() {
		topic.Covers("building/+/floor/#", "building/3/floor/2/room/+/temperature")
	}
}

func BenchmarkSmallestCover(b *testing.B) {
	const n = 10_000
	devices, joined, hard := make([]string, n), make([]string, n), make([]string, n)
	for i := range n {
		devices[i] = fmt.Sprintf("pi/%d/battery", i)
		joined[i] = []string{fmt.Sprintf("pi/%d/+", i), fmt.Sprintf("pi/+/%d", i)}[i%2]
		hard[i] = []string{fmt.Sprintf("+/x%d", i), fmt.Sprintf("y%d/z", i)}[i%2]
	}
	for _, c := range []struct {
		name    string
		filters []string
	}{{"disjoint", devices}, {"overlapping", joined}, {"worst", hard}} {
		b.Run(fmt.Sprintf("%s=%d", c.name, n), func(b *testing.B) {
			for b.Loop() {
				topic.SmallestCover(c.filters)
			}
		})
	}
}

func BenchmarkNames(b *testing.B) {
	const n = 100_000
	var names topic.Names[int]
	for i := range n {
		names.Set(fmt.Sprintf("pi/%d/%s", i/10, []string{"battery", "led", "load", "rssi", "t1", "t2", "t3", "t4", "up", "v"}[i%10]), i)
	}
	count := func(string, int) bool { return true }
	b.Run("SetOld", func(b *testing.B) {
		for b.Loop() {
			names.Set("pi/777/load", 1)
		}
	})
	b.Run("SetNewDelete", func(b *testing.B) {
		for b.Loop() {
			names.Set("pi/5/new", 1)
			names.Delete("pi/5/new")
		}
	})
	b.Run("SetNewDeleteAmong10000Siblings", func(b *testing.B) {
		for b.Loop() {
			names.Set("pi/0new", 1)
			names.Delete("pi/0new")
		}
	})
	for _, filter := range []string{"pi/777/+", "pi/+/load", "#"} {
		b.Run("Walk:"+strings.ReplaceAll(filter, "/", "."), func(b *testing.B) {
			for b.Loop() {
				names.Walk(filter, count)
			}
		})
	}
	b.Run("PageOf100InTheMiddle", func(b *testing.B) {
		for b.Loop() {
			left := 100
			names.WalkAfter("pi/+/load", "pi/5000/load", func(string, int) bool { left--; return left > 0 })
		}
	})
}
