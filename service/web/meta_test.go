package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"yodel/internal/child"
)

// request returns what a handler is given, without a socket.
func request(t *testing.T, method, target string, length int64, h http.Header) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8080}
	ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(local))
	r := &http.Request{
		Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, ContentLength: length,
		Host: "a.example:8080", RemoteAddr: "192.0.2.7:4711",
	}
	return r.WithContext(ctx)
}

// All meta-variables of RFC 3875 §4.1, to the letter.
func TestMeta(t *testing.T) {
	t.Parallel()
	r := request(t, "POST", "/cgi-bin/sub/prog/extra/%20path?a=b&c=%2F", 5, http.Header{
		"Content-Type": {"text/plain"}, "Accept": {"a", "b"}, "X-Custom-1": {"x"}, "Cookie": {"a=1", "b=2"},
	})
	got := meta(r, target{"sub/prog", "/extra/ path"}, "/srv/cgi", "/srv/www")
	want := []string{
		"CONTENT_LENGTH=5",
		"CONTENT_TYPE=text/plain",
		"DOCUMENT_ROOT=/srv/www",
		"GATEWAY_INTERFACE=CGI/1.1",
		"HTTP_ACCEPT=a, b",
		"HTTP_COOKIE=a=1; b=2",
		"HTTP_HOST=a.example:8080",
		"HTTP_X_CUSTOM_1=x",
		"PATH_INFO=/extra/ path",
		"PATH_TRANSLATED=/srv/www/extra/ path",
		"QUERY_STRING=a=b&c=%2F",
		"REMOTE_ADDR=192.0.2.7",
		"REMOTE_HOST=192.0.2.7",
		"REMOTE_PORT=4711",
		"REQUEST_METHOD=POST",
		"REQUEST_SCHEME=http",
		"REQUEST_URI=/cgi-bin/sub/prog/extra/%20path?a=b&c=%2F",
		"SCRIPT_FILENAME=/srv/cgi/sub/prog",
		"SCRIPT_NAME=/cgi-bin/sub/prog",
		"SERVER_ADDR=192.0.2.1",
		"SERVER_NAME=a.example",
		"SERVER_PORT=8080",
		"SERVER_PROTOCOL=HTTP/1.1",
		"SERVER_SOFTWARE=yodel",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What is not there has no variable, or an empty one where the RFC wants it set.
func TestMetaOfLittle(t *testing.T) {
	t.Parallel()
	r := request(t, "GET", "/cgi-bin/p", 0, http.Header{})
	r.Host, r.TLS = "", &tls.ConnectionState{}
	r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv6loopback, Port: 443})))
	env := meta(r, target{"p", ""}, "/cgi", "")
	for _, want := range []string{"QUERY_STRING=", "PATH_INFO=", "SERVER_NAME=::1", "SERVER_PORT=443", "HTTPS=on", "REQUEST_SCHEME=https"} {
		if !slices.Contains(env, want) {
			t.Errorf("there is no %s: %q", want, env)
		}
	}
	for _, name := range []string{"CONTENT_LENGTH", "CONTENT_TYPE", "PATH_TRANSLATED", "DOCUMENT_ROOT", "HTTP_HOST", "AUTH_TYPE", "REMOTE_USER", "REMOTE_IDENT"} {
		if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			t.Errorf("there is a %s: %q", name, env)
		}
	}
}

// A client's field can't become a variable that means something to programs, nor be
// taken for another field. E5.
func TestFieldsThatAreNotPassed(t *testing.T) {
	t.Parallel()
	r := request(t, "GET", "/cgi-bin/p", 0, http.Header{
		"Proxy": {"http://evil.example"}, "X_forwarded_for": {"x"}, "X-Forwarded_for": {"x"}, "Authorization": {"Basic x"},
		"Proxy-Authorization": {"x"}, "Proxy-Connection": {"x"}, "Connection": {"x"}, "Te": {"x"}, "Transfer-Encoding": {"x"},
		"Upgrade": {"x"}, "Content-Length": {"7"}, "Host": {"evil.example"}, "X.y": {"x"}, "X+y": {"x"}, "": {"x"}, "A=b": {"x"},
	})
	r.Host = ""
	for _, e := range headerMeta(r) {
		if e != "HTTP_=x" {
			t.Errorf("%q is passed", e)
		}
	}
}

// What would be a file stays below the folder of files.
func TestPathTranslated(t *testing.T) {
	t.Parallel()
	for info, want := range map[string]string{
		"/a/b": "/srv/a/b", "/": "/srv", "/../../etc/passwd": "/srv/etc/passwd", "/a/../..": "/srv", "//a": "/srv/a",
	} {
		env := meta(request(t, "GET", "/", 0, nil), target{"p", info}, "/cgi", "/srv")
		if !slices.Contains(env, "PATH_TRANSLATED="+want) {
			t.Errorf("%s: %q", info, env)
		}
	}
}

// Whatever the header, each entry is one that a program can be given, and none is
// another's.
func FuzzHeaderMeta(f *testing.F) {
	f.Add("X-A", "b", "Proxy", "c")
	f.Add("x=y", "\x00", "CONTENT_LENGTH", "5")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		h := http.Header{}
		for name, value := range map[string]string{name1: value1, name2: value2} {
			if isToken([]byte(name)) && all([]byte(value), fieldByte) {
				h.Add(name, value)
			}
		}
		env := headerMeta(&http.Request{Header: h})
		cfg := child.Config{Path: "/x", Env: env, AllowRoot: true}
		if err := cfg.Check(); err != nil {
			t.Error(err)
		}
		seen := map[string]bool{}
		for _, e := range env {
			name, _, _ := strings.Cut(e, "=")
			if !strings.HasPrefix(name, "HTTP_") || name == "HTTP_PROXY" || seen[name] {
				t.Errorf("%q of %v", env, h)
			}
			seen[name] = true
		}
	})
}
