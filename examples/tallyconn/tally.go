package main

import (
	"fmt"
	"net"
	"strconv"

	"yodel/rio"
)

// tally adds up numbers: one a line, each answered with the sum so far.
type tally struct{}

// ServeConn serves one connection, which the engine closes when it returns.
func (tally) ServeConn(c net.Conn) {
	lines := rio.NewReader(c, 100, rio.RefuseLong)
	total := int64(0)
	for {
		line, err := lines.ReadLine()
		if err == rio.ErrTooLong {
			fmt.Fprintln(c, "that is too long")
			continue
		}
		if err != nil {
			return
		}
		n, err := strconv.ParseInt(string(rio.Trim(line)), 10, 32)
		if err != nil {
			fmt.Fprintln(c, "that is no number")
			continue
		}
		total += n
		fmt.Fprintln(c, total)
	}
}
