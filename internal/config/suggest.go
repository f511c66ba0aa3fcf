package config

import "strings"

// closest returns the known name that an unknown one probably means: a typo
// or two away, or the same with a shorter or longer end. "" when none is near.
func closest(name string, known []string) string {
	const typos, ending = 2, 4
	best, bestDistance := "", typos+1
	for _, k := range known {
		if d := distance(name, k); d < bestDistance {
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

// distance is the number of bytes to insert, delete or replace to turn a into
// b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
