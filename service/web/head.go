package web

import (
	"bytes"
	"net/http"
	"strconv"
)

// A refusal is why a request is not served, and the status that says so.
type refusal struct {
	code int
	why  string
}

func (r *refusal) Error() string { return r.why }

func bad(why string) *refusal { return &refusal{http.StatusBadRequest, why} }

// What of a head is bounded apart from its length.
const (
	methodMax = 32
	fieldsMax = 100
)

// head is what the guard needs to know of a request's head. Its slices are parts of that.
type head struct {
	method, target []byte
	minor          byte // of the version: HTTP/1.minor
	host           []byte
	length         int64 // of the body; -1: not said
	chunked        bool
	plain          bool   // no field but those of encodings changes what a file's answer is
	encodings      []byte // what Accept-Encoding says

	hasHost bool // the Host field was sent, be it empty
	fields  int
}

// parseHead reads a head, which ends in an empty line. It takes less than RFC 9112 lets
// a server take: whatever two programs might read in two ways is refused, so that
// nothing is hidden from the one in front (request smuggling).
func parseHead(block []byte) (h head, why *refusal) {
	h = head{length: -1, plain: true}
	line, rest, _ := bytes.Cut(block, crlf)
	if why := h.requestLine(line); why != nil {
		return h, why
	}
	for {
		line, rest, _ = bytes.Cut(rest, crlf)
		if len(line) == 0 {
			return h, h.check()
		}
		if why := h.field(line); why != nil {
			return h, why
		}
	}
}

var crlf = []byte("\r\n")

