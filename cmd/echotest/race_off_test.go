//go:build !race

package echotest

// raceFlag has the programs built as these tests are, without the race detector.
const raceFlag = "-race=false"
