package web

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// files sends what is below a folder.
type files struct {
	cfg    *Config
	root   *os.Root
	hidden string // a folder in it whose files are not sent, CGI's; "" for none
	cache  *cache

	warnings *warnings
}

func openFiles(cfg *Config, w *warnings) (*files, error) {
	root, err := os.OpenRoot(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("web: the folder of files, --root: %w", err)
	}
	f := &files{cfg: cfg, root: root, warnings: w, cache: newCache(cfg.cacheMax())}
	if cfg.CGI != "" {
		f.hidden = below(cfg.Root, cfg.CGI)
	}
	return f, nil
}

// below returns the path of inner in outer; "" if it is not inside of it.
func below(outer, inner string) string {
	outer, err1 := realPath(outer)
	inner, err2 := realPath(inner)
	rel, err3 := filepath.Rel(outer, inner)
	if errors.Join(err1, err2, err3) != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return filepath.ToSlash(rel)
}

func realPath(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(name)
}

var errNoFile = errors.New("there is no such file")

// nameOf returns the name of a file for the path of a URL, "." for the folder itself, and
// whether the path says that it is a folder. The path has one meaning: no part is empty,
// "." or "..", and no slash is percent-encoded.
func (f *files) nameOf(u *url.URL) (name string, folder bool, err error) {
	name, ok := strings.CutPrefix(u.Path, "/")
	if !ok || strings.ContainsRune(name, 0) || hasEncodedSlash(u) || foreign(name) {
		return "", false, errNoFile
	}
	if name, folder = strings.CutSuffix(name, "/"); name == "" && !folder {
		return ".", true, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if !f.isShown(part) {
			return "", false, errNoFile
		}
	}
	if f.isHidden(name) {
		return "", false, errNoFile
	}
	return name, folder, nil
}

// isHidden reports whether name is in CGI's folder, or is it. The case of letters does not
// matter: there are file systems to which it does not.
func (f *files) isHidden(name string) bool {
	n := len(f.hidden)
	return n > 0 && len(name) >= n && strings.EqualFold(name[:n], f.hidden) && (len(name) == n || name[n] == '/')
}

func hasEncodedSlash(u *url.URL) bool {
	return strings.Contains(strings.ToLower(u.RawPath), "%2f")
}

// foreign reports whether a name means something else to this system than to URLs.
func foreign(name string) bool {
	return runtime.GOOS == "windows" && strings.ContainsAny(name, `\:`)
}

// isShown reports whether part may be one of a path.
func (f *files) isShown(part string) bool {
	switch part {
	case "", ".", "..":
		return false
	}
	return f.cfg.Hidden || part[0] != '.'
}

// serve answers with the file, folder or list that r asks for.
func (f *files) serve(a *answer, r *http.Request) {
	name, folder, err := f.nameOf(r.URL)
	if err != nil {
		a.notFound()
		return
	}
	if !folder {
		f.serveFile(a, r, name)
		return
	}
	index := path.Join(name, "index.html")
	if f.serveKept(a, r, index) {
		return
	}
	file, info, err := f.open(index)
	switch {
	case err == nil && info.Mode().IsRegular():
		f.send(a, r, index, file, info)
	case err == nil:
		file.Close()
		a.notFound()
	case isMissing(err) && !f.cfg.NoListing:
		f.list(a, r, name)
	default:
		f.failed(a, index, err)
	}
}

func (f *files) serveFile(a *answer, r *http.Request, name string) {
	if f.serveKept(a, r, name) {
		return
	}
	file, info, err := f.open(name)
	switch {
	case err != nil:
		f.failed(a, name, err)
	case info.IsDir():
		file.Close()
		f.toFolder(a, r)
	default:
		f.send(a, r, name, file, info)
	}
}

// toFolder sends the client to the path with a slash at its end, by which the relative
// links of what is there work.
func (f *files) toFolder(a *answer, r *http.Request) {
	to := url.URL{Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery}
	a.Header().Set("Location", to.String()) // it begins with one slash: nameOf has seen to it
	a.fail(http.StatusMovedPermanently, "it is a folder")
}

