package rio_test

import (
	"fmt"
	"io"
	"os"
	"strings"

	"yodel/rio"
)

// echo is the lecture's echo(): it reads lines until the end of input and sends
// each one back in upper case.
func echo(conn io.ReadWriter) error {
	in := rio.NewReader(conn, rio.MaxLine, rio.SplitLong)
	for {
		line, err := in.ReadLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		upperCase(line)
		if _, err := rio.WriteFull(conn, line); err != nil {
			return err
		}
		fmt.Printf("server received %d bytes\n", len(line))
	}
}

func upperCase(line []byte) {
	for i, c := range line {
		if 'a' <= c && c <= 'z' {
			line[i] = c - 'a' + 'A'
		}
	}
}

func Example() {
	conn := struct {
		io.Reader
		io.Writer
	}{strings.NewReader("hello there\nhi there\n"), os.Stdout}
	if err := echo(conn); err != nil {
		fmt.Println(err)
	}
	// Output:
	// HELLO THERE
	// server received 12 bytes
	// HI THERE
	// server received 9 bytes
}

// A command protocol refuses an overlong line and goes on.
func ExampleReader_ReadLine() {
	in := rio.NewReader(strings.NewReader("NOOP\r\nUSER "+strings.Repeat("A", 600)+"\r\nQUIT\r\n"), 512, rio.RefuseLong)
	for {
		line, err := in.ReadLine()
		switch err {
		case nil:
			fmt.Printf("250 %s\n", rio.Trim(line))
		case rio.ErrTooLong:
			fmt.Println("500 line too long")
		default:
			fmt.Println(err)
			return
		}
	}
	// Output:
	// 250 NOOP
	// 500 line too long
	// 250 QUIT
	// EOF
}

// A session without I/O is given what came and says how much of it is done with.
func ExampleLines() {
	lines := rio.Lines{Max: 512, Mode: rio.RefuseLong}
	step := func(data string, eof bool) (used int) {
		for {
			line, n, err := lines.Next([]byte(data[used:]), eof)
			used += n
			switch {
			case line != nil:
				fmt.Printf("line %q\n", line)
			case err == rio.ErrTooLong:
				fmt.Println("500 line too long")
			default: // it needs more, or this is the end
				fmt.Println("used", used, "of", len(data), err)
				return used
			}
		}
	}
	step("HELO a\r\nQU", false)
	step("QUIT", true)
	// Output:
	// line "HELO a\r\n"
	// used 8 of 10 <nil>
	// line "QUIT"
	// used 4 of 4 EOF
}

func ExampleSplit() {
	fmt.Println(rio.Split([]byte("one\ntwo"), 8, false))
	fmt.Println(rio.Split([]byte("two"), 8, false))
	fmt.Println(rio.Split([]byte("two"), 8, true))
	fmt.Println(rio.Split([]byte("twenty-three\n"), 8, false))
	// Output:
	// 4 newline
	// 0 more
	// 3 last
	// 8 long
}
