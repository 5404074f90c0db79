package users

import (
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// Errors of Check.
var (
	ErrDenied = errors.New("users: no such name, or not its password")
	ErrBusy   = errors.New("users: too many attempts at once")
)

// Check returns the user whose name and password these are. The error is [ErrDenied],
// which does not tell a wrong name from a wrong password and takes as long for either;
// [ErrBusy] if too many attempts wait already, or this source would wait too long; or
// that of ctx.
//
// from is where the attempt comes from; a source that has failed waits before its next
// attempt is looked at, longer each time (Config.Delay). A /64 of IPv6 is one source.
func (f *File) Check(ctx context.Context, from netip.Addr, name, password string) (User, error) {
	select {
	case f.seats <- struct{}{}:
		defer func() { <-f.seats }()
	default:
		return User{}, ErrBusy
	}
	key := sourceOf(from)
	if err := f.sources.wait(ctx, key, time.Now()); err != nil {
		return User{}, err
	}
	u, ok, err := f.verify(ctx, name, password)
	if err != nil {
		return User{}, err
	}
	f.sources.note(key, ok, time.Now())
	if !ok {
		return User{}, ErrDenied
	}
	return u, nil
}

// verify checks the password when its turn has come.
func (f *File) verify(ctx context.Context, name, password string) (User, bool, error) {
	select {
	case f.turns <- struct{}{}:
		defer func() { <-f.turns }()
	case <-ctx.Done():
		return User{}, false, ctx.Err()
	}
	u, hash, known := f.find(name, time.Now())
	if len(password) > maxPasswd {
		password, known = password[:maxPasswd], false
	}
	ok := verify(hash, password) // also of who is not known
	return u, ok && known, nil
}

// spread returns the same number for the same name.
func spread(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// sourceOf returns what is counted as one source.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if p, err := a.Prefix(64); err == nil && a.Is6() && !a.IsLoopback() {
		return p.Addr()
	}
	return a
}

const (
	maxSources = 4096
	forgetIn   = 10 * time.Minute // a source that has not failed for so long starts anew
	mostDelays = 4                // as many delays in a row may one attempt wait for
)

// sources are those who have failed, and when their next attempts are due.
type sources struct {
	delay, most time.Duration // 0: nobody waits

	mu sync.Mutex
	by map[netip.Addr]*source
}

type source struct {
	failures int
	last     time.Time // of the failures
	next     time.Time // when one more attempt may begin
}

// wait returns when an attempt of key may begin. Attempts that come at once begin one
// after the other.
func (s *sources) wait(ctx context.Context, key netip.Addr, now time.Time) error {
	d, ok := s.reserve(key, now)
	if !ok {
		return ErrBusy
	}
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reserve returns how long an attempt has to wait; false if that would be too long.
func (s *sources) reserve(key netip.Addr, now time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.by[key]
	if src == nil || s.delay == 0 {
		return 0, true
	}
	step, wait := s.step(src), src.next.Sub(now)
	if wait > mostDelays*step {
		return 0, false
	}
	src.next = now.Add(max(wait, 0) + step)
	return wait, true
}

// step returns how far apart the attempts of src are.
func (s *sources) step(src *source) time.Duration {
	d := s.delay
	for i := 1; i < src.failures && d < s.most; i++ {
		d *= 2
	}
	return min(d, s.most)
}

// note remembers how an attempt of key ended. A success takes one failure back, and not
// all: others may come from the same address.
func (s *sources) note(key netip.Addr, ok bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.by[key]
	switch {
	case ok && src != nil:
		src.failures--
		if src.failures <= 0 {
			delete(s.by, key)
		}
	case ok:
	case src == nil:
		s.makeRoom(now)
		s.by[key] = &source{failures: 1, last: now, next: now.Add(s.delay)}
	default:
		src.failures, src.last = min(src.failures+1, 62), now
		src.next = later(src.next, now.Add(s.step(src)))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// makeRoom bounds how many sources are remembered: those go that have not failed for
// long, and then any, many at once so that it is seldom called for.
func (s *sources) makeRoom(now time.Time) {
	if s.by == nil {
		s.by = make(map[netip.Addr]*source)
	}
	if len(s.by) < maxSources {
		return
	}
	maps.DeleteFunc(s.by, func(_ netip.Addr, src *source) bool { return now.Sub(src.last) > forgetIn })
	for key := range s.by {
		if len(s.by) <= maxSources*3/4 {
			return
		}
		delete(s.by, key)
	}
}
