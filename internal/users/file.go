package users

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"
)

// Config says how often one may try. The zero value, and nil, are the defaults.
type Config struct {
	// Hashings is how many passwords may be checked at once; further ones wait. If
	// zero, half of the processors, at least 1.
	Hashings int

	// Waiting is how many attempts may wait for their turn; one more is refused with
	// ErrBusy. If zero, 64.
	Waiting int

	// Delay is how long a source that has failed once waits for its next attempt. It
	// doubles with each failure, to MaxDelay at most. If zero, 1 s and 15 s; if
	// negative, nobody waits.
	Delay, MaxDelay time.Duration

	// Log is told when the file has changed and can't be read. If nil, slog.Default().
	Log *slog.Logger
}

func (c *Config) hashings() int {
	return cmp.Or(c.Hashings, max(runtime.GOMAXPROCS(0)/2, 1))
}
func (c *Config) waiting() int            { return cmp.Or(c.Waiting, 64) }
func (c *Config) delay() time.Duration    { return max(cmp.Or(c.Delay, time.Second), 0) }
func (c *Config) maxDelay() time.Duration { return max(cmp.Or(c.MaxDelay, 15*time.Second), c.delay()) }

// A File is a password file that is asked, and read again when it has changed. It is
// safe for concurrent use.
type File struct {
	path    string
	log     *slog.Logger
	turns   chan struct{} // holds one for each hashing under way
	seats   chan struct{} // holds one for each attempt that waits or is hashed
	sources sources

	mu     sync.Mutex // guards what follows
	users  map[string]User
	hashes []string // of the users, in the order of the file; a made-up one if there are none
	stamp  stamp
	asked  time.Time // when the stamp was last looked at
}

// A stamp is what changes when a file does.
type stamp struct {
	size int64
	time time.Time
	id   os.FileInfo // for os.SameFile
}

func stampOf(fi os.FileInfo) stamp { return stamp{fi.Size(), fi.ModTime(), fi} }

func (s stamp) same(o stamp) bool {
	return s.size == o.size && s.time.Equal(o.time) && os.SameFile(s.id, o.id)
}

// Open reads the file. cfg may be nil. On Unix it is an error if anybody may write to it.
func Open(path string, cfg *Config) (*File, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	f := &File{
		path: path, log: cfg.Log,
		turns:   make(chan struct{}, cfg.hashings()),
		seats:   make(chan struct{}, cfg.hashings()+cfg.waiting()),
		sources: sources{delay: cfg.delay(), most: cfg.maxDelay()},
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.asked = time.Now()
	return f, nil
}

// read replaces the users by those of the file. If it fails they stay as they are.
func (f *File) read() error {
	text, fi, err := readFile(f.path)
	if err != nil {
		return err
	}
	all, err := Parse(text)
	if err != nil {
		return fmt.Errorf("users file %s: %w", f.path, err)
	}
	f.users, f.hashes = make(map[string]User, len(all)), nil
	for _, u := range all {
		f.users[u.Name] = u
		f.hashes = append(f.hashes, u.Hash)
	}
	if len(all) == 0 {
		f.hashes = []string{Hash("nobody")}
	}
	f.stamp = stampOf(fi)
	return nil
}

// readFile returns the text of a password file.
func readFile(path string) ([]byte, os.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("users file: %w; yodel passwd makes one", err)
	}
	defer file.Close()
	fi, err := file.Stat()
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("users file: %w", err)
	case !fi.Mode().IsRegular():
		return nil, nil, fmt.Errorf("users file %s: not a regular file", path)
	case runtime.GOOS != "windows" && fi.Mode().Perm()&0o002 != 0:
		return nil, nil, fmt.Errorf("users file %s: everybody may write to it: chmod 600", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		err = fmt.Errorf("users file: %w", err)
	}
	return text, fi, err
}

// refresh reads the file again if it has changed, and looks at most once a second. It is
// called with mu held.
func (f *File) refresh(now time.Time) {
	if now.Sub(f.asked) < time.Second {
		return
	}
	f.asked = now
	fi, err := os.Stat(f.path)
	if err == nil && f.stamp.same(stampOf(fi)) {
		return
	}
	if err == nil {
		err = f.read()
	}
	if err != nil && fi != nil {
		f.stamp = stampOf(fi) // it is told once, not each second
	}
	if err != nil {
		f.log.Warn("users file not read again, the old users stay", "error", err)
	}
}

// find returns the user of that name, and a hash to check a password against: for a name
// that is not there that of some user, always the same one, so that an attempt costs what
// it would cost if the name were there.
func (f *File) find(name string, now time.Time) (u User, hash string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh(now)
	if u, ok = f.users[name]; ok {
		return u, u.Hash, true
	}
	return u, f.hashes[spread(name)%uint32(len(f.hashes))], false
}

// Lookup returns the user of that name, without a password.
func (f *File) Lookup(name string) (User, bool) {
	u, _, ok := f.find(name, time.Now())
	return u, ok
}
