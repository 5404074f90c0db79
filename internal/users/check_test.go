package users

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var here = netip.MustParseAddr("192.0.2.1")

// writeFile returns the path of a file with that text.
func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, text string, cfg *Config) *File {
	t.Helper()
	f, err := Open(writeFile(t, text), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var twoUsers = "ada:" + cheap("secret") + ":/a\nbob:" + cheap("other") + "\n"

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, user, password, home string
		want                       error
	}{
		{"the password", "ada", "secret", "/a", nil},
		{"another's password", "ada", "other", "", ErrDenied},
		{"a user without a home", "bob", "other", "/", nil},
		{"nobody", "eve", "secret", "", ErrDenied},
		{"no name", "", "", "", ErrDenied},
		{"a password that is too long", "ada", "secret" + strings.Repeat("x", 2000), "", ErrDenied},
	} {
		f := open(t, twoUsers, &Config{Delay: -1})
		u, err := f.Check(t.Context(), here, c.user, c.password)
		if err != c.want || u.Home != c.home {
			t.Errorf("%s: %+v, %v", c.name, u, err)
		}
	}
	if u, ok := open(t, twoUsers, nil).Lookup("ada"); !ok || u.Home != "/a" {
		t.Errorf("Lookup: %+v", u)
	}
}

// A name that is not there costs what one that is there costs: the hash of some user is
// checked, always the same one for the same name.
func TestUnknownNameCostsTheSame(t *testing.T) {
	t.Parallel()
	f := open(t, twoUsers, nil)
	now := time.Now()
	seen := make(map[string]bool)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		_, hash, ok := f.find(name, now)
		_, again, _ := f.find(name, now)
		if ok || hash != again || f.users["ada"].Hash != hash && f.users["bob"].Hash != hash {
			t.Errorf("%s: %q and %q", name, hash, again)
		}
		seen[hash] = true
	}
	if len(seen) != 2 {
		t.Error("unknown names are all like one user")
	}
	empty := open(t, "", nil)
	if _, hash, ok := empty.find("a", now); ok || checkHash(hash) != nil {
		t.Error("without users nothing is checked")
	}
	if _, err := empty.Check(t.Context(), here, "nobody", "nobody"); err != ErrDenied {
		t.Errorf("what stands in for a hash lets somebody in: %v", err)
	}
}

// C5: who guesses waits, longer each time, and others do not.
func TestDelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, twoUsers, &Config{Delay: time.Second, MaxDelay: 4 * time.Second})
		try := func(from netip.Addr, password string) (time.Duration, error) {
			began := time.Now()
			_, err := f.Check(t.Context(), from, "ada", password)
			return time.Since(began), err
		}
		for i, want := range []time.Duration{0, 1, 2, 4, 4} {
			if took, err := try(here, "guess"); took != want*time.Second || err != ErrDenied {
				t.Errorf("attempt %d: %v after %v, want %v", i, err, took, want*time.Second)
			}
		}
		if took, err := try(netip.MustParseAddr("192.0.2.2"), "secret"); took != 0 || err != nil {
			t.Errorf("somebody else: %v after %v", err, took)
		}
		if took, err := try(here, "secret"); took != 4*time.Second || err != nil {
			t.Errorf("the right password at last: %v after %v", err, took)
		}
		time.Sleep(time.Minute)
		if took, err := try(here, "guess"); took != 0 || err != ErrDenied {
			t.Errorf("after a minute: %v after %v", err, took)
		}
	})
}

// Attempts that come at once do not get around the delay, and only some of them wait.
func TestDelaysOfManyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, twoUsers, &Config{Delay: time.Second, MaxDelay: time.Second})
		f.Check(t.Context(), here, "ada", "guess")
		began := time.Now()
		var mu sync.Mutex
		var all sync.WaitGroup
		busy, last := 0, time.Duration(0)
		for range 20 {
			all.Go(func() {
				_, err := f.Check(t.Context(), here, "ada", "guess")
				mu.Lock()
				defer mu.Unlock()
				if err == ErrBusy {
					busy++
				}
				last = max(last, time.Since(began))
			})
		}
		all.Wait()
		if busy != 16 || last != 4*time.Second {
			t.Errorf("%d were refused, the last was done after %v", busy, last)
		}
	})
}