// open opens a regular file or a folder, and nothing else: a pipe would wait for its
// writer, and a device may do something when it is opened.
func (f *files) open(name string) (*os.File, fs.FileInfo, error) {
	name = filepath.FromSlash(name)
	if info, err := f.root.Stat(name); err != nil || !isPlain(info) {
		return nil, nil, orMissing(err)
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat() // of what was opened: it may be another by now
	if err != nil || !isPlain(info) {
		file.Close()
		return nil, nil, orMissing(err)
	}
	return file, info, nil
}

func isPlain(info fs.FileInfo) bool { return info.IsDir() || info.Mode().IsRegular() }

func orMissing(err error) error {
	if err == nil {
		return fs.ErrNotExist
	}
	return err
}

// isMissing reports whether there is nothing of that name.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// failed answers for a file that can't be opened. To the client it is not there, unless
// that may pass.
func (f *files) failed(a *answer, name string, err error) {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EIO):
		f.warnings.say("file not sent", "name", logged(name), "error", logged(err.Error()))
		a.Header().Set("Retry-After", "1")
		a.fail(http.StatusServiceUnavailable, "the file can't be read now")
		return
	case errors.Is(err, fs.ErrPermission):
		f.warnings.say("file not sent", "name", logged(name), "error", logged(err.Error()))
	}
	a.notFound()
}

// send answers with a file that is open, closes it, and keeps it if it is small.
func (f *files) send(a *answer, r *http.Request, name string, file *os.File, info fs.FileInfo) {
	defer file.Close()
	if e := f.keep(name, file, info, time.Now()); e != nil {
		f.sendKept(a, r, e)
		return
	}
	h := a.Header()
	typ, err := contentType(name, file)
	if err != nil {
		f.failed(a, name, err)
		return
	}
	h.Set("Content-Type", typ)
	h.Set("Etag", etag(info, time.Now()))
	if other, coding := f.variant(a, r, name, info); other != nil {
		defer other.Close()
		f.sendEncoded(a, r, other, coding)
		return
	}
	boundRanges(r)
	http.ServeContent(a, r, "", info.ModTime(), file)
}

// rangesMax is how many ranges a request may ask for; one that asks for more gets all.
const rangesMax = 16

func boundRanges(r *http.Request) {
	ranges := r.Header["Range"]
	if len(ranges) > 1 || len(ranges) == 1 && strings.Count(ranges[0], ",") >= rangesMax {
		r.Header.Del("Range")
	}
}

// etag is a strong validator, and a weak one for a file that has just changed: it may
// change once more without that its time shows it. RFC 9110 §8.8.1.
func etag(info fs.FileInfo, now time.Time) string {
	if isFresh(info, now) {
		return "W/" + strongTag(info)
	}
	return strongTag(info)
}

func strongTag(info fs.FileInfo) string {
	return fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size())
}

// isFresh reports whether a file was changed so lately that a change which follows may
// not show in its time.
func isFresh(info fs.FileInfo, now time.Time) bool { return now.Sub(info.ModTime()) < 2*time.Second }

// serveKept answers with a file that is kept, if it is.
func (f *files) serveKept(a *answer, r *http.Request, name string) bool {
	e := f.kept(name, time.Now())
	if e == nil {
		return false
	}
	f.sendKept(a, r, e)
	return true
}

// sendKept answers with a kept file, in the best form that the client takes.
func (f *files) sendKept(a *answer, r *http.Request, e *entry) {
	form := &e.forms[identity]
	if takesVariant(r) {
		form = e.form([]byte(strings.Join(r.Header["Accept-Encoding"], ",")))
	}
	h := a.Header()
	h.Set("Content-Type", e.typ)
	h.Set("Etag", form.etag)
	if e.varies {
		h.Set("Vary", "Accept-Encoding")
	}
	if form.coding != identity {
		h.Set("Content-Encoding", form.coding.String())
		h.Set("Content-Length", fmt.Sprint(len(form.data)))
	}
	boundRanges(r)
	http.ServeContent(a, r, "", form.modified, bytes.NewReader(form.data))
}
