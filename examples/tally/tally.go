package main

import (
	"fmt"
	"strconv"

	"yodel"
	"yodel/rio"
)

// tally adds up numbers: one a line, each answered with the sum so far.
type tally struct{}

// Open returns the session of one connection.
func (tally) Open(yodel.Peer) yodel.Session {
	return &sum{lines: rio.Lines{Max: 100, Mode: rio.RefuseLong}}
}

type sum struct {
	lines rio.Lines
	total int64
}

// Step answers the lines that are there, as long as there is room for answers.
func (s *sum) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	for out.Room() > 0 {
		line, n, err := s.lines.Next(in.Data[used:], in.Kind == yodel.EOF)
		used += n
		switch {
		case err == rio.ErrTooLong:
			out.WriteString("that is too long\n")
		case line == nil: // err is nil: wait for more; or io.EOF: there is no more
			return used, err
		default:
			out.Heard(n)
			s.add(string(rio.Trim(line)), out)
		}
	}
	return used, nil
}

func (s *sum) add(word string, out *yodel.Out) {
	n, err := strconv.ParseInt(word, 10, 32)
	if err != nil {
		out.WriteString("that is no number\n")
		return
	}
	s.total += n
	fmt.Fprintln(out, s.total)
}
