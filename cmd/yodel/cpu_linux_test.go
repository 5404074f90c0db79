package main

import (
	"testing"
	"time"
)

func TestBusyTime(t *testing.T) {
	t.Parallel()
	for stat, want := range map[string]time.Duration{
		"cpu  1 2 3 4000 500 6 7 8 900 9000\ncpu0 1 2": 270 * time.Millisecond,
		"cpu  0 0 0 1 1 0 0 0":                         0,
		"cpu  1 2 3":                                   -1,
		"cpu  1 2 x 4 5 6 7 8":                         -1,
		"intr 1 2 3 4 5 6 7 8\n":                       -1,
		"":                                             -1,
	} {
		got, err := busyTime(stat)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v, want %v", stat, got, err, want)
		}
	}
	before, err := machineTime()
	if err != nil || before <= 0 {
		t.Error(before, err)
	}
}
