package ftp

import (
	"fmt"
	"strconv"
)

// A reply is what the server says to a command (RFC 959 §4.2). The zero reply is none.
type reply struct {
	code int
	text string

	// more are lines between a first one, text, and a last one, end. If nil, text is
	// all.
	more []string
	end  string
}

func say(code int, text string) reply { return reply{code: code, text: text} }

func sayf(code int, format string, args ...any) reply { return say(code, fmt.Sprintf(format, args...)) }

// failed reports whether the reply says no.
func (r reply) failed() bool { return r.code >= 400 }

// append appends the reply as it goes over the wire.
func (r reply) append(dst []byte) []byte {
	if r.more == nil {
		return r.appendLine(dst, ' ', r.text)
	}
	dst = r.appendLine(dst, '-', r.text)
	for _, line := range r.more {
		// What begins with a space is not taken for the last line.
		dst = append(appendText(append(dst, ' '), line), "\r\n"...)
	}
	return r.appendLine(dst, ' ', r.end)
}

func (r reply) appendLine(dst []byte, sep byte, text string) []byte {
	dst = append(strconv.AppendInt(dst, int64(r.code), 10), sep)
	return append(appendText(dst, text), "\r\n"...)
}

// appendText appends text for the TELNET line that a control connection is: IAC is
// doubled (RFC 854), and what would end a line or drive a terminal is not sent.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c == iac:
			dst = append(dst, iac, iac)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
