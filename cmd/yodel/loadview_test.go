package main

import (
	"testing"

	"yodel/load"
	"yodel/sock"
)

// The first line of a report says what was done, and its numbers fit a line.
func TestPlanText(t *testing.T) {
	t.Parallel()
	at := load.Target{Address: sock.Address{Network: "tcp", Host: "localhost", Port: 7}}
	for want, p := range map[string]load.Plan{
		"localhost:7, closed loop, 3 connections, 64 bytes, every byte compared":                               {Conns: 3},
		"localhost:7, open loop at 333.3/s, 1 connections, 64 bytes, every byte compared":                      {Conns: 1, Pace: load.Constant(1000.0 / 3)},
		"localhost:7, open loop at 1000000/s, 1 connections, 64 bytes, nothing compared":                       {Conns: 1, Pace: load.Poisson(1e6), NoVerify: true},
		"localhost:7, closed loop, 1 connections, 64 bytes, never asleep, every byte compared":                 {Conns: 1, Awake: true},
		"localhost:7, closed loop, 1 connections, 64 bytes, 4 messages under way on each, every byte compared": {Conns: 1, Pipeline: 4},
	} {
		p.Targets, p.Size = []load.Target{at}, 64
		if got := planText(&load.Report{Plan: p}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
