package main

import (
	"fmt"
	"strconv"

	"yodel"
)

// Replies of RESP2: https://redis.io/docs/latest/develop/reference/protocol-spec/.

// crlf ends every line of a reply.
const crlf = "\r\n"

func ok(out *yodel.Out) { out.WriteString("+OK\r\n") }

// none says that there is no such value.
func none(out *yodel.Out) { out.WriteString("$-1\r\n") }

func bulk(out *yodel.Out, value []byte) {
	number(out, '$', int64(len(value)))
	out.Write(value)
	out.WriteString(crlf)
}

func bulkString(out *yodel.Out, value string) {
	number(out, '$', int64(len(value)))
	out.WriteString(value)
	out.WriteString(crlf)
}

func integer(out *yodel.Out, n int64) { number(out, ':', n) }

// array begins an array of n replies.
func array(out *yodel.Out, n int) { number(out, '*', int64(n)) }

// number writes a line of a type and a number.
func number(out *yodel.Out, kind byte, n int64) {
	var buf [24]byte
	line := strconv.AppendInt(append(buf[:0], kind), n, 10)
	out.Write(append(line, crlf...))
}

// fail answers with an error: a word in upper case, and what it means.
func fail(out *yodel.Out, text string) {
	out.WriteByte('-')
	out.WriteString(text)
	out.WriteString(crlf)
}

func failf(out *yodel.Out, format string, args ...any) { fail(out, fmt.Sprintf(format, args...)) }

// The errors that several commands answer with, in Redis's words.
const (
	errSyntax     = "ERR syntax error"
	errNotInteger = "ERR value is not an integer or out of range"
	errOverflow   = "ERR increment or decrement would overflow"
	errNoRoom     = "OOM command not allowed when used memory > 'maxmemory'."
)

// shownBytes is how much of a command's words is repeated to who sent it.
const shownBytes = 128

// unknown answers a command that there is not.
func unknown(out *yodel.Out, words [][]byte) {
	var args []byte
	for _, w := range words[1:] {
		if len(args) >= shownBytes {
			break
		}
		args = fmt.Appendf(args, "'%s' ", oneLine(w, shownBytes-len(args)))
	}
	failf(out, "ERR unknown command '%s', with args beginning with: %s", oneLine(words[0], shownBytes), args)
}

// oneLine returns at most most bytes of word, without what could end the line of an
// error or change a terminal.
func oneLine(word []byte, most int) []byte {
	line := append([]byte(nil), word[:min(len(word), most)]...)
	for i, b := range line {
		if b < ' ' || b == 0x7f {
			line[i] = ' '
		}
	}
	return line
}
