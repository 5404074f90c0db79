package yodeltest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel"
)

// step makes a function a service with one session.
type step func(in yodel.Input, out *yodel.Out) (used int, err error)

func (s step) Open(yodel.Peer) yodel.Session { return s }

func (s step) Step(in yodel.Input, out *yodel.Out) (used int, err error) { return s(in, out) }

// spy notes each Step as "kind:data" in front of what s does.
func (s step) spy(log *[]string) step {
	return func(in yodel.Input, out *yodel.Out) (int, error) {
		*log = append(*log, in.Kind.String()+":"+string(in.Data))
		return s(in, out)
	}
}

func wantSteps(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("Step was called with\n%q\nwant\n%q", got, want)
	}
}

// The sessions of these tests.

func waits(yodel.Input, *yodel.Out) (int, error) { return 0, nil }

func echoes(in yodel.Input, out *yodel.Out) (int, error) {
	n := min(len(in.Data), out.Room())
	out.Write(in.Data[:n])
	if in.Kind == yodel.EOF && n == len(in.Data) {
		return n, io.EOF
	}
	return n, nil
}

func endsWith(err error) step {
	return func(in yodel.Input, out *yodel.Out) (int, error) {
		out.WriteString("last words")
		return len(in.Data), err
	}
}

func TestTalkOrderOfCalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		svc    step
		script func(k *Talk)
		want   []string
	}{
		{
			"a session that waits is offered all it has left, once, each time more comes",
			waits,
			func(k *Talk) { k.Send("a"); k.Send("b"); k.EOF() },
			[]string{"open:", "data:a", "data:ab", "eof:ab"},
		},
		{
			"a session that used some is offered the rest at once",
			func(in yodel.Input, _ *yodel.Out) (int, error) { return min(len(in.Data), 2), nil },
			func(k *Talk) { k.Send("abcde"); k.EOF() },
			[]string{"open:", "data:abcde", "data:cde", "data:e", "eof:"},
		},
		{
			"behind the peer's end data comes as EOF",
			func(in yodel.Input, _ *yodel.Out) (int, error) {
				if in.Kind != yodel.EOF {
					return 0, nil
				}
				return min(len(in.Data), 1), nil
			},
			func(k *Talk) { k.Send("abc"); k.EOF(); k.EOF() },
			[]string{"open:", "data:abc", "eof:abc", "eof:bc", "eof:c"},
		},
		{
			"at the mark nothing is read; below it comes room, and then what was sent, as it was sent",
			echoes,
			func(k *Talk) { k.SetMark(2); k.Send("abc"); k.Send("d"); k.EOF(); k.Want("", "abcd") },
			[]string{"open:", "data:abc", "room:c", "data:d", "room:", "eof:"},
		},
		{
			"behind the peer's end room comes as EOF",
			func(in yodel.Input, out *yodel.Out) (int, error) {
				if in.Kind == yodel.EOF {
					return echoes(in, out)
				}
				return 0, nil
			},
			func(k *Talk) { k.SetMark(2); k.Send("abcde"); k.EOF(); k.Want("", "abcde") },
			[]string{"open:", "data:abcde", "eof:abcde", "eof:cde", "eof:e"},
		},
		{
			"what is longer than a read comes in pieces, and nothing sent is nothing",
			func(in yodel.Input, _ *yodel.Out) (int, error) { return len(in.Data), nil },
			func(k *Talk) { k.Send(""); k.Send(strings.Repeat("x", readSize) + "y") },
			[]string{"open:", "data:" + strings.Repeat("x", readSize), "data:y"},
		},
		{
			"after the end there is no Step",
			func(yodel.Input, *yodel.Out) (int, error) { return 0, io.EOF },
			func(k *Talk) { k.Send("a"); k.Advance(time.Hour); k.EOF(); k.WantEnd("") },
			[]string{"open:"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var steps []string
			tt.script(NewTalk(t, tt.svc.spy(&steps), yodel.Peer{}))
			wantSteps(t, steps, tt.want...)
		})
	}
}

