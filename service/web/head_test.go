package web

import (
	"bufio"
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// headOf returns a request's head: a line, and fields below it.
func headOf(line string, fields ...string) string {
	return line + "\r\n" + strings.Join(append(fields, "", ""), "\r\n")
}

// get is a head whose request line and Host field are right.
func get(fields ...string) string {
	return headOf("GET / HTTP/1.1", append([]string{"Host: a.example"}, fields...)...)
}

// What one program might read in one way and another in another is refused. E1.
func TestRefusedHeads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head string
		code int
	}{
		"both lengths":                    {get("Content-Length: 5", "Transfer-Encoding: chunked"), 400},
		"both lengths, the other way":     {get("Transfer-Encoding: chunked", "Content-Length: 5"), 400},
		"two lengths":                     {get("Content-Length: 5", "Content-Length: 6"), 400},
		"the same length twice":           {get("Content-Length: 5", "Content-Length: 5"), 400},
		"a list of lengths":               {get("Content-Length: 5, 5"), 400},
		"a length with a sign":            {get("Content-Length: +5"), 400},
		"a negative length":               {get("Content-Length: -5"), 400},
		"a length in hex":                 {get("Content-Length: 0x5"), 400},
		"a length with a line":            {get("Content-Length: 1_0"), 400},
		"a length with a space":           {get("Content-Length: 1 0"), 400},
		"an empty length":                 {get("Content-Length:"), 400},
		"a huge length":                   {get("Content-Length: 99999999999999999999"), 400},
		"a coding of HTTP/1.0":            {headOf("POST / HTTP/1.0", "Transfer-Encoding: chunked"), 400},
		"another coding":                  {get("Transfer-Encoding: gzip"), 400},
		"chunked and another":             {get("Transfer-Encoding: gzip, chunked"), 400},
		"chunked twice":                   {get("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400},
		"a coding in disguise":            {get("Transfer-Encoding: \x0bchunked"), 400},
		"a coding with more behind it":    {get("Transfer-Encoding: chunked;q=1"), 400},
		"a space before the colon":        {get("Content-Length : 5"), 400},
		"a tab before the colon":          {get("Transfer-Encoding\t: chunked"), 400},
		"a line that goes on":             {get("X: a", " b"), 400},
		"a line that goes on, with a tab": {get("X: a", "\tContent-Length: 5"), 400},
		"the first field goes on":         {headOf("GET / HTTP/1.1", " Host: x", "Host: x"), 400},
		"no colon":                        {get("X"), 400},
		"no name":                         {get(": x"), 400},
		"a NUL in a name":                 {get("X\x00: x"), 400},
		"a NUL in a value":                {get("X: \x00"), 400},
		"a CR in a value":                 {get("X: a\rContent-Length: 5"), 400},
		"a DEL in a value":                {get("X: \x7f"), 400},
		"an escape in a value":            {get("X: \x1b[2J"), 400},
		"no Host":                         {headOf("GET / HTTP/1.1"), 400},
		"two Hosts":                       {get("Host: b.example"), 400},
		"the same Host twice":             {get("Host: a.example"), 400},
		"two empty Hosts":                 {headOf("GET / HTTP/1.1", "Host:", "Host:"), 400},
		"a Host with a path":              {headOf("GET / HTTP/1.1", "Host: a.example/b"), 400},
		"a Host with a user":              {headOf("GET / HTTP/1.1", "Host: x@a.example"), 400},
		"a Host with two ports":           {headOf("GET / HTTP/1.1", "Host: a.example:80:80"), 400},
		"a Host with a word for a port":   {headOf("GET / HTTP/1.1", "Host: a.example:http"), 400},
		"two Hosts in one":                {headOf("GET / HTTP/1.1", "Host: a.example, b.example"), 400},
		"a Host of half an address":       {headOf("GET / HTTP/1.1", "Host: [::1"), 400},
		"a target for another host":       {headOf("GET http://b.example/ HTTP/1.1", "Host: a.example"), 400},
		"a target with a user":            {headOf("GET http://x@a.example/ HTTP/1.1", "Host: a.example"), 400},
		"a target of another scheme":      {headOf("GET file:///etc/passwd HTTP/1.1", "Host: a.example"), 400},
		"a target without a slash":        {headOf("GET index.html HTTP/1.1", "Host: a.example"), 400},
		"a star":                          {headOf("GET * HTTP/1.1", "Host: a.example"), 400},
		"a fragment":                      {headOf("GET /#x HTTP/1.1", "Host: a.example"), 400},
		"half an escape":                  {headOf("GET /%2 HTTP/1.1", "Host: a.example"), 400},
		"an escape that is none":          {headOf("GET /%2g HTTP/1.1", "Host: a.example"), 400},
		"a target with a NUL":             {headOf("GET /\x00 HTTP/1.1", "Host: a.example"), 400},
		"a target that is not ASCII":      {headOf("GET /\xff HTTP/1.1", "Host: a.example"), 400},
		"two spaces":                      {headOf("GET  / HTTP/1.1", "Host: a.example"), 400},
		"a space in the target":           {headOf("GET /a b HTTP/1.1", "Host: a.example"), 400},
		"a tab":                           {headOf("GET\t/ HTTP/1.1", "Host: a.example"), 400},
		"a space at the end":              {headOf("GET / HTTP/1.1 ", "Host: a.example"), 400},
		"a method with a colon":           {headOf("GET: / HTTP/1.1", "Host: a.example"), 400},
		"no method":                       {headOf(" / HTTP/1.1", "Host: a.example"), 400},
		"a long method":                   {headOf(strings.Repeat("A", 33)+" / HTTP/1.1", "Host: a.example"), 400},
		"no version (HTTP/0.9)":           {headOf("GET /"), 400},
		"an empty line first":             {headOf("", "GET / HTTP/1.1", "Host: a.example"), 400},
		"a version in lower case":         {headOf("GET / http/1.1", "Host: a.example"), 400},
		"a longer version":                {headOf("GET / HTTP/1.10", "Host: a.example"), 400},
		"the next version":                {headOf("PRI * HTTP/2.0"), 505},
		"a version between":               {headOf("GET / HTTP/1.2", "Host: a.example"), 505},
		"a proxy's method":                {headOf("CONNECT a.example:80 HTTP/1.1", "Host: a.example:80"), 405},
		"too many fields":                 {get(strings.Split(strings.Repeat("X: y,", fieldsMax), ",")[:fieldsMax]...), 431},
	} {
		switch h, why := parseHead([]byte(c.head)); {
		case why == nil:
			t.Errorf("%s: taken as %+v", name, h)
		case why.code != c.code:
			t.Errorf("%s: %d %v, want %d", name, why.code, why, c.code)
		}
	}
}

func TestTakenHeads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head    string
		length  int64
		chunked bool
		plain   bool
	}{
		"the least":                {get(), -1, false, true},
		"HTTP/1.0":                 {headOf("GET / HTTP/1.0"), -1, false, true},
		"an empty Host":            {headOf("GET / HTTP/1.1", "Host:"), -1, false, true},
		"a Host with a port":       {headOf("GET / HTTP/1.1", "hOST:a.example:8080"), -1, false, true},
		"an address":               {headOf("GET / HTTP/1.1", "Host: 192.0.2.1:80"), -1, false, true},
		"a long address":           {headOf("GET / HTTP/1.1", "Host: [2001:db8::1]:80"), -1, false, true},
		"a long address, no port":  {headOf("GET / HTTP/1.1", "Host: [::1]"), -1, false, true},
		"a whole target":           {headOf("GET http://A.example/x?y HTTP/1.1", "Host: a.example"), -1, false, true},
		"a whole target, HTTP/1.0": {headOf("GET http://a.example HTTP/1.0"), -1, false, true},
		"escapes, and a query":     {headOf("GET /%20%fF?100% HTTP/1.1", "Host: a.example"), -1, false, true},
		"options of the server":    {headOf("OPTIONS * HTTP/1.1", "Host: a.example"), -1, false, true},
		"a length":                 {get("Content-Length: 0042"), 42, false, true},
		"chunks":                   {get("transfer-ENCODING: Chunked"), -1, true, true},
		"tabs and Latin letters":   {get("X: \ta\t\xe4 "), -1, false, true},
		"keep-alive":               {get("Connection: Keep-Alive"), -1, false, true},
		"close":                    {get("Connection: close"), -1, false, false},
		"upgrade":                  {get("Upgrade: h2c"), -1, false, false},
		"a range":                  {get("Range: bytes=0-1"), -1, false, false},
		"Expect":                   {get("Expect: 100-continue"), -1, false, false},
		"If-Match":                 {get("If-Match: *"), -1, false, false},
		"If-Range":                 {get(`If-Range: "x"`), -1, false, false},
		"If-None-Match":            {get("If-None-Match: *"), -1, false, false},
		"If-Modified-Since":        {get("If-Modified-Since: x"), -1, false, false},
		"If-Unmodified-Since":      {get("If-Unmodified-Since: x"), -1, false, false},
		"codings twice":            {get("Accept-Encoding: gzip", "Accept-Encoding: br"), -1, false, false},
		"what a browser sends":     {get("User-Agent: x (y)", "Accept: */*", "Accept-Encoding: gzip", "Cookie: a=b"), -1, false, true},
	} {
		h, why := parseHead([]byte(c.head))
		if why != nil || h.length != c.length || h.chunked != c.chunked || h.plain != c.plain {
			t.Errorf("%s: %v, length %d, chunked %v, plain %v", name, why, h.length, h.chunked, h.plain)
		}
	}
}

