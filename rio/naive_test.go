package rio_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"yodel/rio"
)

// The naive reference: the rule for lines, a byte at a time.

// tooLong stands for a refused line in a list of lines.
const tooLong = "<too long>"

// firstLine returns the length of the first line of in, and whether it is longer
// than max; 0 at the end.
func firstLine(in string, max int) (n int, long bool) {
	for i := range len(in) {
		if in[i] == '\n' {
			return i + 1, false
		}
		if i+1 == max {
			return max, true
		}
	}
	return len(in), false
}

// restOfLine returns the length of in up to and with its first newline.
func restOfLine(in string) int {
	for i := range len(in) {
		if in[i] == '\n' {
			return i + 1
		}
	}
	return len(in)
}

// naiveLines returns all lines of in.
func naiveLines(in string, max int, mode rio.Mode) (lines []string) {
	for in != "" {
		n, long := firstLine(in, max)
		if long && mode == rio.RefuseLong {
			lines = append(lines, tooLong)
			in = in[n+restOfLine(in[n:]):]
			continue
		}
		lines = append(lines, in[:n])
		in = in[n:]
	}
	return lines
}

// A step is what one Read returns: all of data that fits, and err when the last of
// data has gone.
type step struct {
	data string
	err  error
}

// A script is a source: its steps, then what it ends with, for ever.
type script struct {
	steps []step
	end   error // nil: io.EOF
	calls int
}

func play(steps ...step) *script { return &script{steps: steps} }

func (s *script) Read(p []byte) (int, error) {
	s.calls++
	if len(s.steps) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		return 0, io.EOF
	}
	now := &s.steps[0]
	n := copy(p, now.data)
	if now.data = now.data[n:]; now.data != "" {
		return n, nil
	}
	err := now.err
	s.steps = s.steps[1:]
	return n, err
}

// What a byte of cuts makes of one Read, apart from its size.
const (
	cutIdle        = 0   // 0, nil
	cutInterrupted = 255 // 0, EINTR
	cutTimeout     = 254 // 0, a timeout
	cutIntrBytes   = 253 // bytes and EINTR
	cutTimeBytes   = 252 // bytes and a timeout
)

// cutUp makes a source of in: each byte of cuts is one Read, the last one brings
// what is left, together with io.EOF if the number of cuts is odd.
func cutUp(in string, cuts []byte) *script {
	src := play()
	for _, c := range cuts {
		n := min(int(c), len(in))
		var err error
		switch c {
		case cutInterrupted:
			n, err = 0, os.NewSyscallError("read", syscall.EINTR)
		case cutTimeout:
			n, err = 0, os.ErrDeadlineExceeded
		case cutIntrBytes:
			err = syscall.EINTR
		case cutTimeBytes:
			err = fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
		}
		src.steps = append(src.steps, step{in[:n], err})
		in = in[n:]
	}
	last := step{data: in}
	if len(cuts)%2 == 1 {
		last.err = io.EOF
	}
	src.steps = append(src.steps, last)
	return src
}

// seeds are inputs that have something to get wrong.
var seeds = []string{
	"",
	"\n",
	"hello there\n",
	"hi there\r\n",
	"no newline",
	"one\ntwo\n\nfour",
	"1234567\n12345678\n123456789\n", // about a bound of 8
	"1234567",
	"12345678",
	"12345678901234567890\nnext\n",
	"12345678901234567890",
	"a\x00b\xff\r\r\n\n",
	strings.Repeat("x", 8191) + "\n" + strings.Repeat("y", 8192) + "\n" + "z\n",
	strings.Repeat(strings.Repeat("x", 999)+"\n", 20) + "end",
}

// seedCuts are ways to cut them up.
var seedCuts = [][]byte{
	{},
	{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
	{7, 1},
	{8},
	{0, 3, cutInterrupted, 5, cutTimeout, 2},
	{cutIntrBytes, cutTimeBytes, cutTimeBytes},
}