// Who does not wait for the end of a delay, or of the others, is let go.
func TestCheckEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, twoUsers, &Config{Hashings: 1, Waiting: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		f.turns <- struct{}{} // somebody is at it
		if _, err := f.Check(ctx, here, "ada", "secret"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a turn: %v", err)
		}
		<-f.turns
		f.Check(t.Context(), here, "ada", "guess")
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := f.Check(ctx, here, "ada", "secret"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for the delay: %v", err)
		}
		f.seats <- struct{}{}
		f.seats <- struct{}{}
		if _, err := f.Check(t.Context(), here, "ada", "secret"); err != ErrBusy {
			t.Errorf("no seat is free: %v", err)
		}
	})
}

// No more passwords are checked at once than Hashings, whoever asks.
func TestHashingsAreBounded(t *testing.T) {
	t.Parallel()
	f := open(t, twoUsers, &Config{Hashings: 2, Waiting: 100, Delay: -1})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := f.Check(t.Context(), here, "ada", "secret"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if cap(f.turns) != 2 || len(f.turns) != 0 || len(f.seats) != 0 {
		t.Errorf("%d of %d turns are taken, %d seats", len(f.turns), cap(f.turns), len(f.seats))
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for a, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1",
		"::ffff:192.0.2.1":     "192.0.2.1",
		"2001:db8::1:2:3:4":    "2001:db8::",
		"2001:db8:0:0:9::1":    "2001:db8::",
		"fe80::1%eth0":         "fe80::",
		"::1":                  "::1",
		"2001:db8:0:1::":       "2001:db8:0:1::",
		"2001:db8:ffff:ffff::": "2001:db8:ffff:ffff::",
	} {
		if got := sourceOf(netip.MustParseAddr(a)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", a, got, want)
		}
	}
	if sourceOf(netip.Addr{}).IsValid() {
		t.Error("no address counts as one")
	}
}

// However many sources fail, few are remembered, and those that failed long ago go first.
func TestSourcesAreBounded(t *testing.T) {
	t.Parallel()
	s := sources{delay: time.Second, most: time.Second}
	long := time.Now()
	s.note(here, false, long)
	now := long.Add(2 * forgetIn)
	a := netip.MustParseAddr("198.18.0.0")
	for range 3 * maxSources {
		a = a.Next()
		s.note(a, false, now)
	}
	if len(s.by) > maxSources || s.by[here] != nil || s.by[a] == nil {
		t.Errorf("%d sources, the first %v, the last %v", len(s.by), s.by[here], s.by[a])
	}
}

// The file is read again when it has changed; when it can't be, the users stay.
func TestFileIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		f := open(t, twoUsers, &Config{Delay: -1, Log: slog.New(slog.NewTextHandler(&log, nil))})
		is := func(why, name, password string, want error) {
			t.Helper()
			time.Sleep(1100 * time.Millisecond)
			if _, err := f.Check(t.Context(), here, name, password); err != want {
				t.Errorf("%s: %v", why, err)
			}
		}
		is("at first", "eve", "new", ErrDenied)
		if _, err := Set(f.path, "eve", "new", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Check(t.Context(), here, "eve", "new"); err != ErrDenied {
			t.Errorf("within a second it is not looked at again: %v", err)
		}
		is("after Set", "eve", "new", nil)
		os.WriteFile(f.path, []byte("nonsense\n"), 0o600)
		is("with nonsense in it", "eve", "new", nil)
		is("still", "eve", "new", nil)
		os.Remove(f.path)
		is("without the file", "eve", "new", nil)
		if n := strings.Count(log.String(), "not read again"); n != 2 {
			t.Errorf("%d log lines: %s", n, &log)
		}
		os.WriteFile(f.path, []byte(twoUsers), 0o600)
		is("with the old file", "eve", "new", ErrDenied)
	})
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none"), nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "yodel passwd") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open(dir, nil); err == nil {
		t.Error("a folder is read")
	}
	if _, err := Open(writeFile(t, "ada:secret\n"), nil); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a password in the file: %v", err)
	}
}
