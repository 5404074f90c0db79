package mail

import (
	"bytes"
	"strconv"
	"strings"
)

// parseCommand splits a line, which has no newline any more, into its verb in upper case
// and what follows it. No verb has more than 16 letters.
func parseCommand(line []byte) (verb string, args []byte) {
	word, args, _ := bytes.Cut(line, []byte(" "))
	if len(word) > 16 {
		return "", nil
	}
	return strings.ToUpper(string(word)), bytes.Trim(args, " ")
}

// isWeb reports whether a verb is of HTTP: a web page can make a browser send such a
// request to any port, with whatever it likes behind it.
func isWeb(verb string) bool {
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "CONNECT", "TRACE", "PRI", "HOST:":
		return true
	}
	return false
}

// cutWord cuts a word such as "FROM:" from args, in any case, and the spaces that some
// clients put behind it.
func cutWord(args []byte, word string) ([]byte, bool) {
	if len(args) < len(word) || !strings.EqualFold(string(args[:len(word)]), word) {
		return nil, false
	}
	return bytes.TrimLeft(args[len(word):], " "), true
}

// mailParams are the parameters of MAIL.
type mailParams struct {
	size int64 // as SIZE says it; 0: it does not
	utf8 bool  // SMTPUTF8
}

// parseMail reads what follows MAIL. The reply is why it can't be.
func parseMail(args []byte) (from path, params mailParams, no reply) {
	args, ok := cutWord(args, "FROM:")
	if !ok {
		return path{}, mailParams{}, replySyntax
	}
	from, rest, err := parsePath(args)
	if err != nil || !startsParams(rest) {
		return path{}, mailParams{}, reply{code: 501, class: "5.1.7", text: errPath.Error() + ", or <>"}
	}
	params, no = parseParams(rest)
	return from, params, no
}

// parseRcpt reads what follows RCPT. It has no parameters that we offer.
func parseRcpt(args []byte) (to path, no reply) {
	badAddress := reply{code: 501, class: "5.1.3", text: errPath.Error()}
	args, ok := cutWord(args, "TO:")
	if !ok {
		return path{}, replySyntax
	}
	to, rest, err := parsePath(args)
	switch {
	case err != nil || !startsParams(rest) || to.isNull():
		return path{}, badAddress
	case len(rest) > 0:
		return path{}, replyParameter
	}
	return to, reply{}
}

var replyParameter = reply{code: 555, class: "5.5.4", text: "there is a parameter that is not offered here"}

func startsParams(rest []byte) bool { return len(rest) == 0 || rest[0] == ' ' }

// parseParams reads SIZE=n, BODY=7BIT or 8BITMIME, and SMTPUTF8, each once at most.
func parseParams(in []byte) (p mailParams, no reply) {
	seen := make(map[string]bool)
	for _, word := range strings.Fields(string(in)) {
		key, value, _ := strings.Cut(strings.ToUpper(word), "=")
		if seen[key] {
			return p, replySyntax
		}
		seen[key] = true
		ok, known := p.set(key, value, strings.Contains(word, "="))
		switch {
		case !known:
			return p, replyParameter
		case !ok:
			return p, replySyntax
		}
	}
	return p, reply{}
}

func (p *mailParams) set(key, value string, has bool) (ok, known bool) {
	switch key {
	case "SIZE": // at most 20 digits (RFC 1870, 4)
		n, err := strconv.ParseUint(value, 10, 64)
		p.size = int64(min(n, 1<<63-1))
		return err == nil && value[0] != '+', true
	case "BODY":
		return value == "7BIT" || value == "8BITMIME", true
	case "SMTPUTF8":
		p.utf8 = true
		return !has, true
	}
	return false, false
}
