package web

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"

	"yodel/yodeltest"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{Root: folder(t, map[string]string{
		"a.txt": "hello\n", "sub/index.html": "<h1>sub</h1>", "sub/b c.html": "b c", "noindex/x": "x\n", "bin": "\x00\x01",
		"both/index.html/x": "a folder of that name",
	})})
	for _, c := range []struct {
		path string
		code int
		body string
		typ  string
	}{
		{"/a.txt", 200, "hello\n", plain},
		{"/sub/", 200, "<h1>sub</h1>", hypertext},
		{"/sub/index.html", 200, "<h1>sub</h1>", hypertext},
		{"/sub/b%20c.html", 200, "b c", hypertext},
		{"/noindex/x", 200, "x\n", plain},
		{"/bin", 200, "\x00\x01", octets},
		{"/a.txt?query=ignored", 200, "hello\n", plain},
		{"/sub", 301, "", plain},
		{"/none", 404, "", plain},
		{"/a.txt/", 404, "", plain},
		{"/a.txt/b", 404, "", plain},
		{"/none/", 404, "", plain},
		{"/both/", 404, "", plain},
	} {
		r := s.want("a file", c.path, c.code, c.body)
		if got := r.Header.Get("Content-Type"); got != c.typ {
			t.Errorf("%s: Content-Type %q, want %q", c.path, got, c.typ)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", c.path, r.Header)
		}
	}
	if got := s.get("/sub?a=b").Header.Get("Location"); got != "/sub/?a=b" {
		t.Errorf("a folder is at %q", got)
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{Root: folder(t, map[string]string{"a.txt": "hello\n"})})
	if r := s.do("HEAD", "/a.txt", ""); r.StatusCode != 200 || r.body != "" || r.ContentLength != 6 {
		t.Errorf("HEAD: %s, %d bytes", r.Status, r.ContentLength)
	}
	if r := s.do("OPTIONS", "/a.txt", ""); r.StatusCode != 204 || r.Header.Get("Allow") != allowed {
		t.Errorf("OPTIONS: %s %v", r.Status, r.Header)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "TRACE", "BREW"} {
		body := "content"
		if method == "TRACE" {
			body = ""
		}
		if r := s.do(method, "/a.txt", body); r.StatusCode != 405 || r.Header.Get("Allow") != allowed {
			t.Errorf("%s: %s %v", method, r.Status, r.Header)
		}
	}
	w := s.dial()
	w.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	w.want("options of the server", 204)
	s.access.await(t, `"OPTIONS * HTTP/1.1" 204 -`)
}

// Nothing outside of the folder, nothing hidden, and nothing that is no file is sent; the
// answer is the same as for what is not there. E3.
func TestWhatIsNotSent(t *testing.T) {
	t.Parallel()
	outside := folder(t, map[string]string{"secret": "secret"})
	root := folder(t, map[string]string{
		"a.txt": "a", ".htpasswd": "secret", ".git/config": "secret", "sub/.env": "secret", "sub/b": "b", "x..y": "dots",
	})
	links := map[string]string{
		"out": outside, "outfile": filepath.Join(outside, "secret"), "up": "../", "loop": "loop",
		"etc": "/etc", "inside": "sub", "insidefile": "sub/b", "updown": "sub/../a.txt",
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			yodeltest.Skip(t, err.Error(), "run it as a user who may make symbolic links")
		}
	}
	s := newSite(t, &Config{Root: root})
	for _, path := range []string{
		"/.htpasswd", "/.git/config", "/.git/", "/sub/.env", "/..", "/../", "/../secret", "/sub/../a.txt", "/sub/..", "/.", "/./a.txt",
		"/%2e%2e/secret", "/%2e%2e%2fsecret", "/sub%2fb", "/sub%2Fb", "/..%5csecret", "/%00", "/a.txt%00", "/a.txt%00.html", "//a.txt", "/sub//b", "//", "/sub//",
		"/out/secret", "/outfile", "/up/secret", "/loop", "/etc/passwd", "/etc/", "/out/", "/a.txt/../a.txt",
		"/" + strings.Repeat("a", 300), "/" + strings.Repeat("a/", 3000), "/%ff%fe", "/a.txt%0d%0aX:%20y", "/~root/", "/a.txt:stream", "/CON", "/a.txt.",
		"/%e2%80%ae", "/%c0%ae%c0%ae/secret", "/%252e%252e/secret", "/x/../../../../etc/passwd",
	} {
		w := s.dial() // net/http's client would tidy the path up
		w.send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		r := w.want(path, 404)
		if r.body != "404 Not Found: there is no such file\n" {
			t.Errorf("%s: %q", path, r.body)
		}
	}
	s.want("a link to what is inside", "/inside/b", 200, "b")
	s.want("a link to a file inside", "/insidefile", 200, "b")
	s.want("a link by way of a parent", "/updown", 200, "a")
	s.want("two dots that are no parent", "/x..y", 200, "dots")
	list := s.want("the list", "/", 200, "").body
	for _, name := range []string{"htpasswd", "git", "out", "outfile", "up/", "loop", "etc", "secret"} {
		if strings.Contains(list, `"./`+name) {
			t.Errorf("%q is listed:\n%s", name, list)
		}
	}
	for _, name := range []string{"a.txt", "inside/", "insidefile", "sub/", "x..y"} {
		if !strings.Contains(list, `<a href="./`+name+`">`) {
			t.Errorf("%q is not listed:\n%s", name, list)
		}
	}
}

func TestHiddenFilesOnRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{Root: folder(t, map[string]string{".well-known/x": "x", "...": "three"}), Hidden: true})
	s.want("it is asked for", "/.well-known/x", 200, "x")
	s.want("a name of dots", "/...", 200, "three")
	if list := s.get("/").body; !strings.Contains(list, `href="./.well-known/"`) {
		t.Errorf("%s", list)
	}
	for _, path := range []string{"/..", "/.", "/../"} {
		w := s.dial()
		w.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		w.want(path, 404)
	}
}

// One range, several, and the conditions of RFC 9110 §13; over net/http and from memory.
func TestRangesAndConditions(t *testing.T) {
	t.Parallel()
	const content = "0123456789"
	s := newSite(t, &Config{Root: folder(t, map[string]string{"a.txt": content})})
	first := s.get("/a.txt")
	tag, date := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	if first.Header.Get("Accept-Ranges") != "bytes" || !strings.HasPrefix(tag, `"`) || date == "" {
		t.Fatalf("%v", first.Header)
	}
	before := "Mon, 02 Jan 2006 15:04:05 GMT"
	for _, c := range []struct {
		why, field string
		code       int
		body       string
	}{
		{"one range", "Range: bytes=2-4", 206, "234"},
		{"from there on", "Range: bytes=7-", 206, "789"},
		{"the last", "Range: bytes=-2", 206, "89"},
		{"more than there is", "Range: bytes=8-100", 206, "89"},
		{"nothing of it", "Range: bytes=10-", 416, ""},
		{"backwards", "Range: bytes=5-2", 416, ""},
		{"no number", "Range: bytes=a-b", 416, ""},
		{"another unit", "Range: lines=1-2", 416, ""},
		{"all twice", "Range: bytes=0-,0-", 200, content},
		{"the same", "If-None-Match: " + tag, 304, ""},
		{"any", "If-None-Match: *", 304, ""},
		{"one of several", `If-None-Match: "x", W/` + tag, 304, ""},
		{"another", `If-None-Match: "x"`, 200, content},
		{"not since", "If-Modified-Since: " + date, 304, ""},
		{"since", "If-Modified-Since: " + before, 200, content},
		{"no date", "If-Modified-Since: yesterday", 200, content},
		{"if it is that", "If-Match: " + tag, 200, content},
		{"if it is another", `If-Match: "x"`, 412, ""},
		{"if it is that old", "If-Unmodified-Since: " + date, 200, content},
		{"if it is older", "If-Unmodified-Since: " + before, 412, ""},
	} {
		r := s.want(c.why, "/a.txt", c.code, c.body, c.field)
		if c.code == 304 && (r.Header.Get("Etag") != tag || r.ContentLength > 0) {
			t.Errorf("%s: %v", c.why, r.Header)
		}
	}
	s.want("a range of that file", "/a.txt", 206, "234", "Range: bytes=2-4", "If-Range: "+tag)
	s.want("a range of another file", "/a.txt", 200, content, "Range: bytes=2-4", `If-Range: "x"`)
	s.want("two Range fields", "/a.txt", 200, content, "Range: bytes=2-4", "Range: bytes=5-6")
	if got := s.get("/a.txt", "Range: bytes=2-4").Header.Get("Content-Range"); got != "bytes 2-4/10" {
		t.Errorf("Content-Range: %q", got)
	}
	if got := s.get("/a.txt", "Range: bytes=1-1,3-4").parts(t); got != "1|34|" {
		t.Errorf("two ranges: %q", got)
	}
}

