package web

import (
	"bytes"
	"context"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// run runs a real client and returns what it says.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, yodeltest.NeedProgram(t, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8", "TERM=dumb"}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s %q: %v\n%s%s", name, args, err, cut(string(out)), &errs)
	}
	return string(out)
}

// pem writes the server's certificate to a file.
func (s *site) pem() string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "cert.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Certificate[0]}
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// tree is what the real clients get.
func tree(t *testing.T) *Config {
	return &Config{
		Root: folder(t, map[string]string{
			"index.html":    "<html><head><title>A test</title></head><body><h1>Hello</h1><a href=\"sub/\">the rest</a><img src=\"dot.svg\"></body></html>\n",
			"dot.svg":       `<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"><circle cx="3" cy="3" r="3"/></svg>`,
			"sub/a b.txt":   "a file with a space\n",
			"sub/ümlaut":    "another\n",
			"sub/large.bin": strings.Repeat("0123456789abcdef", 1<<16),
			"sub/text.txt":  strings.Repeat("a line of text\n", 1000),
		}),
		CGI: hellos(t), CGIUser: nobody(),
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	s := newSite(t, tree(t))
	curl := func(args ...string) string { t.Helper(); return client(t, "curl", append([]string{"-sS"}, args...)...) }
	if got := curl(s.url("/sub/a%20b.txt")); got != "a file with a space\n" {
		t.Errorf("%q", got)
	}
	if got := curl("-r", "5-9,20-", "-D", "-", s.url("/sub/a%20b.txt")); !strings.Contains(got, "HTTP/1.1 206 ") {
		t.Errorf("%q", got)
	}
	if got := curl("--compressed", "-w", "%{size_download}", s.url("/sub/text.txt")); !strings.HasPrefix(got, "a line of text\n") || len(got) != 15_000+2 {
		t.Errorf("%d bytes: %q", len(got), got[max(len(got)-20, 0):])
	}
	if got := curl("-I", s.url("/sub/large.bin")); !strings.Contains(got, "Content-Length: 1048576\r\n") {
		t.Errorf("%s", got)
	}
	if got := curl("-L", "-w", "%{num_redirects} %{url_effective}", "-o", os.DevNull, s.url("/sub")); got != "1 "+s.url("/sub/") {
		t.Errorf("%s", got)
	}
	etag := filepath.Join(t.TempDir(), "etag")
	if got := curl("--etag-save", etag, "-o", os.DevNull, s.url("/dot.svg")) + curl("--etag-compare", etag, "-w", "%{http_code}", s.url("/dot.svg")); got != "304" {
		t.Errorf("the second time: %s", got)
	}
	if got := curl("-d", "a body", s.url("/cgi-bin/cat")); got != "a body" {
		t.Errorf("%q", got)
	}
	large := filepath.Join(s.cfg.Root, "sub/large.bin")
	if got := curl("-H", "Expect: 100-continue", "-T", large, s.url("/cgi-bin/count")); strings.TrimSpace(got) != "1048576" {
		t.Errorf("%q", got)
	}
	if got := curl("-H", "Transfer-Encoding: chunked", "-d", "in chunks", s.url("/cgi-bin/cat")); got != "in chunks" {
		t.Errorf("%q", got)
	}
	partial := filepath.Join(t.TempDir(), "partial")
	if err := os.WriteFile(partial, []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	curl("-C", "-", "-o", partial, s.url("/sub/large.bin"))
	if got, _ := os.ReadFile(partial); string(got) != strings.Repeat("0123456789abcdef", 1<<16) {
		t.Errorf("resumed: %d bytes", len(got))
	}
	overTLS := newTLSSite(t, tree(t))
	for _, version := range []string{"--http1.1", "--http2"} {
		got := curl("--cacert", overTLS.pem(), version, "-w", " %{http_version}", overTLS.url("/dot.svg"))
		want := map[string]string{"--http1.1": " 1.1", "--http2": " 2"}[version]
		if !strings.HasPrefix(got, "<svg") || !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", version, got)
		}
	}
}

// wget mirrors a site by its pages and lists.
func TestWget(t *testing.T) {
	t.Parallel()
	s := newSite(t, tree(t))
	dir := t.TempDir()
	client(t, "wget", "-q", "-r", "-nH", "--reject-regex=cgi-bin", "-e", "robots=off", "-P", dir, s.url("/"))
	for _, name := range []string{"index.html", "dot.svg", "sub/a b.txt", "sub/ümlaut", "sub/large.bin"} {
		want, err := os.ReadFile(filepath.Join(s.cfg.Root, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); !bytes.Equal(got, want) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(want), err)
		}
	}
}

