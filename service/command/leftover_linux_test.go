package command

import (
	"flag"
	"testing"

	"yodel/yodeltest/programs"
)

// many is how many sessions the test of what is left behind has; 10,000 take a minute.
var many = flag.Int("sessions", 60, "sessions of TestNothingIsLeft")

// F5: sessions leave no descriptor, child or memory behind. It runs beside no other.
func TestNothingIsLeft(t *testing.T) {
	r := serve(t, `sleep 1000 >/dev/null 2>&1 & echo hello`, Config{})
	(&programs.Sessions{
		N: *many, AtOnce: 8,
		Session: func(t testing.TB, _ int) {
			mine := *r
			mine.t = t
			if got := mine.talk(""); got != "hello\n" {
				t.Errorf("%q", got)
			}
		},
		Settle: r.wantQuiet,
	}).LeaveNothing(t)
}

// wantQuiet waits until no connection is served.
func (r *rig) wantQuiet() {
	r.t.Helper()
	programs.Await(r.t, "no connection is served", func() bool { return r.eng.Stats().Active == 0 })
}
