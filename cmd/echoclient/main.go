// Echoclient is the lecture's client: it sends each line you type and prints the
// line that comes back.
//
//	usage: echoclient HOST PORT
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"yodel/rio"
	"yodel/sock"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintf(os.Stderr, "usage: %s HOST PORT\n", os.Args[0])
		os.Exit(2)
	}
	if err := converse(os.Args[1], os.Args[2]); err != io.EOF {
		fmt.Fprintf(os.Stderr, "echoclient: %v\n", err)
		os.Exit(1)
	}
	fmt.Print("\nConnection closed\n")
}

func converse(host, arg string) error {
	port, err := strconv.Atoi(arg)
	if err != nil {
		return fmt.Errorf("%q is not a port number", arg)
	}
	clientfd, err := sock.OpenClientFD(host, port)
	if err != nil {
		return err
	}
	defer clientfd.Close()
	typed := rio.NewReader(os.Stdin, rio.MaxLine-1, rio.SplitLong) // C keeps one byte for its NUL
	answers := rio.NewReader(clientfd, rio.MaxLine-1, rio.SplitLong)
	for {
		fmt.Print("type:")
		line, err := typed.ReadLine()
		if err != nil {
			return err // io.EOF: there is nothing more to say
		}
		if _, err := rio.WriteFull(clientfd, line); err != nil {
			return fmt.Errorf("the connection ended: %w", err)
		}
		if line[len(line)-1] != '\n' && len(line) < rio.MaxLine-1 {
			clientfd.CloseWrite() // the last line, without its newline: tell the server
		}
		answer, err := answers.ReadLine()
		if err != nil {
			return fmt.Errorf("the connection ended without an answer: %w", err)
		}
		fmt.Printf("echo:%s", answer)
	}
}