// wget goes on where a file ends, posts to a program, and does so over TLS.
func TestWgetOverTLS(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, tree(t))
	dir, trust := t.TempDir(), "--ca-certificate="+s.pem()
	put(t, filepath.Join(dir, "large.bin"), "0123456789", 0o644)
	client(t, "wget", "-q", trust, "-c", "-P", dir, s.url("/sub/large.bin"))
	if got, err := os.ReadFile(filepath.Join(dir, "large.bin")); string(got) != strings.Repeat("0123456789abcdef", 1<<16) {
		t.Errorf("resumed: %d bytes, %v", len(got), err)
	}
	s.access.await(t, `"GET /sub/large.bin HTTP/1.1" 206 1048566`)
	if got := client(t, "wget", "-qO-", trust, "--post-data=a body", s.url("/cgi-bin/cat")); got != "a body" {
		t.Errorf("%q", got)
	}
}

func TestLynx(t *testing.T) {
	t.Parallel()
	s := newSite(t, tree(t))
	if got := client(t, "lynx", "-dump", "-nonumbers", s.url("/")); !strings.Contains(got, "Hello") || !strings.Contains(got, "the rest") {
		t.Errorf("%s", got)
	}
	list := client(t, "lynx", "-dump", "-width=120", s.url("/sub/"))
	for _, want := range []string{"Folder /sub/", "a b.txt", "20", "large.bin", "1048576", s.url("/sub/a b.txt")} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in\n%s", want, list)
		}
	}
	if got := client(t, "sh", "-c", "printf 'a form\n---\n' | lynx -dump -post_data "+s.url("/cgi-bin/cat")); strings.TrimSpace(got) != "a form" {
		t.Errorf("a program says %q", got)
	}
	overTLS := newTLSSite(t, tree(t))
	believing := filepath.Join(t.TempDir(), "lynx.cfg") // it knows no certificate without a common name
	put(t, believing, "FORCE_SSL_PROMPT:yes\n", 0o644)
	if got := client(t, "lynx", "-cfg="+believing, "-dump", "-nonumbers", overTLS.url("/")); !strings.Contains(got, "Hello") {
		t.Errorf("over TLS: %s", got)
	}
}

// ncat's way: a request typed, and the end of input.
func TestNcat(t *testing.T) {
	t.Parallel()
	s := newSite(t, tree(t))
	host, port, _ := strings.Cut(s.addr, ":")
	for _, path := range []string{"/dot.svg", "/cgi-bin/hello"} {
		got := client(t, "sh", "-c", "printf 'GET "+path+" HTTP/1.0\\r\\n\\r\\n' | ncat "+host+" "+port)
		if !strings.HasPrefix(got, "HTTP/1.0 200 OK\r\n") {
			t.Errorf("%s: %q", path, cut(got))
		}
	}
}

var succeeded = regexp.MustCompile(`(\d+) succeeded, (\d+) failed, (\d+) errored`)

// h2load: many streams on few connections; every answer is whole.
func TestH2load(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, tree(t))
	for path, n := range map[string]string{"/dot.svg": "200", "/sub/large.bin": "20"} {
		out := client(t, "h2load", "-n", n, "-c", "4", "-m", "5", s.url(path))
		if m := succeeded.FindStringSubmatch(out); m == nil || m[1] != n {
			t.Errorf("%s:\n%s", path, out)
		}
	}
}

var answered = regexp.MustCompile(`(\d+) requests in`)

func TestWrk(t *testing.T) {
	t.Parallel()
	s := newSite(t, tree(t))
	for _, path := range []string{"/dot.svg", "/sub/?list"} {
		out := client(t, "wrk", "-t", "1", "-c", "10", "-d", "1s", s.url(path))
		m := answered.FindStringSubmatch(out)
		if m == nil || strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
			t.Errorf("%s", out)
			continue
		}
		if n, _ := strconv.Atoi(m[1]); n < 10 {
			t.Errorf("%d answers", n)
		}
	}
}

// browsed is a page that shows what a browser makes of it: a picture, ranges, and a program.
const browsed = `<html><body><img src="dot.svg"><pre id="said"></pre><script>
(async () => {
	const part = await fetch("sub/large.bin", {headers: {Range: "bytes=16-25"}});
	const program = await fetch("cgi-bin/cat", {method: "POST", body: "grüße"});
	said.textContent = [part.status, part.headers.get("Content-Range"), await part.text(), program.status, await program.text(), document.images[0].naturalWidth].join(" ");
})();
</script></body></html>
`

// chromium renders a page with its picture, a range, and what a program says; over TLS it
// speaks HTTP/2.
func TestChromium(t *testing.T) {
	t.Parallel()
	cfg := tree(t)
	put(t, filepath.Join(cfg.Root, "browsed.html"), browsed, 0o644)
	for version, s := range map[string]*site{"1.1": newSite(t, cfg), "2.0": newTLSSite(t, cfg)} {
		args := []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(),
			"--ignore-certificate-errors", "--virtual-time-budget=10000", "--dump-dom", s.url("/browsed.html"),
		}
		const want = "206 bytes 16-25/1048576 0123456789 200 grüße 7"
		if got := client(t, "chromium", args...); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, cut(got))
		}
		s.access.await(t, `"GET /dot.svg HTTP/`+version+`" 200`)
	}
}