// requestLine reads METHOD SP TARGET SP VERSION. RFC 9112 §3.
func (h *head) requestLine(line []byte) *refusal {
	method, rest, _ := bytes.Cut(line, []byte{' '})
	target, version, ok := bytes.Cut(rest, []byte{' '})
	switch {
	case !ok, !isToken(method), len(method) > methodMax:
		return bad("the request line is not METHOD TARGET HTTP/1.1")
	case !all(target, visibleByte), len(target) == 0, bytes.IndexByte(target, '#') >= 0:
		return bad("the request target has bytes that must be percent-encoded")
	case !isEscaped(target):
		return bad("the request target has a percent sign that begins no escape")
	case len(version) != 8 || !bytes.HasPrefix(version, []byte("HTTP/")):
		return bad("the request line is not METHOD TARGET HTTP/1.1")
	case string(version[5:7]) != "1." || version[7] != '0' && version[7] != '1':
		return &refusal{http.StatusHTTPVersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are spoken here"}
	}
	h.method, h.target, h.minor = method, target, version[7]-'0'
	return nil
}

// isEscaped reports whether each percent sign of a path begins an escape. A query is its
// program's, and may have others.
func isEscaped(target []byte) bool {
	path, _, _ := bytes.Cut(target, []byte{'?'})
	for {
		_, rest, found := bytes.Cut(path, []byte{'%'})
		if !found {
			return true
		}
		if len(rest) < 2 || !all(rest[:2], hexByte) {
			return false
		}
		path = rest[2:]
	}
}

// field reads NAME ":" VALUE. RFC 9112 §5: no space before the colon, no line that goes
// on in the next.
func (h *head) field(line []byte) *refusal {
	if h.fields++; h.fields > fieldsMax {
		return &refusal{http.StatusRequestHeaderFieldsTooLarge, "more than " + strconv.Itoa(fieldsMax) + " header fields"}
	}
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || !isToken(name) {
		return bad("a header field is not NAME: VALUE")
	}
	value = bytes.Trim(value, " \t")
	if !all(value, fieldByte) {
		return bad("a header field has control bytes")
	}
	return h.known(name, value)
}

// known takes the fields that say how long the request is, whom it is for, and what may
// be sent in answer to it.
func (h *head) known(name, value []byte) *refusal {
	switch len(name) {
	case 4:
		if isName(name, "host") {
			return h.setHost(value)
		}
	case 5, 6, 8, 13, 17, 19:
		h.plain = h.plain && !changesAnswer(name)
	case 7:
		h.plain = h.plain && !isName(name, "upgrade")
	case 10:
		if isName(name, "connection") && !isName(value, "keep-alive") {
			h.plain = false
		}
	case 14:
		if isName(name, "content-length") {
			return h.setLength(value)
		}
	case 15:
		if isName(name, "accept-encoding") {
			h.plain = h.plain && h.encodings == nil
			h.encodings = value
		}
	}
	if isName(name, "transfer-encoding") {
		return h.setCoding(value)
	}
	return nil
}

// changesAnswer reports whether a field asks for something else than the whole file.
func changesAnswer(name []byte) bool {
	for _, other := range []string{
		"range", "expect", "if-match", "if-range", "if-none-match", "if-modified-since", "if-unmodified-since",
	} {
		if isName(name, other) {
			return true
		}
	}
	return false
}

func (h *head) setHost(value []byte) *refusal {
	if h.hasHost {
		return bad("more than one Host field")
	}
	if !validHost(value) {
		return bad("the Host field is no host and port")
	}
	h.host, h.hasHost = value, true
	return nil
}

func (h *head) setLength(value []byte) *refusal {
	if h.length >= 0 {
		return bad("more than one Content-Length field")
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || !all(value, digitByte) {
		return bad("the Content-Length field is no number")
	}
	h.length = n
	return nil
}

func (h *head) setCoding(value []byte) *refusal {
	if h.chunked || !isName(value, "chunked") {
		return bad("a Transfer-Encoding other than chunked")
	}
	h.chunked = true
	return nil
}

// check compares what several fields say.
func (h *head) check() *refusal {
	switch {
	case h.chunked && h.length >= 0:
		return bad("both a Content-Length and a Transfer-Encoding")
	case h.chunked && h.minor == 0:
		return bad("a Transfer-Encoding in HTTP/1.0")
	case !h.hasHost && h.minor == 1:
		return bad("no Host field")
	}
	return h.checkTarget()
}

// checkTarget wants one of the forms of RFC 9112 §3.2, and in absolute form the host that
// the Host field says.
func (h *head) checkTarget() *refusal {
	switch {
	case h.target[0] == '/', string(h.target) == "*" && string(h.method) == http.MethodOptions:
		return nil
	case string(h.method) == http.MethodConnect:
		return &refusal{http.StatusMethodNotAllowed, "this is no proxy"}
	}
	scheme, rest, ok := bytes.Cut(h.target, []byte("://"))
	if !ok || !isName(scheme, "http") && !isName(scheme, "https") {
		return bad("the request target is no path")
	}
	if end := bytes.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	if h.hasHost && !bytes.EqualFold(rest, h.host) || !validHost(rest) {
		return bad("the request target is for another host than the Host field")
	}
	return nil
}

// validHost reports whether s is a name or an address, and a port or none. It is empty in
// a request for what has no host.
func validHost(s []byte) bool {
	host, port := s, []byte(nil)
	if i := bytes.LastIndexByte(s, ':'); i >= 0 && !bytes.HasSuffix(s, []byte{']'}) {
		host, port = s[:i], s[i+1:]
	}
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		return all(host[1:n-1], addressByte) && all(port, digitByte)
	}
	return all(host, hostByte) && all(port, digitByte)
}

// isName reports whether b is name, which is in lower case; letters are of either case.
func isName(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// class is a set of kinds of bytes.
type class uint8

const (
	tokenByte   class = 1 << iota // tchar, RFC 9110 §5.6.2
	visibleByte                   // ASCII that shows, no space
	fieldByte                     // what a field's value may have, RFC 9110 §5.5
	hostByte                      // what a host name may have; no percent-encoding
	digitByte
	letterByte
	hexByte
	addressByte // what an IPv6 address may have
)

var classes = makeClasses() // it is never written to

func makeClasses() (t [256]class) {
	for c := range 256 {
		b := byte(c)
		letter := 'a' <= b|0x20 && b|0x20 <= 'z'
		digit := '0' <= b && b <= '9'
		add := func(k class, yes bool) {
			if yes {
				t[c] |= k
			}
		}
		add(tokenByte, letter || digit || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0)
		add(visibleByte, 0x21 <= b && b <= 0x7e)
		add(fieldByte, b == '\t' || b >= 0x20 && b != 0x7f)
		add(hostByte, letter || digit || bytes.IndexByte([]byte("-._~"), b) >= 0)
		add(digitByte, digit)
		add(letterByte, letter)
		add(hexByte, digit || 'a' <= b|0x20 && b|0x20 <= 'f')
		add(addressByte, digit || 'a' <= b|0x20 && b|0x20 <= 'f' || b == ':' || b == '.')
	}
	return t
}

// all reports whether all bytes of b are of kind k.
func all(b []byte, k class) bool {
	for _, c := range b {
		if classes[c]&k == 0 {
			return false
		}
	}
	return true
}

func isToken(b []byte) bool { return len(b) > 0 && all(b, tokenByte) }
