package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// However many there are and in whatever order they come and go: kids are
// sorted and whole, in groups that are neither too long nor too many.
func TestKidsStaySortedInSmallGroups(t *testing.T) {
	for _, order := range []string{"ascending", "descending", "random"} {
		t.Run(order, func(t *testing.T) {
			const n = 20 * groupMax
			var k kids[int]
			keys := make([]string, n)
			for i := range keys {
				keys[i] = fmt.Sprintf("%06d", i)
			}
			switch order {
			case "descending":
				slices.Reverse(keys)
			case "random":
				rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			}
			for i, key := range keys {
				s, found := k.find(key)
				if found {
					t.Fatalf("%s is there already", key)
				}
				k.insert(s, &entry[int]{path: key})
				if i%groupMax == 0 || i == n-1 {
					holds(t, &k, keys[:i+1])
				}
			}
			rand.New(rand.NewPCG(3, 4)).Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			for i, key := range keys {
				s, found := k.find(key)
				if !found || k.get(s).path != key {
					t.Fatalf("%s is not found", key)
				}
				k.remove(s)
				if i%groupMax == 0 || i > n-300 {
					holds(t, &k, keys[i+1:])
				}
			}
			if !k.empty() {
				t.Errorf("%d groups are left", len(k.groups))
			}
		})
	}
}

func holds(t *testing.T, k *kids[int], keys []string) {
	t.Helper()
	var got []string
	k.from(spot{}, func(e *entry[int]) bool { got = append(got, e.path); return true })
	if want := slices.Sorted(slices.Values(keys)); !slices.Equal(got, want) {
		t.Fatalf("got %d kids, want %d", len(got), len(want))
	}
	for i, group := range k.groups {
		if len(group) == 0 || len(group) > groupMax {
			t.Fatalf("group %d of %d has %d kids", i, len(k.groups), len(group))
		}
	}
	if most := len(keys)/(groupMax/16) + 2; len(k.groups) > most {
		t.Fatalf("%d kids stand in %d groups, want at most %d", len(keys), len(k.groups), most)
	}
}

// BenchmarkNamesNew is a name that comes and goes among many others.
func BenchmarkNamesNew(b *testing.B) {
	for _, n := range []int{1000, 200_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var names Names[int]
			for i := range n {
				names.Set("d/"+strconv.Itoa(rand.IntN(1<<40)), i)
			}
			for b.Loop() {
				name := "d/" + strconv.Itoa(rand.IntN(1<<40))
				names.Set(name, 1)
				names.Delete(name)
			}
		})
	}
}
