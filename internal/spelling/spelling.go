// Package spelling finds the name that a misspelt one probably means.
package spelling

import "strings"

// Closest returns the known name that an unknown one probably means: a typo
// or two away, or the same with a shorter or longer end. "" when none is near.
func Closest(name string, known []string) string {
	const typos, ending = 2, 4
	best, bestDistance := "", typos+1
	for _, k := range known {
		if d := Typos(name, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known {
		short, long := name, k
		if len(short) > len(long) {
			short, long = long, short
		}
		if strings.HasPrefix(long, short) && len(long)-len(short) <= ending {
			return k
		}
	}
	return ""
}

// Typos is the number of bytes to insert, delete, replace or swap with their
// neighbour to turn a into b (the optimal string alignment distance).
func Typos(a, b string) int {
	n := len(b) + 1
	rows := make([]int, 3*n)
	before, row, next := rows[:n], rows[n:2*n], rows[2*n:] // before: the row above the row above
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			replace := row[j]
			if a[i] != b[j] {
				replace++
			}
			next[j+1] = min(replace, next[j]+1, row[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
