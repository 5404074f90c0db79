package web

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// coding is how a file is coded on its way. RFC 9110 §8.4.1.
type coding uint8

const (
	identity coding = iota
	gzipped
	brotli
	codings
)

// String returns the coding's name in Content-Encoding.
func (c coding) String() string { return [...]string{"identity", "gzip", "br"}[c] }

// suffix is what the name of a file has that holds another one in this coding.
func (c coding) suffix() string { return [...]string{"", ".gz", ".br"}[c] }

// acceptMax is how many codings of an Accept-Encoding field are looked at.
const acceptMax = 20

// accepted returns which codings a client takes, the best one first, by what its
// Accept-Encoding says: RFC 9110 §12.5.3. identity, which it always takes, is left out
// and ends the list. Where it likes several as much, the one that is shorter comes first.
func accepted(field []byte) (list [codings]coding) {
	weights := [codings]int{identity: -1, gzipped: -1, brotli: -1}
	any := -1
	for range acceptMax {
		var item []byte
		item, field, _ = bytes.Cut(field, []byte{','})
		name, params, _ := bytes.Cut(item, []byte{';'})
		name = bytes.TrimSpace(name)
		switch w := weight(params); {
		case isName(name, "gzip"), isName(name, "x-gzip"):
			weights[gzipped] = w
		case isName(name, "br"):
			weights[brotli] = w
		case isName(name, "identity"):
			weights[identity] = w
		case string(name) == "*":
			any = w
		}
		if len(field) == 0 {
			break
		}
	}
	return ranked(weights, any)
}

// ranked sorts the codings that are liked at least as much as identity.
func ranked(weights [codings]int, any int) (list [codings]coding) {
	least := max(weights[identity], 1)
	n := 0
	add := func(c coding) {
		list[n] = c
		n++
	}
	gz, br := orAny(weights[gzipped], any), orAny(weights[brotli], any)
	if br >= least && br >= gz {
		add(brotli)
	}
	if gz >= least {
		add(gzipped)
	}
	if br >= least && br < gz {
		add(brotli)
	}
	return list
}

func orAny(w, any int) int {
	if w < 0 {
		return any
	}
	return w
}

// weight reads ";q=0.8" and returns thousandths: 1000 if there is none, 0 if it is none.
func weight(params []byte) int {
	params = bytes.TrimSpace(params)
	if len(params) == 0 {
		return 1000
	}
	name, value, _ := bytes.Cut(params, []byte{'='})
	q, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 32)
	if !isName(bytes.TrimSpace(name), "q") || err != nil || !(q >= 0 && q <= 1) || len(value) > 8 {
		return 0
	}
	return int(q * 1000)
}

// takesVariant reports whether r may be answered in another coding. A range, or a
// condition for a change, is about the file itself.
func takesVariant(r *http.Request) bool {
	for _, name := range []string{"Range", "If-Match", "If-Range", "If-Unmodified-Since"} {
		if r.Header[name] != nil {
			return false
		}
	}
	return r.Header["Accept-Encoding"] != nil
}

// variant opens the best file beside name that holds it in a coding which the client
// takes; nil if there is none.
func (f *files) variant(a *answer, r *http.Request, name string, info fs.FileInfo) (*os.File, coding) {
	if !f.hasVariant(name, info) {
		return nil, identity
	}
	a.Header().Set("Vary", "Accept-Encoding")
	if !takesVariant(r) {
		return nil, identity
	}
	for _, c := range accepted([]byte(strings.Join(r.Header["Accept-Encoding"], ","))) {
		if c == identity {
			break
		}
		if file := f.openVariant(name, c, info); file != nil {
			return file, c
		}
	}
	return nil, identity
}

func (f *files) hasVariant(name string, info fs.FileInfo) bool {
	for c := identity + 1; c < codings; c++ {
		other, err := f.root.Stat(name + c.suffix())
		if err == nil && isVariant(other, info) {
			return true
		}
	}
	return false
}

// isVariant reports whether other may hold a file in another coding: one that is older
// than it does not.
func isVariant(other, info fs.FileInfo) bool {
	return other.Mode().IsRegular() && !other.ModTime().Before(info.ModTime())
}

func (f *files) openVariant(name string, c coding, info fs.FileInfo) *os.File {
	file, other, err := f.open(name + c.suffix())
	switch {
	case err != nil:
		return nil
	case !isVariant(other, info):
		file.Close()
		return nil
	}
	return file
}

// sendEncoded answers with other, which holds a file in another coding.
func (f *files) sendEncoded(a *answer, r *http.Request, other *os.File, c coding) {
	info, err := other.Stat()
	if err != nil {
		f.failed(a, other.Name(), err)
		return
	}
	h := a.Header()
	h.Set("Content-Encoding", c.String())
	h.Set("Etag", coded(etag(info, time.Now()), c))
	h.Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	http.ServeContent(a, r, "", info.ModTime(), other)
}

// coded returns the validator of a file in another coding.
func coded(tag string, c coding) string {
	if c == identity {
		return tag
	}
	return strings.TrimSuffix(tag, `"`) + "-" + c.String() + `"`
}

// gzipLeast is below how many bytes a file is sent as it is: it fits into one packet
// anyway.
const gzipLeast = 1400

// compress returns data in gzip's coding; nil if that does not pay.
func compress(typ string, data []byte) []byte {
	if len(data) < gzipLeast || !shrinks(typ) {
		return nil
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(data) // to memory: it can't fail
	z.Close()
	if out.Len() > len(data)*9/10 {
		return nil
	}
	return out.Bytes()
}