// parts returns the parts of an answer with several ranges.
func (r reply) parts(t *testing.T) string {
	t.Helper()
	_, boundary, _ := strings.Cut(r.Header.Get("Content-Type"), "boundary=")
	m := multipart.NewReader(strings.NewReader(r.body), boundary)
	all := ""
	for {
		p, err := m.NextPart()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v: %s %q", err, r.Status, cut(r.body))
		}
		b, _ := io.ReadAll(p)
		all += string(b) + "|"
	}
}

// More than 16 ranges, or ranges that make more than the file, are the whole file. E2.
func TestRangeBombs(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("0123456789", 100)
	s := newSite(t, &Config{Root: folder(t, map[string]string{"a": content, "large": strings.Repeat(content, 100)})})
	ranges := func(n int) string { return "Range: bytes=" + strings.TrimSuffix(strings.Repeat("5-5,", n), ",") }
	if got := s.get("/a", ranges(16)); got.StatusCode != 206 || got.parts(t) != strings.Repeat("5|", 16) {
		t.Errorf("16 ranges: %s", got.Status)
	}
	s.want("17 ranges", "/a", 200, content, ranges(17))
	s.want("a thousand", "/a", 200, content, ranges(1000))
	s.want("17 of a large file", "/large", 200, strings.Repeat(content, 100), ranges(17))
	s.want("sixteen times all", "/a", 200, content, "Range: bytes="+strings.Repeat("0-,", 15)+"0-")
	s.want("empty ones", "/a", 200, content, "Range: bytes="+strings.Repeat(",", 5000))
}

// A file is sent shorter where the client takes that and it pays, and never where the
// client asks for a part of it.
func TestCodings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("the same line again and again\n", 500)
	large := strings.Repeat("the same line again and again\n", 5000)
	root := folder(t, map[string]string{
		"long.txt": long, "short.txt": "short", "long.jpg": long, "large.txt": large,
		"ready.js": "ready", "ready.js.gz": "gz!", "ready.js.br": "br!", "onlygz.js": "o", "onlygz.js.gz": "gz only",
		"large.js": large, "large.js.gz": "gz of large", "stale.js": "new", "stale.js.gz": "old",
		"large.css": large, "large.css.br": "old", "dir.css": "d", "dir.css.gz/x": "",
		"noise.txt": string(randomText(4000)),
	})
	older := longAgo.Add(-time.Second)
	if err := errors.Join(os.Chtimes(filepath.Join(root, "stale.js.gz"), older, older), os.Chtimes(filepath.Join(root, "large.css.br"), older, older)); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, &Config{Root: root})
	for _, c := range []struct {
		path, accept, coding, body string
	}{
		{"/long.txt", "gzip, br", "gzip", long},
		{"/long.txt", "br", "", long},
		{"/long.txt", "", "", long},
		{"/long.txt", "gzip;q=0", "", long},
		{"/short.txt", "gzip", "", "short"},
		{"/long.jpg", "gzip", "", long},
		{"/noise.txt", "gzip", "", ""},
		{"/large.txt", "gzip", "", large},
		{"/ready.js", "gzip, br", "br", "br!"},
		{"/ready.js", "gzip", "gzip", "gz!"},
		{"/ready.js", "", "", "ready"},
		{"/onlygz.js", "br, gzip;q=0.5", "gzip", "gz only"},
		{"/large.js", "gzip, br", "gzip", "gz of large"},
		{"/large.js", "br", "", large},
		{"/large.js", "", "", large},
		{"/stale.js", "gzip", "", "new"},
		{"/large.css", "br", "", large},
		{"/dir.css", "gzip", "", "d"},
	} {
		for range 2 { // from the file, and from memory
			var fields []string
			if c.accept != "" {
				fields = []string{"Accept-Encoding: " + c.accept}
			}
			r := s.get(c.path, fields...)
			body := r.body
			if c.path == "/long.txt" && c.coding == "gzip" {
				body = unzip(t, r.body)
			}
			if r.StatusCode != 200 || r.Header.Get("Content-Encoding") != c.coding || c.body != "" && body != c.body {
				t.Errorf("%s for %q: %s %q %q", c.path, c.accept, r.Status, r.Header.Get("Content-Encoding"), cut(body))
			}
			if int(r.ContentLength) != len(r.body) {
				t.Errorf("%s for %q: length %d of %d", c.path, c.accept, r.ContentLength, len(r.body))
			}
			if tag := r.Header.Get("Etag"); c.coding != "" && !strings.HasSuffix(tag, "-"+c.coding+`"`) {
				t.Errorf("%s for %q: %s", c.path, c.accept, tag)
			}
		}
	}
	for _, path := range []string{"/long.txt", "/large.js"} {
		if got := s.get(path).Header.Get("Vary"); got != "Accept-Encoding" {
			t.Errorf("%s: Vary %q", path, got)
		}
		zipped := s.get(path, "Accept-Encoding: gzip").Header.Get("Etag")
		s.want("the coded form is known", path, 304, "", "Accept-Encoding: gzip", "If-None-Match: "+zipped)
		s.want("it is not the file", path, 412, "", "Accept-Encoding: gzip", "If-Match: "+zipped)
		s.want("a range is of the file", path, 206, "the same", "Accept-Encoding: gzip", "Range: bytes=0-7")
	}
	if got := s.get("/short.txt").Header.Get("Vary"); got != "" {
		t.Errorf("there is one form only: Vary %q", got)
	}
}

