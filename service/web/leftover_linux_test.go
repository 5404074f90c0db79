package web

import (
	"bytes"
	"flag"
	"strconv"
	"testing"

	kept "yodel/yodeltest/programs"
)

// many is how many requests the test of what is left behind has; 10,000 take a minute.
var many = flag.Int("sessions", 60, "requests of TestNothingIsLeft")

// E7: requests that run programs leave no process, descriptor or memory behind. It runs
// beside no other.
func TestNothingIsLeft(t *testing.T) {
	s := cgi(t, &Config{}, map[string]string{
		"mixed": "case $QUERY_STRING in 1) exit 1;; 2) sleep 1000 >&- 2>&- & ;; 3) kill -9 $$;; esac; echo Content-Type: text/plain; echo; cat",
	})
	(&kept.Sessions{
		N: *many, AtOnce: 4,
		Session: func(t testing.TB, i int) {
			mine := *s
			mine.t = t
			mine.do("POST", "/cgi-bin/mixed?"+strconv.Itoa(i%10), "hello")
		},
		Settle: s.settle,
	}).LeaveNothing(t)
}

// settle waits until no program runs, and forgets the logs.
func (s *site) settle() {
	s.t.Helper()
	eventually(s.t, "all have ended", func() bool { return s.Stats().CGIRunning == 0 })
	for _, log := range []*text{s.log, s.access} {
		log.mu.Lock()
		log.buf = bytes.Buffer{}
		log.mu.Unlock()
	}
}
