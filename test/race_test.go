//go:build race

package test

// raceDetector makes everything several times slower; tests that only repeat
// themselves repeat themselves less under it.
const raceDetector = true
