//go:build race

package test

// raceDetector makes everything several times slower; see sized.
const raceDetector = true