func TestHeadOfARequest(t *testing.T) {
	t.Parallel()
	h, why := parseHead([]byte(headOf("HEAD /a/b?c HTTP/1.0", "Host: [::1]:80", "Accept-Encoding:  gzip, br ")))
	if why != nil || string(h.method) != "HEAD" || string(h.target) != "/a/b?c" || h.minor != 0 ||
		string(h.host) != "[::1]:80" || string(h.encodings) != "gzip, br" {
		t.Errorf("%v: %+v", why, h)
	}
}

// What is let through, net/http reads in the same way.
func FuzzParseHead(f *testing.F) {
	for _, s := range []string{
		get(), get("Content-Length: 5"), get("Transfer-Encoding: chunked"), get("X: a", " b"),
		headOf("GET http://a.example/x HTTP/1.1", "Host: a.example"), headOf("OPTIONS * HTTP/1.0"),
		headOf("POST /%zz HTTP/1.1", "Host:", "Content-Length: 007", "Connection: close", "Accept-Encoding: br;q=0.5"),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		end := bytes.Index(block, []byte("\r\n\r\n"))
		if end < 0 {
			return
		}
		block = block[:end+4]
		h, why := parseHead(block)
		if why != nil {
			if why.code < 400 || why.code > 599 || why.why == "" {
				t.Errorf("refused with %+v", why)
			}
			return
		}
		in := bufio.NewReader(bytes.NewReader(block))
		r, err := http.ReadRequest(in)
		if err != nil {
			return // net/http refuses more: an escape that is none in the target, for example
		}
		length := h.length
		if r.ContentLength == 0 && r.TransferEncoding == nil {
			length = max(length, 0)
		}
		switch {
		case r.Method != string(h.method), r.RequestURI != string(h.target), r.ProtoMajor != 1, r.ProtoMinor != int(h.minor):
			t.Errorf("%q is %s %s %s to net/http", block, r.Method, r.RequestURI, r.Proto)
		case r.ContentLength != length, (r.TransferEncoding != nil) != h.chunked:
			t.Errorf("%q has %d bytes, coding %q to net/http", block, r.ContentLength, r.TransferEncoding)
		case r.Host != string(h.host) && !strings.Contains(string(h.target), "://"):
			t.Errorf("%q is for %q to net/http", block, r.Host)
		case in.Buffered() != 0:
			t.Errorf("%q: net/http leaves %d bytes", block, in.Buffered())
		}
	})
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		"":                                  "",
		"gzip":                              "gzip",
		"GZIP":                              "gzip",
		"x-gzip":                            "gzip",
		"gzip, br":                          "br gzip",
		"br;q=0.5, gzip":                    "gzip br",
		"br;q=0.5, gzip;q=0.4":              "br gzip",
		"gzip;q=0":                          "",
		"gzip; q=0.0, br":                   "br",
		"*":                                 "br gzip",
		"*;q=0.1, br;q=0":                   "gzip",
		"identity, gzip;q=0.5":              "",
		"identity;q=0.5, gzip;q=0.5":        "gzip",
		"gzip;q=0.5;x=1":                    "",
		"gzip;q=2":                          "",
		"gzip;q=NaN":                        "",
		"gzip;q=-1":                         "",
		"gzip;q=0.123456789":                "",
		"gzip;x=1":                          "",
		"deflate, zstd":                     "",
		" , ,gzip":                          "gzip",
		strings.Repeat("x,", 19) + "gzip":   "gzip",
		strings.Repeat("x,", 20) + "gzip":   "",
		"gzip, deflate, br, zstd, identity": "br gzip",
	} {
		var names []string
		for _, c := range accepted([]byte(field)) {
			if c == identity {
				break
			}
			names = append(names, c.String())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("accepted(%q) = %q, want %q", field, got, want)
		}
	}
}

func FuzzAccepted(f *testing.F) {
	f.Add([]byte("gzip;q=0.5, br, *;q=0"))
	f.Add([]byte("identity;q=1,gzip;q=1"))
	f.Fuzz(func(t *testing.T, field []byte) {
		seen := map[coding]bool{}
		over := false
		for _, c := range accepted(field) {
			if c != identity && (over || seen[c] || c >= codings) {
				t.Errorf("accepted(%q) = %v", field, accepted(field))
			}
			seen[c], over = true, over || c == identity
		}
	})
}

func FuzzValidHost(f *testing.F) {
	for _, s := range []string{"a.example", "a:80", "[::1]:80", "[", "]", "a:b:c", ":", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		if !validHost(s) {
			return
		}
		name := nameIn(string(s))
		if !strings.HasPrefix(string(s), name) {
			t.Errorf("nameIn(%q) = %q", s, name)
		}
		port := strings.TrimPrefix(strings.TrimPrefix(string(s), name), ":")
		if _, err := strconv.ParseUint("0"+port, 10, 64); err != nil && len(port) < 18 {
			t.Errorf("the port of %q is %q", s, port)
		}
	})
}
