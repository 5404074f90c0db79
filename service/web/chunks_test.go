package web

import (
	"bufio"
	"bytes"
	"io"
	"net/http/httputil"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// feedAll feeds a chunks all parts and returns how many bytes are the body's, and why one
// was refused.
func feedAll(parts ...string) (n int, c chunks, why *refusal) {
	for _, p := range parts {
		m, why := c.feed([]byte(p))
		n += m
		if why != nil || m < len(p) {
			return n, c, why
		}
	}
	return n, c, nil
}

func TestChunks(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":        "0\r\n\r\n",
		"one":            "5\r\nhello\r\n0\r\n\r\n",
		"several":        "1\r\nh\r\n00004\r\nello\r\n000\r\n\r\n",
		"in hex":         "aA\r\n" + strings.Repeat("x", 170) + "\r\n0\r\n\r\n",
		"extensions":     "1;a=b\r\nx\r\n1;c=\"d e\"\r\ny\r\n0;last\r\n\r\n",
		"trailers":       "1\r\nx\r\n0\r\nA: b\r\nC:\r\nD: \xe4\t\r\n\r\n",
		"CR LF as data":  "4\r\n\r\n\r\n\r\n0\r\n\r\n",
		"a chunk inside": "5\r\n0\r\n\r\n\r\n0\r\n\r\n",
	} {
		for cut, parts := range yodeltest.Cuts(body) {
			n, c, why := feedAll(parts...)
			if why != nil || n != len(body) || c.state != ended {
				t.Errorf("%s, %s: %d of %d bytes, state %d, %v", name, cut, n, len(body), c.state, why)
			}
		}
		if n, c, why := feedAll(body + "GET / HTTP/1.1\r\n"); why != nil || n != len(body) || c.state != ended {
			t.Errorf("%s, with more behind it: %d of %d bytes, %v", name, n, len(body), why)
		}
	}
}

func TestRefusedChunks(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no size":                      "\r\n",
		"a size with a sign":           "+5\r\nhello\r\n",
		"a size with a space":          "5 \r\nhello\r\n",
		"a size with a space first":    " 5\r\nhello\r\n",
		"a size with 0x":               "0x5\r\nhello\r\n",
		"a size that does not fit":     "ffffffffffffffff\r\n",
		"an extension without a size":  ";a\r\n",
		"LF alone after the size":      "5\nhello\r\n0\r\n\r\n",
		"CR alone after the size":      "5\rhello",
		"LF alone after an extension":  "5;a\nhello\r\n",
		"a control byte in one":        "5;a=\x00\r\nhello\r\n",
		"CR in one":                    "5;a\r5\r\nhello\r\n",
		"a long extension":             "5;" + strings.Repeat("a", 300) + "\r\n",
		"data that is too long":        "5\r\nhello!\r\n0\r\n\r\n",
		"LF alone after the data":      "5\r\nhello\n0\r\n\r\n",
		"CR alone after the data":      "5\r\nhello\rx",
		"LF alone at the end":          "0\r\n\n",
		"a trailer without a colon":    "0\r\nA\r\n\r\n",
		"a trailer without a name":     "0\r\n: a\r\n\r\n",
		"a trailer that goes on":       "0\r\nA: b\r\n c\r\n\r\n",
		"a trailer with a space":       "0\r\nA : b\r\n\r\n",
		"a trailer with a NUL":         "0\r\nA: \x00\r\n\r\n",
		"a trailer that ends in LF":    "0\r\nA: b\n\r\n",
		"a trailer with CR":            "0\r\nA: b\rc\r\n\r\n",
		"long trailers":                "0\r\n" + strings.Repeat("A: b\r\n", 1000) + "\r\n",
		"CR and something at the end":  "0\r\n\rx",
		"a digit too many, all zeroes": "0000000000000000\r\n",
	} {
		_, c, why := feedAll(body)
		if why == nil || why.code != 400 {
			t.Errorf("%s: %v, state %d", name, why, c.state)
		}
	}
}

// What is let through, net/http reads in the same way, to the byte.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\nGET"), 3)
	f.Add([]byte("0\r\n\r\n"), 1)
	f.Add([]byte("ffffffffffffff\r\nx"), 2)
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		cut = min(max(cut, 0), len(body))
		n, c, why := feedAll(string(body[:cut]), string(body[cut:]))
		n2, c2, why2 := feedAll(string(body))
		if n != n2 || c != c2 || (why == nil) != (why2 == nil) {
			t.Fatalf("cut at %d: %d, %v; whole: %d, %v", cut, n, why, n2, why2)
		}
		if why != nil || c.state != ended {
			return
		}
		rest := bytes.NewReader(body)
		in := bufio.NewReader(rest)
		if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(in)); err != nil {
			t.Fatalf("%q is taken, and net/http says %v", body[:n], err)
		}
		left := body[len(body)-rest.Len()-in.Buffered():]
		if trailers := len(left) - len(body[n:]); trailers < 2 || !bytes.HasSuffix(left, body[n:]) {
			t.Errorf("%q: net/http leaves %q, we %q", body, left, body[n:])
		}
	})
}