// ticker says the time at each tick, and asks for the next one a minute later.
func ticker(in yodel.Input, out *yodel.Out) (int, error) {
	if in.Kind == yodel.Tick {
		fmt.Fprintln(out, in.Now.Format(time.TimeOnly))
	}
	if in.Kind == yodel.Tick || in.Kind == yodel.Open {
		out.WakeAt(in.Now.Add(time.Minute))
	}
	return 0, nil
}

func TestTalkClock(t *testing.T) {
	t.Parallel()
	k := NewTalk(t, step(ticker), yodel.Peer{})
	k.SetTime(time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC))
	k.Advance(59 * time.Second)
	k.Want("it is too early", "")
	k.Advance(time.Second)
	k.Want("a tick comes when it is time", "10:01:00\n")
	k.Advance(150 * time.Second)
	k.Want("each tick has its own time, however far the clock moves", "10:02:00\n10:03:00\n")
	if got := k.Now().Format(time.TimeOnly); got != "10:03:30" {
		t.Errorf("it is %s, want 10:03:30", got)
	}
}

func TestTalkTicksComeAtTheMarkToo(t *testing.T) {
	t.Parallel()
	k := NewTalk(t, step(ticker), yodel.Peer{})
	k.SetMark(1)
	k.Advance(2 * time.Minute)
	k.Want("the mark holds back input, not the clock", "03:05:05\n03:06:05\n")
}

func TestTalkTickWishIsGoneOnceItCame(t *testing.T) {
	t.Parallel()
	var steps []string
	once := step(func(in yodel.Input, out *yodel.Out) (int, error) {
		if in.Kind == yodel.Open {
			out.WakeAt(in.Now) // now is soon enough
		}
		return 0, nil
	})
	k := NewTalk(t, once.spy(&steps), yodel.Peer{})
	k.Advance(time.Hour)
	wantSteps(t, steps, "open:", "tick:")
}

func TestTalkSlowPeer(t *testing.T) {
	t.Parallel()
	k := NewTalk(t, step(echoes), yodel.Peer{})
	k.SetMark(4)
	k.Send("abcdefgh")
	if k.Pending() != 4 || k.Unread() != 4 {
		t.Errorf("%d bytes pending, %d unread; want 4 and 4", k.Pending(), k.Unread())
	}
	if got := k.Drain(1); got != "a" {
		t.Errorf("drained %q, want one byte", got)
	}
	if k.Pending() != 4 || k.Unread() != 3 {
		t.Errorf("%d bytes pending, %d unread; want 4 and 3", k.Pending(), k.Unread())
	}
	k.SetMark(0) // the default is far away
	if got := k.Drain(100); got != "bcdefgh" {
		t.Errorf("drained %q, want the rest", got)
	}
}

func TestTalkUnreadCountsWhatWasNotEvenRead(t *testing.T) {
	t.Parallel()
	k := NewTalk(t, step(echoes), yodel.Peer{})
	k.SetMark(1)
	k.Send("abc")
	k.Send("defg")
	if got := k.Unread(); got != 6 {
		t.Errorf("%d bytes unread, want 6", got)
	}
}

func TestTalkHeard(t *testing.T) {
	t.Parallel()
	counts := step(func(in yodel.Input, out *yodel.Out) (int, error) {
		if len(in.Data) > 0 {
			out.Heard(len(in.Data))
		}
		return len(in.Data), nil
	})
	k := NewTalk(t, counts, yodel.Peer{})
	k.WantHeard("nothing yet")
	k.Send("abc")
	k.Send("d")
	k.WantHeard("two", 3, 1)
	k.Send("ef")
	k.WantHeard("only what came since", 2)
}

