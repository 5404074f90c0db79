package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/internal/privilege"
	"yodel/sock"
	"yodel/yodeltest"
)

// rowOf returns the row of the engine of that name.
func rowOf(name string) *engineRow {
	return &engines[slices.IndexFunc(engines, func(row engineRow) bool { return row.name == name })]
}

// byAuto returns what serve says of the engine that auto takes over a transport.
func byAuto(t *testing.T, transport string) string { return autoFor(t, transport).engineText() }

// autoFor has the engine that auto takes over a transport.
func autoFor(t *testing.T, transport string) *served {
	t.Helper()
	cfg := &engine.Config{}
	switch transport {
	case "proxy": // TCP behind one
		cfg.ProxyFrom = []netip.Prefix{}
	case "tls":
		cert, err := newCertificate("", "")
		if err != nil {
			t.Fatal(err)
		}
		cfg.TLS = cert.config()
	}
	c, err := engines.open(plan{row: serviceNamed("echo"), addr: sock.Address{Network: transport}}, &serveFlags{engine: auto}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return &served{engine: c.row.name, passedOver: c.passedOver}
}

func TestInsideEngines(t *testing.T) {
	r := inside(t, "", "engines")
	if r.status != 0 || r.err != "" {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{
		"engine     service ", "iterative  upper echo discard daytime qotd chargen time web ftp mail telnet ssh command  yes",
		"datagrams  upper ", "\ngoroutine: a goroutine for each connection\n", "\n*: what --engine auto takes.",
		"\nWhat is missing:\n", "\n  datagrams, upper web ftp mail telnet ssh command: no datagram form\n",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	s, _ := readSchema(t)
	if types := s.check(t, inside(t, "", "engines", "--json").out, "engines"); len(types) != 1 {
		t.Errorf("lines of the types %v", types)
	}
	wantInside(t, "", 2, "", "unknown command", "engines", "x")
}

// What the table says is so: each engine serves over each transport where it says yes,
// and refuses where it says no.
func TestEnginesTableIsTrue(t *testing.T) {
	t.Parallel()
	table, err := engines.table()
	if err != nil {
		t.Fatal(err)
	}
	if want := (len(engines)*len(transports) + 1) * len(services); len(table) != want {
		t.Errorf("%d rows, want %d", len(table), want)
	}
	for _, of := range table.byEngine() {
		name := of[0].Engine
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--engine=" + name}
			if name == datagrams {
				args = nil
			}
			for _, l := range of.of("echo") {
				at := map[string]string{"unix": "unix:" + filepath.Join(t.TempDir(), "sock")}[l.Transport]
				if at == "" {
					at = l.Transport + "://127.0.0.1:0"
				}
				if args := append(args, "echo@"+at); l.Works {
					answers(t, name, args)
				} else {
					wantStatus(t, runYodel(t, "", append([]string{"serve"}, args...)...), 2, l.Missing)
				}
			}
		})
	}
	if l := table.byEngine()[len(engines)].of("upper")[0]; l.Works {
		t.Errorf("%+v", l)
	}
	wantStatus(t, runYodel(t, "", "serve", "upper@udp://127.0.0.1:0"), 2, "upper has no datagram form; over udp there are echo, ")
}

// answers serves echo and wants an answer.
func answers(t *testing.T, engine string, args []string) {
	t.Helper()
	s := serve(t, args...)
	if got := s.at[0].Engine; got != engine {
		t.Errorf("%q: served by %s", args, got)
	}
	call := []string{"call", "--wait=500ms", s.address(0)}
	if s.at[0].Network == "tls" {
		call = append(call, "--pin", s.at[0].Fingerprint)
	}
	r := runYodel(t, "hello\n", call...)
	if r.status != 0 || r.out != "hello\n" {
		t.Errorf("%q: %+v", args, r)
	}
	s.stop(t)
}

// An engine that this machine can't run, one that is choosy, and one for all: what the
// table, auto, and the choice by name make of them.
func TestEnginesThatCannot(t *testing.T) {
	t.Parallel()
	forAll := rowOf("goroutine").make
	rows := engineRows{
		{name: "ring", about: "rings", probe: func() error { return fmt.Errorf("%w: Linux 9.9 has it", errors.ErrUnsupported) }, make: forAll},
		{name: "plain", about: "no TLS", make: func(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
			if cfg.TLS != nil || cfg.ProxyFrom != nil {
				return nil, &engine.UnfitError{Engine: "plain", Why: "there is no TLS and no PROXY header"}
			}
			return goroutine.New(p.row.make(f), cfg)
		}},
		{name: "good", about: "all", make: forAll},
	}
	table, err := rows.table()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	table.print(&out, rows)
	for _, want := range []string{
		"\nring       upper echo discard daytime qotd chargen time web ftp mail telnet ssh command  no    no    no    -     no\n",
		"\nplain      upper echo discard daytime qotd chargen time web ftp mail telnet ssh command  yes*  no    yes*  -     no\n",
		"\ngood       upper echo discard daytime qotd chargen time web ftp mail telnet ssh command  yes   yes*  yes   -     yes\n",
		"\nWhat is missing:\n  ring: unsupported operation: Linux 9.9 has it\n",
		"\n  plain over tls: there is no TLS and no PROXY header\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	echo, err := parsePlan("echo@tls://:7")
	if err != nil {
		t.Fatal(err)
	}
	tls := &engine.Config{}
	cert, err := newCertificate("", "")
	if err != nil {
		t.Fatal(err)
	}
	tls.TLS = cert.config()
	for name, want := range map[string]string{
		"auto": "good", "good": "good", "plain": "echo over tls: engine plain: there is no TLS and no PROXY header; these can: good", "ring": "Linux 9.9 has it; these can: good",
	} {
		c, err := rows.open(echo, &serveFlags{engine: name}, tls)
		if err != nil {
			c = &choice{row: &engineRow{}}
		} else {
			c.Close()
		}
		if err == nil && c.row.name != want || err != nil && (exitStatus(err) != 2 || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v; want %s", name, c.row.name, err, want)
		}
		if over := "ring: unsupported operation: Linux 9.9 has it; plain: there is no TLS and no PROXY header"; name == auto && c.passedOver != over {
			t.Errorf("auto passes over %q, want %q", c.passedOver, over)
		}
	}
	if _, err := rows[:1].open(echo, &serveFlags{engine: auto}, tls); err == nil || !strings.Contains(err.Error(), "Linux 9.9 has it") {
		t.Errorf("where no engine can, auto says %v", err)
	}
	if here := rows.here(); len(here) != 2 || here[0].name != "plain" {
		t.Errorf("here: %v", here)
	}
}

// A child makes its service as the flags have it: each flag that a service knows goes
// down to it.
func TestChildrenAreToldTheFlags(t *testing.T) {
	t.Parallel()
	told, err := json.Marshal(childSettings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range services {
		if row.isDoor() {
			if _, err := makeInChild(row.name, told); err == nil {
				t.Errorf("%s in a child", row.name)
			}
			continue
		}
		for _, flag := range row.flags {
			if !strings.Contains(string(told), `"`+flag+`":`) {
				t.Errorf("--%s, a flag of %s, is not among %s", flag, row.name, told)
			}
		}
		svc, err := makeInChild(row.name, told)
		if err != nil || engine.FormOf(svc) != engine.SessionForm {
			t.Errorf("%s: %T, %v", row.name, svc, err)
		}
	}
	for _, bad := range [][2]string{{"nosuch", "{}"}, {"echo", "nonsense"}} {
		if svc, err := makeInChild(bad[0], []byte(bad[1])); err == nil {
			t.Errorf("%q makes a %T", bad, svc)
		}
	}
}

func TestServeByProcesses(t *testing.T) {
	t.Parallel()
	if !engines.has("process") || len(engines.here()) < len(engines) {
		return // not on this system
	}
	s := serve(t, "--engine=process", "--max-children=1", "--line-max=3", "upper@127.0.0.1:0", "echo@tls://127.0.0.1:0")
	first := s.dial(t, 0)
	ask(t, first, "abcd", "ABC") // a longer line goes in pieces: the child knows of --line-max
	second := s.dial(t, 0)
	if _, err := second.Write([]byte("two\n")); err != nil {
		t.Fatal(err)
	}
	ask(t, first, "\n", "D\n")
	first.Close()
	ask(t, second, "", "TWO\n")
	second.Close()
	wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--pin", s.at[1].Fingerprint, s.address(1)), 0)
	s.stop(t)
	for want, args := range map[string][]string{
		"--max-children is for --engine process": {"--max-children=3", "echo@127.0.0.1:0"},
		"--max-children -1: give a positive":     {"--engine=process", "--max-children=-1", "echo@127.0.0.1:0"},
	} {
		wantStatus(t, runYodel(t, "", append([]string{"serve"}, args...)...), 2, want)
	}
}

// The event engines, on all that they can serve: by name, by auto, with so many loops, and
// what a loop does is counted apart.
func TestServeByLoops(t *testing.T) {
	t.Parallel()
	for _, row := range engines {
		if !row.loops || row.name == "kernel" { // which serves echo only
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if err := row.probe(); err != nil {
				yodeltest.Skip(t, err.Error(), "run it where yodel engines shows the engine")
			}
			s := serve(t, "--engine="+row.name, "--loops=2", "--admin=127.0.0.1:0", "--line-max=3",
				"upper@127.0.0.1:0", "upper@unix:"+filepath.Join(t.TempDir(), "sock"), "echo@udp://127.0.0.1:0")
			for range 3 {
				ask(t, s.dial(t, 0), "abcd", "ABC") // both loops have one, and one has two
			}
			wantStatus(t, runYodel(t, "hi\n", "call", "--verify", "--upper", s.address(1)), 0)
			wantStatus(t, runYodel(t, "hello\n", "call", "--verify", s.address(2)), 0)
			_, body := get(t, s.listens(t, 3), "/metrics")
			active := 0
			for _, loop := range []string{"0", "1"} {
				labels := `{loop="` + loop + `",service="upper",transport="tcp"} `
				_, rest, ok := strings.Cut(body, "yodel_loop_connections_active"+labels)
				n, err := strconv.Atoi(strings.Split(rest, "\n")[0])
				if active += n; !ok || err != nil || n < 1 {
					t.Errorf("loop %s has %d connections: %v", loop, n, err)
				}
			}
			if active != 3 || !strings.Contains(body, `yodel_loop_bytes_total{direction="in",loop="`) ||
				!strings.Contains(body, `yodel_loop_messages_total{loop="0",service="upper",transport="unix"} 1`+"\n") {
				t.Errorf("%d connections\n%s", active, body)
			}
			s.stop(t)
			wantStatus(t, runYodel(t, "", "serve", "--engine="+row.name, "echo@tls://127.0.0.1:0"), 2,
				"echo over tls: engine "+row.name+": no TLS; these can: goroutine, process, iterative")
			wantStatus(t, runYodel(t, "", "serve", "--engine="+row.name, "--proxy-from=127.0.0.1", "echo@127.0.0.1:0"), 2,
				"engine "+row.name+": no PROXY headers; these can: goroutine, process, iterative")
		})
	}
	for _, args := range [][]string{{"--loops=-1"}, {"--loops=1025"}, {"--loops=2", "--engine=goroutine"}} {
		wantStatus(t, runYodel(t, "", append([]string{"serve", "echo@127.0.0.1:0"}, args...)...), 2, "--loops")
	}
}

// Where a system has no event engines, those are passed over in few words.
func TestPassedOverElsewhere(t *testing.T) {
	t.Parallel()
	var not reasons
	for _, name := range []string{"uring", "epoll"} {
		not.add(name, fmt.Errorf("%s on %s: %w", name, runtime.GOOS, errors.ErrUnsupported))
	}
	if got, want := not.String(), "uring, epoll: not on "+runtime.GOOS; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Auto takes for each service the first engine that can serve it, and says which it passed over and why.
func TestServeByAuto(t *testing.T) {
	t.Parallel()
	s := serve(t, "--loops=1", "upper@127.0.0.1:0", "upper@tls://127.0.0.1:0", "upper@unix:"+filepath.Join(t.TempDir(), "sock"))
	for i, network := range []string{"tcp", "tls", "unix"} {
		got := (&served{engine: s.at[i].Engine, passedOver: s.at[i].PassedOver}).engineText()
		if want := byAuto(t, network); got != want {
			t.Errorf("%s: %s, want %s", network, got, want)
		}
	}
	if at := s.at[1]; at.Engine != "goroutine" || !strings.Contains(at.PassedOver, "epoll: no TLS") && runtime.GOOS == "linux" {
		t.Errorf("TLS: %+v", at)
	}
	s.stop(t)
}

// After privileges are given up an engine may be lost: auto takes the next, and says so; one that was named is an
// error.
func TestEngineLostWithRoot(t *testing.T) {
	t.Parallel()
	var gone error
	rows := engineRows{
		{name: "ring", probe: func() error { return gone }, make: rowOf("goroutine").make},
		{name: "plain", make: rowOf("goroutine").make},
	}
	for name, want := range map[string]string{auto: "", "ring": "as nobody: engine ring: rings are for root"} {
		gone = nil
		f := &serveFlags{engine: name}
		s := &server{io: std{out: io.Discard, err: io.Discard}, flags: f, engines: rows, user: &privilege.Credentials{User: "nobody"}}
		c, err := rows.open(plan{row: serviceNamed("echo")}, f, &engine.Config{})
		if err != nil {
			t.Fatal(err)
		}
		sv := &served{plan: plan{row: serviceNamed("echo")}, cfg: &engine.Config{}}
		sv.engage(c)
		s.served = []*served{sv}
		if err := s.afterDrop(); err != nil || sv.engine != "ring" {
			t.Fatalf("%s: %v, %v", name, sv.engine, err)
		}
		gone = errors.New("rings are for root")
		err = s.afterDrop()
		if got := fmt.Sprint(err); want != "" && got != want || want == "" && (err != nil || sv.engine != "plain") {
			t.Errorf("%s: %s, %v", name, sv.engine, err)
		}
		if want == "" && sv.passedOver != "ring: rings are for root" {
			t.Errorf("it says %q", sv.passedOver)
		}
		sv.Close()
	}
}
