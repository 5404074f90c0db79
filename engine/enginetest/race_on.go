//go:build race

package enginetest

// raceDetector says that the race detector is on: all is slower, and memory is not what
// it seems.
const raceDetector = true
