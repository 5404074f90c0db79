package main

import (
	"errors"
	"io"
	"testing"

	"yodel/call"
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

// A web page has no size of ours.
func TestPlanTextOfPages(t *testing.T) {
	t.Parallel()
	p := load.Plan{Conns: 2, Size: 64, Targets: []load.Target{{Address: sock.Address{Network: "http", Host: "localhost", Port: 80, Path: "/"}}}}
	if got, want := planText(&load.Report{Plan: p}), "http://localhost:80/, closed loop, 2 connections, every byte compared"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The exit status and the last words are of the worst that was met.
func TestJudgement(t *testing.T) {
	t.Parallel()
	report := func(c load.Class, err error) *load.Report {
		return &load.Report{Errors: map[load.Class]int64{c: 4}, Examples: map[load.Class]error{c: err}, Counts: load.Counts{Sent: 4, Received: 4, Verified: 4}}
	}
	broken := report(load.Refused, errors.New("refused"))
	broken.Lost, broken.Examples[load.EarlyClose] = 2, io.EOF
	l := &loading{loadFlags: &loadFlags{}}
	for _, tt := range []struct {
		r      *load.Report
		status int
		text   string
	}{
		{report(load.EarlyClose, io.EOF), call.StatusBroken, "errors: 4, the first: EOF"},
		{report(load.Unasked, &load.Fault{Class: load.Unasked}), call.StatusWrong, "errors: 4, the first: connection 0, byte 0: 0x00 came, and nothing more was to come"},
		{broken, call.StatusWrong, "2 of 4 messages were lost: EOF"},
		{report(load.Other, errors.New("odd")), call.StatusFailed, "errors: 4, the first: odd"},
	} {
		if err := l.judge(tt.r); err == nil || err.Error() != tt.text || call.ExitStatus(err) != tt.status {
			t.Errorf("%v (%d), want %q (%d)", err, call.ExitStatus(err), tt.text, tt.status)
		}
	}
}
