package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// series is one figure, measured in each round.
type series []float64

// median is the middle one: a round that something else on the machine
// disturbed does not change it.
func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	if mid := len(sorted) / 2; len(sorted)%2 == 1 {
		return sorted[mid]
	} else {
		return (sorted[mid-1] + sorted[mid]) / 2
	}
}

// ratios divides round by round: both of a round ran one after the other, so
// both had the same machine.
func ratios(of, by series) series {
	var out series
	for i := range min(len(of), len(by)) {
		if by[i] > 0 {
			out = append(out, of[i]/by[i])
		}
	}
	return out
}

// text is the median and, if there are several rounds, the spread.
func (s series) text() string {
	if len(s) == 0 {
		return "-"
	}
	if len(s) == 1 {
		return number(s[0])
	}
	return fmt.Sprintf("%s (%s..%s)", number(s.median()), number(slices.Min(s)), number(slices.Max(s)))
}

// number writes three significant digits, and whole numbers from 100 on.
func number(v float64) string {
	switch {
	case v < 0:
		return "-" + number(-v)
	case v >= 100:
		return whole(int(math.Round(v)))
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// whole writes groups of three with spaces.
func whole(n int) string {
	digits := strconv.Itoa(n)
	if len(digits) < 5 {
		return digits
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// percentile sorts the durations and gives the one that p of them (0..1) do
// not exceed, in milliseconds.
func percentile(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[min(len(d)-1, int(p*float64(len(d))))].Microseconds()) / 1000
}