func unzip(t *testing.T, s string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// randomText returns text that can't be compressed much.
func randomText(n int) []byte {
	x := uint32(1)
	out := make([]byte, n)
	for i := range out {
		x = x*1664525 + 1013904223
		out[i] = byte(x >> 24)
	}
	return out
}

// A file that has just changed may change again within the same tick of the clock: its
// validator is weak, and it is not kept.
func TestFreshFiles(t *testing.T) {
	t.Parallel()
	root := folder(t, nil)
	name := filepath.Join(root, "a.txt")
	if err := os.WriteFile(name, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, &Config{Root: root})
	if tag := s.want("new", "/a.txt", 200, "one").Header.Get("Etag"); !strings.HasPrefix(tag, `W/"`) {
		t.Errorf("%s", tag)
	}
	if err := os.WriteFile(name, []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.want("changed at once", "/a.txt", 200, "two")
	put(t, filepath.Join(root, "b.txt"), "plain", 0o644)
	if err := os.WriteFile(filepath.Join(root, "b.txt.gz"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.want("its coded form is new", "/b.txt", 200, "new", "Accept-Encoding: gzip")
	if n := s.Stats().CacheFiles; n != 0 {
		t.Errorf("%d files are kept", n)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{Root: folder(t, map[string]string{"a": "a"})})
	for err, want := range map[error]int{
		fs.ErrNotExist: 404, fs.ErrPermission: 404, errNoFile: 404, syscall.ELOOP: 404, syscall.ENAMETOOLONG: 404,
		syscall.EMFILE: 503, syscall.ENFILE: 503, syscall.EIO: 503, &fs.PathError{Op: "open", Err: syscall.ENOMEM}: 503,
	} {
		w := new(recorder)
		a := &answer{ResponseWriter: w, s: s.Server}
		s.files.failed(a, "na\nme", err)
		if w.code != want {
			t.Errorf("%v: %d, want %d", err, w.code, want)
		}
	}
	s.log.await(t, `name=na\nme`)
	s.log.await(t, "permission denied")
}

// recorder is the least of a ResponseWriter.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}
func (w *recorder) WriteHeader(code int)        { w.code = code }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }

func TestFoldersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(folder(t, map[string]string{"f": ""}), "f")
	for name, cfg := range map[string]*Config{
		"no folder": {Root: "/no/such/folder"}, "a file": {Root: file},
		"no programs": {CGI: "/no/such/folder"}, "a file of programs": {CGI: file}, "no files beside programs": {Root: "/no/such", CGI: file},
	} {
		if s, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "web: ") {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// A list has what can be sent, in order; names are text, whatever they look like.
func TestList(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"b.txt": "12345", "a.txt": "", "dir/x": "", "ünïcode": "", "javascript:alert(1)": "x", "<script>alert(1)": "", `quote"'&amp;`: "",
		"sp ace": "", "per%cent": "", "que?stion": "", "ha#sh": "", "\x1b[2Jescape": "", "new\nline": "", "\xff\xfe": "", "back\\slash": "", "rtl\u202egnp.exe": "",
		"..almost": "", ".hidden": "",
	}
	if runtime.GOOS != "linux" {
		for name := range files {
			if strings.ContainsAny(name, "<>:\"?\\\n\x1b") || !utf8.ValidString(name) {
				delete(files, name)
			}
		}
	}
	root := folder(t, map[string]string{"sub/x": "x"})
	for name, content := range files {
		put(t, filepath.Join(root, "sub", name), content, 0o644)
	}
	s := newSite(t, &Config{Root: root})
	page := s.want("a folder", "/sub/", 200, "")
	if csp := page.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("Content-Security-Policy: %q", csp)
	}
	links, text := linksOf(t, page.body)
	if want := len(files); len(links) != want { // and the parent, and x, less the two hidden
		t.Errorf("%d links, want %d: %q", len(links), want, links)
	}
	if links[0] != "../" || links[1] != "./dir/" {
		t.Errorf("%q", links[:2])
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\n' || c == 0x7f {
			t.Errorf("there is a control byte in %q", text)
			break
		}
	}
	if strings.Contains(text, "\u202e") || strings.Contains(page.body, "<script") {
		t.Errorf("%s", page.body)
	}
	base, _ := url.Parse(s.url("/sub/"))
	for _, link := range links[1:] {
		u, err := base.Parse(link)
		if err != nil || u.Host != s.addr || u.Scheme != "http" {
			t.Errorf("the link %q leads to %v, %v", link, u, err)
			continue
		}
		s.want("a link of the list", strings.TrimPrefix(u.String(), "http://"+s.addr), 200, "")
	}
	if !strings.Contains(page.body, "<td class=n>5</td>") {
		t.Errorf("no sizes:\n%s", page.body)
	}
	s.want("shortened", "/sub/", 200, "", "Accept-Encoding: gzip")
}

// linksOf returns what the links of a page lead to, and its text.
func linksOf(t *testing.T, page string) (links []string, text string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return links, text
		case html.TextToken:
			text += string(z.Text())
		case html.StartTagToken:
			_, more := z.TagName()
			for more {
				var key, value []byte
				key, value, more = z.TagAttr()
				if string(key) == "href" {
					links = append(links, string(value))
				}
			}
		}
	}
}

