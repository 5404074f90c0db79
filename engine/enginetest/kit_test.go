package enginetest_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/engine/goroutine"
	"yodel/trace"
)

// defects are engines with something wrong, and the row that finds it out.
var defects = map[string]struct {
	row  string
	make enginetest.Make
}{
	"says that the peer ended twice": {"two listeners", withSink(func(s trace.Sink, e *trace.Event) {
		s.Emit(e)
		if e.Op == trace.Close {
			s.Emit(e)
		}
	})},
	"tells of a byte too many": {"events of a connection", withSink(func(s trace.Sink, e *trace.Event) {
		if e.Op == trace.Close {
			e.In++
		}
		s.Emit(e)
	})},
	"does not say who calls": {"who spoke with whom", withSink(func(s trace.Sink, e *trace.Event) {
		e.Remote = e.Local
		s.Emit(e)
	})},
	"lends memory for ever":    {"lent memory is poisoned", withConfig(func(cfg *engine.Config) { cfg.PoisonLent = false })},
	"is never idle":            {"A1 ten minutes of idleness", withConfig(func(cfg *engine.Config) { cfg.Idle = -1 })},
	"has no log":               {"A9 panic", withConfig(func(cfg *engine.Config) { cfg.Log = nil })},
	"lets everyone in at once": {"A2 those beyond MaxConns wait", withConfig(func(cfg *engine.Config) { cfg.Gate = nil })},
	"closes and does not wait": {"Close waits for all", with(func(e engine.Engine) engine.Engine {
		return impatient{e}
	})},
	"does not say that it was closed": {"Serve after Close", with(func(e engine.Engine) engine.Engine {
		return taciturn{e}
	})},
	"counts badly": {"two listeners", with(func(e engine.Engine) engine.Engine { return miscounting{e} })},
}

func with(wrap func(engine.Engine) engine.Engine) enginetest.Make {
	return func(svc any, cfg *engine.Config) (engine.Engine, error) {
		e, err := goroutine.New(svc, cfg)
		return wrap(e), err
	}
}

func withConfig(change func(*engine.Config)) enginetest.Make {
	return func(svc any, cfg *engine.Config) (engine.Engine, error) {
		change(cfg)
		return goroutine.New(svc, cfg)
	}
}

func withSink(emit func(trace.Sink, *trace.Event)) enginetest.Make {
	return withConfig(func(cfg *engine.Config) {
		sink := cfg.Sink
		cfg.Sink = trace.EachCall(trace.Func(func(e *trace.Event) { emit(sink, e) }))
	})
}

type impatient struct{ engine.Engine }

func (i impatient) Close() error {
	go i.Engine.Close()
	return nil
}

type taciturn struct{ engine.Engine }

func (e taciturn) Serve(l net.Listener) error {
	if err := e.Engine.Serve(l); !errors.Is(err, engine.ErrClosed) {
		return err
	}
	return nil
}

type miscounting struct{ engine.Engine }

func (m miscounting) Stats() engine.Stats {
	s := m.Engine.Stats()
	s.BytesIn++
	return s
}

// defect is the environment variable that makes TestDefect try an engine that has it.
const defect = "YODEL_ENGINETEST_DEFECT"

// TestDefect is run by TestKitFindsDefects, in a process of its own, because it must
// fail.
func TestDefect(t *testing.T) {
	d, ok := defects[os.Getenv(defect)]
	if !ok {
		return
	}
	enginetest.Run(t, d.make, enginetest.Traits{})
}

// A kit that can't fail says nothing.
func TestKitFindsDefects(t *testing.T) {
	t.Parallel()
	for name, d := range defects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := strings.ReplaceAll(regexp.QuoteMeta(d.row), " ", "_")
			var out []byte
			var err error
			for range 3 { // that something does not happen is seen for a while only
				cmd := exec.Command(os.Args[0], "-test.run=^TestDefect$/^"+row+"$", "-test.timeout=1m")
				cmd.Env = append(os.Environ(), defect+"="+name, "GORACE=atexit_sleep_ms=0")
				if out, err = cmd.CombinedOutput(); err != nil && strings.Contains(string(out), "--- FAIL: TestDefect/") {
					return
				}
			}
			t.Errorf("the row %q finds nothing wrong with an engine that %s: %v\n%s", d.row, name, err, out)
		})
	}
}

// Services are new each time, since some can be shut down but once.
func TestServicesAreNewEachTime(t *testing.T) {
	a, b := enginetest.Services(), enginetest.Services()
	if a["http"] == b["http"] {
		t.Error("two engines share one http.Server, which can be shut down once")
	}
	for name, svc := range a {
		if engine.FormOf(svc) == engine.NoForm {
			t.Errorf("%s has no form", name)
		}
	}
}
