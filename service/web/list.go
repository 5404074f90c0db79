package web

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"yodel/internal/escape"
)

// listMax is how many names of a folder are listed, and readMax how many are looked at.
const (
	listMax = 4_000
	readMax = 16 * listMax
)

// list answers with the names in a folder.
func (f *files) list(a *answer, r *http.Request, name string) {
	folder, info, err := f.open(name)
	switch {
	case err != nil:
		f.failed(a, name, err)
		return
	case !info.IsDir():
		folder.Close()
		a.notFound()
		return
	}
	defer folder.Close()
	items, cut, err := f.items(folder, name)
	if err != nil {
		f.failed(a, name, err)
		return
	}
	page(a, r, listPage(r.URL.Path, items, cut))
}

// item is a line of a list.
type item struct {
	name     string
	folder   bool
	size     int64
	modified time.Time
}

// items returns what is in a folder and may be sent; cut says that there may be more.
func (f *files) items(folder *os.File, name string) (items []item, cut bool, err error) {
	for read := 0; len(items) <= listMax && read < readMax; {
		entries, err := folder.ReadDir(256)
		read += len(entries)
		for _, e := range entries {
			if it, ok := f.itemOf(e, name); ok {
				items = append(items, it)
			}
		}
		if errors.Is(err, io.EOF) {
			return inOrder(items), false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return inOrder(items[:min(len(items), listMax)]), true, nil
}

// inOrder sorts items: folders first, each kind by name.
func inOrder(items []item) []item {
	slices.SortFunc(items, func(x, y item) int {
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), cmp.Compare(x.name, y.name))
	})
	return items
}

func (it item) rank() int {
	if it.folder {
		return 0
	}
	return 1
}

// itemOf returns the line for an entry of the folder called name, if it can be sent: a
// link is what it leads to.
func (f *files) itemOf(e fs.DirEntry, name string) (item, bool) {
	path := strings.TrimPrefix(name+"/"+e.Name(), "./")
	if !f.isShown(e.Name()) || f.isHidden(path) || foreign(e.Name()) {
		return item{}, false
	}
	info, err := e.Info()
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		info, err = f.root.Stat(path)
	}
	if err != nil || !isPlain(info) {
		return item{}, false
	}
	return item{e.Name(), info.IsDir(), info.Size(), info.ModTime()}, true
}

// listPage returns a page of names. They are anybody's text.
func listPage(path string, items []item, cut bool) []byte {
	var b strings.Builder
	title := html.EscapeString("Folder " + escape.String(path))
	fmt.Fprintf(&b, pageHead, title, title)
	b.WriteString("<table>\n<tr><th>name</th><th>bytes</th><th>last change (UTC)</th></tr>\n")
	if path != "/" {
		b.WriteString("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n")
	}
	for _, it := range items {
		b.WriteString(it.row())
	}
	b.WriteString("</table>\n")
	if cut {
		fmt.Fprintf(&b, "<p>There may be more: at most %d names are listed.</p>\n", listMax)
	}
	b.WriteString("</body>\n</html>\n")
	return []byte(b.String())
}

func (it item) row() string {
	name, size := it.name, fmt.Sprint(it.size)
	if it.folder {
		name, size = name+"/", ""
	}
	link := "./" + url.PathEscape(it.name) // the dot keeps "javascript:" a file
	if it.folder {
		link += "/"
	}
	return fmt.Sprintf("<tr><td><a href=\"%s\">%s</a></td><td class=n>%s</td><td>%s</td></tr>\n",
		html.EscapeString(link), html.EscapeString(escape.String(name)), size, it.modified.UTC().Format("2006-01-02 15:04:05"))
}

const pageHead = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>%s</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; }
th { text-align: left; }
th, td { padding: 0 2rem 0 0; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
td.w { overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>%s</h1>
`

// page answers with a page of ours. It has no scripts, and brings nothing from elsewhere.
func page(a *answer, r *http.Request, text []byte) {
	h := a.Header()
	h.Set("Content-Type", hypertext)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	sendText(a, r, text)
}

// sendText answers with a text of which the type is set, shortened if that pays.
func sendText(a *answer, r *http.Request, text []byte) {
	h := a.Header()
	h.Set("Vary", "Accept, Accept-Encoding")
	codings := accepted([]byte(strings.Join(r.Header["Accept-Encoding"], ",")))
	if slices.Contains(codings[:], gzipped) {
		if z := compress(h.Get("Content-Type"), text); z != nil {
			h.Set("Content-Encoding", gzipped.String())
			text = z
		}
	}
	h.Set("Content-Length", fmt.Sprint(len(text)))
	a.Write(text)
}
