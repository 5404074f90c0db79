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
	port, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = converse(os.Args[1], port)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "echoclient: %v\n", err)
		os.Exit(1)
	}
	fmt.Print("\nConnection closed\n")
}

func converse(host string, port int) error {
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
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := rio.WriteFull(clientfd, line); err != nil {
			return err
		}
		if line[len(line)-1] != '\n' && len(line) < rio.MaxLine-1 {
			clientfd.CloseWrite() // the last line, without its newline: tell the server
		}
		answer, err := answers.ReadLine()
		if err != nil {
			return fmt.Errorf("no answer: %w", err)
		}
		fmt.Printf("echo:%s", answer)
	}
}
