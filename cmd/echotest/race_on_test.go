//go:build race

package echotest

// raceFlag makes the programs watch for data races, as these tests are.
const raceFlag = "-race=true"
