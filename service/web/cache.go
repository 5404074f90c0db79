package web

import (
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// entry is a file that is kept, in all its codings. Nothing of it changes but checked and
// used.
type entry struct {
	name   string
	typ    string
	stamps [codings]stamp // of the file, and of those beside it that hold it coded
	forms  [codings]form
	varies bool // there is more than one form
	memory int64
	place  int // in the ring; the cache's lock guards it

	checked atomic.Int64 // when stamps were last looked at, in ns since 1970
	used    atomic.Bool  // since the cache last looked for room
}

// form is a file in one coding.
type form struct {
	coding   coding
	data     []byte // nil: there is no such form
	etag     string
	modified time.Time
	head     []byte // of the guard's own answer, but for the date
}

// stamp is what shows that a file is still what it was.
type stamp struct {
	info fs.FileInfo // nil: there was none
}

func (f *files) stampOf(name string) stamp {
	info, err := f.root.Stat(filepath.FromSlash(name))
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

func (s stamp) equals(t stamp) bool {
	if s.info == nil || t.info == nil {
		return s.info == nil && t.info == nil
	}
	return os.SameFile(s.info, t.info) && s.info.Size() == t.info.Size() &&
		s.info.ModTime().Equal(t.info.ModTime()) && s.info.Mode() == t.info.Mode()
}

// form returns what to send to a client with that Accept-Encoding.
func (e *entry) form(field []byte) *form {
	if e.varies {
		for _, c := range accepted(field) {
			if c != identity && e.forms[c].data != nil {
				return &e.forms[c]
			}
		}
	}
	return &e.forms[identity]
}

// kept returns the entry of name, if there is one and it is still right. The file is
// looked at at most once in each CacheFor; by one request, while others go on with what
// there is.
func (f *files) kept(name string, now time.Time) *entry {
	e := f.cache.get(name)
	if e == nil {
		return nil
	}
	last := e.checked.Load()
	if now.UnixNano()-last < int64(f.cfg.cacheFor()) || !e.checked.CompareAndSwap(last, now.UnixNano()) {
		return e
	}
	for c := range codings {
		if !f.stampOf(name + c.suffix()).equals(e.stamps[c]) {
			f.cache.drop(e)
			return nil
		}
	}
	return e
}

// keep reads a small file and keeps it. It returns nil if the file is not one to keep: too
// large, too new to be sure of, or changed meanwhile.
func (f *files) keep(name string, file *os.File, info fs.FileInfo, now time.Time) *entry {
	if info.Size() > f.cfg.cacheFileMax() || f.cfg.cacheMax() == 0 || isFresh(info, now) {
		return nil
	}
	e := &entry{name: name}
	e.checked.Store(now.UnixNano())
	for c := range codings {
		e.stamps[c] = f.stampOf(name + c.suffix())
		if s := e.stamps[c].info; s != nil && isFresh(s, now) {
			return nil
		}
	}
	data, err := readWhole(file, info)
	if err != nil || !e.stamps[identity].equals(stamp{info}) {
		file.Seek(0, io.SeekStart)
		return nil
	}
	e.typ, _ = contentType(name, file)
	e.add(identity, data, info)
	f.addVariants(e, info)
	f.cache.put(e)
	return e
}

// readWhole reads a file that has the size that info says.
func readWhole(file *os.File, info fs.FileInfo) ([]byte, error) {
	data := make([]byte, info.Size()+1)
	n, err := io.ReadFull(file, data)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil
	}
	if err == nil && int64(n) != info.Size() {
		err = errNoFile
	}
	return data[:n:n], err
}

// addVariants adds the forms of files beside it, and one of our own if that pays.
func (f *files) addVariants(e *entry, info fs.FileInfo) {
	for c := identity + 1; c < codings; c++ {
		other := e.stamps[c].info
		if other == nil || !isVariant(other, info) || other.Size() > f.cfg.cacheFileMax() {
			continue
		}
		if data, err := f.readVariant(e.name+c.suffix(), e.stamps[c]); err == nil {
			e.add(c, data, other)
		}
	}
	if e.forms[gzipped].data == nil {
		if data := compress(e.typ, e.forms[identity].data); data != nil {
			e.add(gzipped, data, info)
		}
	}
	for c := range codings {
		if e.forms[c].data != nil {
			e.forms[c].head = e.headOf(c)
		}
	}
}

func (f *files) readVariant(name string, s stamp) ([]byte, error) {
	file, info, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if !s.equals(stamp{info}) {
		return nil, errNoFile
	}
	return readWhole(file, info)
}

// add adds a form that info is of. Its memory is what it holds and, about, what holding it
// takes.
func (e *entry) add(c coding, data []byte, info fs.FileInfo) {
	e.forms[c] = form{coding: c, data: data, etag: coded(strongTag(info), c), modified: info.ModTime()}
	e.varies = e.varies || c != identity
	e.memory += int64(len(data)+len(e.name)) + 1<<10
}

// headOf returns the head of the answer with a form, as net/http would write it.
func (e *entry) headOf(c coding) []byte {
	var b strings.Builder
	line := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	b.WriteString("HTTP/1.1 200 OK\r\n")
	line("Accept-Ranges", "bytes")
	if c != identity {
		line("Content-Encoding", c.String())
	}
	line("Content-Length", strconv.Itoa(len(e.forms[c].data)))
	line("Content-Type", e.typ)
	line("Etag", e.forms[c].etag)
	line("Last-Modified", e.forms[c].modified.UTC().Format(http.TimeFormat))
	if e.varies {
		line("Vary", "Accept-Encoding")
	}
	line("X-Content-Type-Options", "nosniff")
	b.WriteString("Date: ")
	return []byte(b.String())
}

// cache keeps entries up to a bound of memory. What was not used lately goes first (second
// chance).
type cache struct {
	max int64

	mu      sync.RWMutex
	entries map[string]*entry
	ring    []*entry // in the order in which they are looked at for room
	hand    int
	memory  int64
}

func newCache(max int64) *cache { return &cache{max: max, entries: make(map[string]*entry)} }

func (c *cache) get(name string) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.entries[name]
	if e != nil && !e.used.Load() {
		e.used.Store(true)
	}
	return e
}

// put adds e, in the place of one of the same name, and makes room.
func (c *cache) put(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.memory > c.max {
		return
	}
	c.remove(c.entries[e.name])
	for c.memory+e.memory > c.max {
		c.evict()
	}
	c.entries[e.name] = e
	e.place = len(c.ring)
	c.ring = append(c.ring, e)
	c.memory += e.memory
}

// evict removes one entry: the next that was not used since the hand last came by.
func (c *cache) evict() {
	for {
		c.hand %= len(c.ring)
		e := c.ring[c.hand]
		if !e.used.Swap(false) {
			c.remove(e)
			return
		}
		c.hand++
	}
}

func (c *cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(e)
}

// remove removes e, if it is there. The last of the ring takes its place.
func (c *cache) remove(e *entry) {
	if e == nil || c.entries[e.name] != e {
		return
	}
	delete(c.entries, e.name)
	c.memory -= e.memory
	last := len(c.ring) - 1
	c.ring[e.place], c.ring[last].place = c.ring[last], e.place
	c.ring[last] = nil
	c.ring = c.ring[:last]
}

func (c *cache) size() (n int, memory int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries), c.memory
}
