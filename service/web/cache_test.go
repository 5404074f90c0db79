package web

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// keptFile is a folder with one small file, and its cache.
func keptFile(t *testing.T, cfg *Config) (f *files, name string) {
	t.Helper()
	cfg.Root = folder(t, map[string]string{"a.txt": "one"})
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.files, filepath.Join(cfg.Root, "a.txt")
}

// load opens a.txt and keeps it, at that time.
func load(t *testing.T, f *files, now time.Time) *entry {
	t.Helper()
	file, info, err := f.open("a.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return f.keep("a.txt", file, info, now)
}

// A file that is kept is looked at once a second, and no more.
func TestKeptFileIsLookedAt(t *testing.T) {
	t.Parallel()
	f, name := keptFile(t, &Config{})
	now := time.Now()
	if f.kept("a.txt", now) != nil {
		t.Error("it is kept before anybody asked")
	}
	e := load(t, f, now)
	if e == nil || string(e.forms[identity].data) != "one" {
		t.Fatalf("%+v", e)
	}
	if f.kept("a.txt", now.Add(time.Second)) != e {
		t.Error("it is thrown away, and has not changed")
	}
	put(t, name, "two", 0o644)
	os.Chtimes(name, longAgo.Add(time.Second), longAgo.Add(time.Second))
	if f.kept("a.txt", now.Add(time.Second+999*time.Millisecond)) != e {
		t.Error("it was looked at within a second")
	}
	if f.kept("a.txt", now.Add(2*time.Second)) != nil {
		t.Error("it has changed, and is kept")
	}
	if n, memory := f.cache.size(); n != 0 || memory != 0 {
		t.Errorf("%d files, %d bytes", n, memory)
	}
}

// Whatever changes of a file shows.
func TestWhatChangesShows(t *testing.T) {
	t.Parallel()
	later := longAgo.Add(time.Hour)
	for why, change := range map[string]func(name string) error{
		"it is gone":        os.Remove,
		"it is longer":      func(name string) error { return os.WriteFile(name, []byte("longer"), 0o644) },
		"its time":          func(name string) error { return os.Chtimes(name, later, later) },
		"its mode":          func(name string) error { return os.Chmod(name, 0o600) },
		"it is another":     func(name string) error { put(t, name+"x", "two", 0o644); return os.Rename(name+"x", name) },
		"a coded form came": func(name string) error { return os.WriteFile(name+".br", nil, 0o644) },
		"it is a folder":    func(name string) error { os.Remove(name); return os.Mkdir(name, 0o755) },
	} {
		f, name := keptFile(t, &Config{CacheFor: -1})
		if load(t, f, time.Now()) == nil {
			t.Fatal("it is not kept")
		}
		if err := change(name); err != nil {
			t.Errorf("%s: %v", why, err)
		}
		if f.kept("a.txt", time.Now()) != nil {
			t.Errorf("%s, and it is kept", why)
		}
	}
}

func TestWhatIsNotKept(t *testing.T) {
	t.Parallel()
	f, _ := keptFile(t, &Config{CacheFileMax: 2})
	if load(t, f, time.Now()) != nil {
		t.Error("it is too large")
	}
	f, _ = keptFile(t, &Config{CacheMax: -1})
	if load(t, f, time.Now()) != nil {
		t.Error("nothing is kept")
	}
	f, _ = keptFile(t, &Config{})
	if load(t, f, longAgo.Add(time.Second)) != nil {
		t.Error("it has just changed")
	}
	f, _ = keptFile(t, &Config{CacheMax: 100})
	if load(t, f, time.Now()) == nil {
		t.Error("it is not sent") // but not kept either
	}
	if n, _ := f.cache.size(); n != 0 {
		t.Errorf("%d files in 100 bytes", n)
	}
}

// A file that changes while it is read is not kept, and sent from its beginning.
func TestFileThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	f, name := keptFile(t, &Config{})
	file, info, err := f.open("a.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.WriteFile(name, []byte("it is longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(name, longAgo, longAgo)
	if f.keep("a.txt", file, info, time.Now()) != nil {
		t.Error("it is kept")
	}
	if at, _ := file.Seek(0, 1); at != 0 {
		t.Errorf("it stands at %d", at)
	}
	if err := os.Truncate(name, 1); err != nil {
		t.Fatal(err)
	}
	if data, err := readWhole(file, info); err == nil {
		t.Errorf("it is shorter: %q", data)
	}
}

func TestVariantThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	f, name := keptFile(t, &Config{})
	put(t, name+".gz", "coded", 0o644)
	was := f.stampOf("a.txt.gz")
	put(t, name+".gz", "another", 0o644)
	if data, err := f.readVariant("a.txt.gz", was); err == nil {
		t.Errorf("%q", data)
	}
	os.Remove(name + ".gz")
	if data, err := f.readVariant("a.txt.gz", was); err == nil {
		t.Errorf("%q", data)
	}
}

// The cache has a bound; what was used lately stays.
func TestCacheBound(t *testing.T) {
	t.Parallel()
	const one = 2000
	c := newCache(10 * one)
	put := func(i int) { c.put(&entry{name: fmt.Sprint(i), memory: one}) }
	for i := range 10 {
		put(i)
	}
	for i := range 10 {
		if i != 3 && i != 7 {
			c.get(fmt.Sprint(i))
		}
	}
	put(10)
	put(11)
	for i := range 12 {
		if kept := c.get(fmt.Sprint(i)) != nil; kept != (i != 3 && i != 7) {
			t.Errorf("%d is kept: %v", i, kept)
		}
	}
	if n, memory := c.size(); n != 10 || memory != 10*one {
		t.Errorf("%d files, %d bytes", n, memory)
	}
	c.put(&entry{name: "large", memory: 10*one + 1})
	c.put(&entry{name: "11", memory: 5})
	if n, memory := c.size(); n != 10 || memory != 9*one+5 {
		t.Errorf("%d files, %d bytes", n, memory)
	}
	c.put(&entry{name: "all", memory: 10 * one})
	if n, memory := c.size(); n != 1 || memory != 10*one || len(c.ring) != 1 {
		t.Errorf("%d files, %d bytes, a ring of %d", n, memory, len(c.ring))
	}
	gone := &entry{name: "gone"}
	c.drop(gone)
	c.drop(c.get("all"))
	if n, memory := c.size(); n != 0 || memory != 0 || len(c.ring) != 0 {
		t.Errorf("%d files, %d bytes", n, memory)
	}
}

// A file that is replaced while many ask for it is one or the other, whole, and the new
// one when a second is over.
func TestKeptFileIsReplaced(t *testing.T) {
	t.Parallel()
	root := folder(t, map[string]string{"a.txt": strings.Repeat("one\n", 500)})
	s := newSite(t, &Config{Root: root, CacheFor: -1})
	one, two := strings.Repeat("one\n", 500), strings.Repeat("two\n", 600)
	s.want("the first", "/a.txt", 200, one)
	replaced := make(chan bool)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			w := s.dial()
			for over := false; !over; {
				select {
				case <-replaced:
					over = true
				default:
				}
				w.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
				if r := w.reply("GET"); r.body != two && (over || r.body != one) {
					t.Errorf("%s %q", r.Status, cut(r.body))
				}
			}
		})
	}
	put(t, filepath.Join(root, "new"), two, 0o644)
	if err := os.Rename(filepath.Join(root, "new"), filepath.Join(root, "a.txt")); err != nil {
		t.Error(err)
	}
	close(replaced)
	all.Wait()
}