func TestTalkEnds(t *testing.T) {
	t.Parallel()
	mistake := &yodel.PeerError{Code: 500, Msg: "line too long"}

	k := NewTalk(t, endsWith(io.EOF), yodel.Peer{})
	k.Want("what was written is flushed", "last words")
	k.WantEnd("the normal end")

	k = NewTalk(t, endsWith(fmt.Errorf("wrapped: %w", mistake)), yodel.Peer{})
	k.Want("what was written is flushed", "last words")
	k.WantPeerError("the peer's mistake", 500)

	fault := errors.New("out of memory")
	k = NewTalk(t, endsWith(fault), yodel.Peer{})
	k.Want("a fault cuts at once", "")
	if k.Err() != fault {
		t.Errorf("Err = %v, want the session's", k.Err())
	}
}

// A session that keeps what it was lent reads junk.
func TestTalkPoisonsInput(t *testing.T) {
	t.Parallel()
	var kept []byte
	keeps := step(func(in yodel.Input, out *yodel.Out) (int, error) {
		out.Write(kept)
		kept = in.Data
		return len(in.Data), nil
	})
	k := NewTalk(t, keeps, yodel.Peer{})
	k.Send("secret")
	k.Send("x")
	k.Want("the first input is gone", "\xdb\xdb\xdb\xdb\xdb\xdb")
}

// Nor may a session fill what Extend gave it in a later Step.
func TestTalkPoisonsOutput(t *testing.T) {
	t.Parallel()
	var kept []byte
	late := step(func(in yodel.Input, out *yodel.Out) (int, error) {
		if in.Kind == yodel.Open {
			kept = out.Extend(3)
			copy(kept, "one")
			return 0, nil
		}
		copy(kept, "TWO")
		return len(in.Data), nil
	})
	k := NewTalk(t, late, yodel.Peer{})
	k.Send("x")
	k.Want("what was pending is not the session's any more", "one")
}

// What Extend returns is not zero: a session that fills it half says so.
func TestTalkGivesJunkToFill(t *testing.T) {
	t.Parallel()
	lazy := step(func(in yodel.Input, out *yodel.Out) (int, error) {
		if in.Kind != yodel.Open {
			out.Extend(2)
		}
		out.WriteString(".")
		return len(in.Data), nil
	})
	k := NewTalk(t, lazy, yodel.Peer{})
	k.Send("x")
	k.Send("y")
	if got := k.Drain(100); !strings.Contains(got, "\xdb\xdb") {
		t.Errorf("got %q; want junk where the session wrote nothing", got)
	}
}

func TestTalkCatchesBrokenSessions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		svc        step
	}{
		{"used too much", "Step(data) used 4 of 3 bytes", func(in yodel.Input, _ *yodel.Out) (int, error) {
			if in.Kind == yodel.Data {
				return 4, nil
			}
			return 0, nil
		}},
		{"used less than nothing", "Step(open) used -1 of 0 bytes", func(yodel.Input, *yodel.Out) (int, error) {
			return -1, nil
		}},
		{"changed what it did not use", "changed input that it did not use", func(in yodel.Input, _ *yodel.Out) (int, error) {
			if len(in.Data) > 1 {
				in.Data[1] = 'X'
			}
			return 0, nil
		}},
		{"ticks for ever", "the clock stood still", func(in yodel.Input, out *yodel.Out) (int, error) {
			out.WakeAt(in.Now)
			return 0, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, tt.want, func(t testing.TB) { NewTalk(t, tt.svc, yodel.Peer{}).Send("abc") })
		})
	}
}

func TestTalkBoundsWhatIsLeftUnused(t *testing.T) {
	t.Parallel()
	wantFailure(t, "left 65537 bytes unused; an engine keeps 65536", func(t testing.TB) {
		k := NewTalk(t, step(waits), yodel.Peer{})
		k.Send(strings.Repeat("x", 64<<10))
		k.Send("x")
	})
	k := NewTalk(t, step(waits), yodel.Peer{})
	k.SetMaxInput(70_000)
	k.Send(strings.Repeat("x", 70_000))
}

