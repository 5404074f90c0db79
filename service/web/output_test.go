package web

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"yodel/rio"
)

func linesOfText(s string) lineReader {
	return rio.NewReader(strings.NewReader(s), cgiLineMax, rio.RefuseLong)
}

func TestReadResponse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in       string
		code     int
		location string
		local    bool
		header   string
	}{
		{"Content-Type: text/plain\n\nbody", 200, "", false, "map[Content-Type:[text/plain]]"},
		{"content-type:text/plain\r\n\r\n", 200, "", false, "map[Content-Type:[text/plain]]"},
		{"Status: 404 Not Found\nContent-Type: a/b\n\n", 404, "", false, "map[Content-Type:[a/b]]"},
		{"Status: 204\n\n", 204, "", false, "map[]"},
		{"Location: http://a.example/\n\n", 302, "http://a.example/", false, "map[]"},
		{"Location: /other?x\n\n", 302, "/other?x", true, "map[]"},
		{"Status: 303 See Other\nLocation: /other\n\n", 303, "/other", false, "map[]"},
		{"Location: other\n\n", 302, "other", false, "map[]"},
		{"Location: //b.example/x\n\n", 302, "//b.example/x", false, "map[]"},
		{"Content-Type: a/b\nX-A: 1\nX-A: 2\nSet-Cookie: \tx \n\n", 200, "", false, "map[Content-Type:[a/b] Set-Cookie:[x] X-A:[1 2]]"},
		{"Content-Type: a/b\nContent-Length: 5\n\n", 200, "", false, "map[Content-Length:[5] Content-Type:[a/b]]"},
		{"Content-Type: a/b\nConnection: close\nDate: x\nKeep-Alive: x\nUpgrade: x\nTrailer: x\nTE: x\n\n", 200, "", false, "map[Content-Type:[a/b]]"},
	} {
		p, err := readResponse(linesOfText(c.in))
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		location := ""
		if p.location != nil {
			location = p.location.String()
		}
		if got := fmt.Sprint(p.header); p.code() != c.code || location != c.location || p.isLocal() != c.local || got != c.header {
			t.Errorf("%q: %d %q %v %s", c.in, p.code(), location, p.isLocal(), got)
		}
	}
}

func TestResponsesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"nothing":                "",
		"an empty line":          "\n",
		"no empty line":          "Content-Type: a/b\n",
		"half a line":            "Content-Type: a/b",
		"no field that it needs": "X: y\n\n",
		"an empty type":          "Content-Type:\n\n",
		"a word":                 "hello\n\n",
		"HTML at once":           "<html>\n\n",
		"a space in a name":      "Content Type: a/b\n\n",
		"a space before a colon": "Content-Type : a/b\n\n",
		"a line that goes on":    "Content-Type: a/b\n c\n\n",
		"a control byte":         "Content-Type: a/b\x00\n\n",
		"CR in a value":          "Content-Type: a/b\rX: y\n\n",
		"a status that is none":  "Status: OK\n\n",
		"a short status":         "Status: 20\n\n",
		"an early status":        "Status: 100\n\n",
		"a high status":          "Status: 600\n\n",
		"a negative status":      "Status: -20\n\n",
		"two statuses":           "Status: 200\nStatus: 200\n\n",
		"an empty location":      "Location:\n\n",
		"two locations":          "Location: /a\nLocation: /b\n\n",
		"a location that's none": "Location: http://[/\n\n",
		"a length that is none":  "Content-Type: a/b\nContent-Length: -1\n\n",
		"a length in disguise":   "Content-Type: a/b\nContent-Length: 05\n\n",
		"two lengths":            "Content-Type: a/b\nContent-Length: 5\nContent-Length: 5\n\n",
		"a coding":               "Content-Type: a/b\nTransfer-Encoding: chunked\n\n",
		"a long line":            "X: " + strings.Repeat("y", cgiLineMax) + "\n\n",
		"a long header":          strings.Repeat("X: "+strings.Repeat("y", 1000)+"\n", 66) + "Content-Type: a/b\n\n",
	} {
		if p, err := readResponse(linesOfText(in)); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	broken := errors.New("broken")
	if _, err := readResponse(rio.NewReader(iotest.ErrReader(broken), 10, rio.RefuseLong)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestReadStatusLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{
		"HTTP/1.1 200 OK\r\n": 200, "HTTP/1.0 404 Not Found\n": 404, "HTTP/1.1 204\r\n": 204,
		"": 0, "HTTP/1.1 200 OK": 0, "HTTP/2 200\n": 0, "200 OK\n": 0, "HTTP/1.1 100 Continue\n": 0, "HTTP/1.1\n": 0,
		"Content-Type: a/b\n": 0, "HTTP/1.1 OK\n": 0,
	} {
		status, line, err := readStatusLine(linesOfText(in))
		if status != want || (err == nil) != (want != 0) || err == nil && string(line) != in {
			t.Errorf("%q: %d %q %v", in, status, line, err)
		}
	}
}

// Any output is an answer with a status that may be sent and fields of one line, or none.
func FuzzReadResponse(f *testing.F) {
	f.Add("Content-Type: text/plain\r\nStatus: 200 OK\n\nbody")
	f.Add("Location: /a\nX: y\n\n")
	f.Add("HTTP/1.1 200 OK\nContent-Length: 3\n\nabc")
	f.Fuzz(func(t *testing.T, out string) {
		readStatusLine(linesOfText(out))
		lines := rio.NewReader(strings.NewReader(out), cgiLineMax, rio.RefuseLong)
		p, err := readResponse(lines)
		if err != nil {
			return
		}
		if p.code() < 200 || p.code() > 599 {
			t.Errorf("%q: status %d", out, p.code())
		}
		for name, values := range p.header {
			for _, v := range values {
				if strings.ContainsAny(name+v, "\r\n\x00") || strings.TrimSpace(v) != v && strings.Trim(v, " \t") != v {
					t.Errorf("%q: %q: %q", out, name, v)
				}
			}
		}
		rest, _ := io.ReadAll(lines)
		if !strings.HasSuffix(out, string(rest)) {
			t.Errorf("%q: the body is %q", out, rest)
		}
	})
}