func TestListIsBounded(t *testing.T) {
	t.Parallel()
	root := folder(t, nil)
	for i := range listMax + 10 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, &Config{Root: root})
	page := s.want("a large folder", "/", 200, "").body
	if n := strings.Count(page, "<tr><td>"); n != listMax || !strings.Contains(page, "at most 4000 names") {
		t.Errorf("%d are listed", n)
	}
}

func TestNoListing(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{Root: folder(t, map[string]string{"a": "a"}), NoListing: true})
	s.want("no list", "/", 404, "")
}

func FuzzListPage(f *testing.F) {
	f.Add("/a/", "name", true)
	f.Add("/<b>/", `"><script>alert(1)</script>`, false)
	f.Add("/", "javascript:alert(1)", false)
	f.Fuzz(func(t *testing.T, path, name string, folder bool) {
		page := string(listPage(path, []item{{name, folder, 1, time.Unix(0, 0)}}, false))
		links, _ := linksOf(t, page)
		last := links[len(links)-1]
		u, err := url.Parse(last)
		if err != nil || u.Scheme != "" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q becomes the link %q", name, last)
		}
		want := "./" + name
		if folder {
			want += "/"
		}
		if u.Path != want {
			t.Errorf("%q becomes %q", name, u.Path)
		}
		if strings.Count(page, "<") != strings.Count(string(listPage("/x/", []item{{"y", folder, 1, time.Unix(0, 0)}}, false)), "<") && path != "/" {
			t.Errorf("%q, %q bring tags of their own", path, name)
		}
	})
}

func TestSniff(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": plain, "text\n": plain, "<html>": plain, "ü": plain, "cut \xc3": plain, "\x1b[1m": plain,
		"\x00": octets, "\xff": octets, "a\x7f": plain, "PK\x03\x04": octets, "bad \xc3 here": octets,
	} {
		if got := sniff([]byte(in)); got != want {
			t.Errorf("sniff(%q) = %q", in, got)
		}
	}
	closed, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, err := contentType("x", closed); err == nil {
		t.Error("what can't be read has a type")
	}
}