func TestTalkFailuresSayWhatAndWhy(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 100)
	for _, tt := range []struct {
		name, want string
		script     func(k *Talk)
	}{
		{"Want", "a greeting:\ngot  \"hello\"\nwant \"bye\"\n(the session goes on)", func(k *Talk) { k.Send("hello"); k.Want("a greeting", "bye") }},
		{"Want less", "got  \"ab\"\nwant \"a\"", func(k *Talk) { k.Send("ab"); k.Want("a", "a") }},
		{"Want more", "got  \"a\"\nwant \"ab\"", func(k *Talk) { k.Send("a"); k.Want("ab", "ab") }},
		{
			"Want much", "1000 bytes, wanted 1001; they part at byte 500:\ngot  \"0123456789012345678901234567890123456789012345678901234567890123456789012345678",
			func(k *Talk) { k.Send(long); k.Want("much", long[:500]+"x"+long[500:]) },
		},
		{"WantEnd with output", "the end:\ngot  \"x\"\nwant \"\"", func(k *Talk) { k.Send("x"); k.WantEnd("the end") }},
		{"WantEnd without one", "the end: the session has not ended with io.EOF\n(the session goes on)", func(k *Talk) { k.WantEnd("the end") }},
		{"WantPeerError at a normal end", "has not ended with the peer's mistake 500\n(the session ended: EOF)", func(k *Talk) { k.EOF(); k.WantPeerError("too long", 500) }},
		{"WantHeard", "a line:\nheard  []\nwanted [3]", func(k *Talk) { k.Send("ab\n"); k.WantHeard("a line", 3) }},
		{"Send after EOF", "sends \"x\" after its EOF", func(k *Talk) { k.EOF(); k.Send("x") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, tt.want, func(t testing.TB) { tt.script(NewTalk(t, step(echoes), yodel.Peer{})) })
		})
	}
}

func TestWantPeerErrorOfAnotherCode(t *testing.T) {
	t.Parallel()
	svc := step(func(yodel.Input, *yodel.Out) (int, error) { return 0, &yodel.PeerError{Code: 421, Msg: "busy"} })
	wantFailure(t, "(the session ended: 421 busy)", func(t testing.TB) {
		NewTalk(t, svc, yodel.Peer{}).WantPeerError("too long", 500)
	})
}

func TestPlay(t *testing.T) {
	t.Parallel()
	if got := Play(t, step(echoes), "hello ", "", "there"); got != "hello there" {
		t.Errorf("echo said %q", got)
	}
	if got := Play(t, endsWith(&yodel.PeerError{Msg: "wrong"})); got != "last words" {
		t.Errorf("a session that ends by the peer's mistake said %q", got)
	}
}

func TestPlayWaitsForTicks(t *testing.T) {
	t.Parallel()
	left := 3
	countdown := step(func(in yodel.Input, out *yodel.Out) (int, error) {
		if in.Kind == yodel.Tick {
			left--
			fmt.Fprint(out, left)
		}
		if left == 0 {
			return 0, io.EOF
		}
		out.WakeAt(in.Now.Add(time.Hour))
		return len(in.Data), nil
	})
	if got := Play(t, countdown, "go"); got != "210" {
		t.Errorf("got %q", got)
	}
}

func TestPlayFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		svc        step
	}{
		{"where the session does not end", "has not ended in order\n(the session goes on)", waits},
		{"where it ticks and does not end", "(the session goes on)", ticker},
		{"where it faults", "(the session ended: broken)", endsWith(errors.New("broken"))},
		{"where it says too much", "has said 16777216 bytes and does not end", func(_ yodel.Input, out *yodel.Out) (int, error) {
			out.Extend(out.Room())
			return 0, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, tt.want, func(t testing.TB) { Play(t, tt.svc) })
		})
	}
}
