package archtest

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// sound is a small module that breaks no rule. It stands close to the edge: each
// file does something that a slightly wider rule would forbid.
var sound = map[string]string{
	"go.mod":                        "module yodel\n\ngo 1.26.0\n",
	"yodel.go":                      "package yodel\nimport (\"fmt\"; \"net/netip\"; \"time\")\nvar _ = fmt.Sprint(netip.Addr{}, time.Second)\n",
	"yodel_test.go":                 "package yodel_test\nimport (\"net\"; \"os\"; \"time\"; _ \"yodel/yodeltest\")\nvar _, _ = net.Dial, os.Stdout\nvar _ = time.Now()\n",
	"rio/rio.go":                    "package rio\nimport (\"io\"; \"syscall\")\nvar _, _ = io.EOF, syscall.EINTR\n",
	"trace/trace.go":                "package trace\nimport (\"net\"; \"time\"; \"yodel/internal/escape\"; \"yodel/rio\")\nvar _ = net.Dial\nvar _ = time.Now()\n",
	"internal/escape/escape.go":     "package escape\nimport \"strconv\"\nvar _ = strconv.Quote\n",
	"sock/sock.go":                  "package sock\nimport (\"golang.org/x/sys/unix\"; \"yodel/trace\")\nfunc f() { go f() }\n",
	"service/small/echo.go":         "package small\nimport (\"yodel\"; \"yodel/rio\")\nfunc f(now func() int) { now() }\n",
	"service/ftp/ftp.go":            "package ftp\nimport (\"net\"; \"yodel/sock\")\nvar _ = net.Dial\n",
	"service/ftp/ftp_test.go":       "package ftp_test\nimport (\"testing\"; \"yodel/engine/goroutine\")\nfunc TestX(*testing.T) {}\n",
	"engine/core.go":                "package engine\nimport (\"os\"; \"syscall\"; \"time\"; \"yodel\")\nvar _ time.Time\nvar _, _ = os.ErrDeadlineExceeded, syscall.EPIPE\n",
	"engine/engine.go":              "package engine\nimport (\"context\"; \"net\"; \"time\")\nvar _ = time.Now\nfunc f() { go f() }\n",
	"engine/core_test.go":           "package engine\nimport (\"testing\"; \"time\"; \"yodel/service/small\")\nvar _ = time.Now\n",
	"engine/goroutine/goroutine.go": "package goroutine\nimport (\"yodel/engine\"; \"yodel/sock\")\n",
	"engine/epoll/epoll_linux.go":   "//go:build linux\npackage epoll\nimport (\"yodel/engine\"; \"yodel/internal/loop\")\n",
	"engine/enginetest/kit.go":      "package enginetest\nimport (\"testing\"; \"yodel/engine\"; \"yodel/service/small\"; \"yodel/yodeltest\")\n",
	"internal/loop/loop.go":         "package loop\nimport \"golang.org/x/sys/unix\"\n",
	"yodeltest/net.go":              "package yodeltest\nimport (\"testing\"; \"yodel\"; \"yodel/sock\")\n",
	"call/call.go":                  "package call\nimport (\"io\"; \"yodel/service/small\"; \"yodel/sock\")\nvar _ io.Reader\n",
	"call/call_test.go":             "package call\nimport (\"testing\"; \"testing/synctest\"; \"time\")\nfunc f() { synctest.Wait(); time.Sleep(1) }\n",
	"story/story.go":                "package story\nimport (\"yodel/call\"; \"yodel/watch\")\n",
	"watch/watch.go":                "package watch\nimport \"fmt\"\nfunc (w W) init() { fmt.Fprintln(w) }\ntype W struct{}\n",
	"cmd/yodel/main.go":             "package main\nimport (\"fmt\"; \"github.com/spf13/cobra\"; \"os\"; \"yodel/cmd/yodel/internal/table\"; \"yodel/story\")\nfunc main() { fmt.Println(); os.Exit(1) }\n",
	"cmd/yodel/internal/table/t.go": "package table\n",
	"tools/go.mod":                  "module yodel/tools\n",
	"tools/util/util.go":            "package util\nimport \"C\"\n",
	"trace/testdata/util/x.go":      "not Go at all",
	"_old/util/x.go":                "not Go at all",
	".git/x.go":                     "not Go at all",
	"docs/notes.md":                 "import \"C\"",
}

// Each case lays one file into the sound module, which then breaks one rule.
var broken = []struct {
	name string
	path string // of the file that is added, or put in another's place
	src  string
	want string // all of the finding but its reason
	why  string // the beginning of the reason
}{
	{
		"the contract does I/O", "in.go", "package yodel\nimport \"net\"\n",
		"in.go:2: yodel imports net", "what it says is a function",
	},
	{
		"a part of a banned package", "in.go", "package yodel\nimport \"net/http\"\n",
		"in.go:2: yodel imports net/http", "what it says is a function",
	},
	{
		"only on another platform", "service/small/echo_windows.go",
		"//go:build windows\n\npackage small\n\nimport \"os\"\n",
		"service/small/echo_windows.go:5: yodel/service/small imports os", "what it says is a function",
	},
	{
		"a session reads the clock", "service/small/time.go",
		"package small\nimport \"time\"\nvar now = time.Now()\n",
		"service/small/time.go:3: yodel/service/small uses time.Now", "the engine tells the time",
	},
	{
		"under another name", "service/small/time.go",
		"package small\nimport clock \"time\"\nvar now = clock.Now\n",
		"service/small/time.go:3: yodel/service/small uses time.Now", "the engine tells the time",
	},
	{
		"a session starts a goroutine", "service/small/time.go",
		"package small\nfunc f() {\n\tgo f()\n}\n",
		"service/small/time.go:3: yodel/service/small uses go", "an engine may be a single thread",
	},
	{
		"a session throws dice", "service/small/qotd.go",
		"package small\nimport \"math/rand/v2\"\n",
		"service/small/qotd.go:2: yodel/service/small imports math/rand/v2", "chance is not something",
	},
	{
		"Core does I/O", "engine/core_limits.go", "package engine\nimport \"net\"\n",
		"engine/core_limits.go:2: yodel/engine imports net", "Core is told",
	},
	{
		"Core calls the system", "engine/core.go", "package engine\nimport \"syscall\"\nvar f = syscall.Exec\n",
		"engine/core.go:3: yodel/engine uses syscall.Exec", "Core is told",
	},
	{
		"Core waits", "engine/core.go", "package engine\nimport \"time\"\nvar t = time.NewTimer(0)\n",
		"engine/core.go:3: yodel/engine uses time.NewTimer", "Core is told",
	},
	{
		"rio knows files", "rio/file.go", "package rio\nimport \"os\"\n",
		"rio/file.go:2: yodel/rio imports os", "rio works over any io.Reader",
	},
	{
		"SMTP waits for a disk", "service/mail/smtpsession.go", "package mail\nimport \"os\"\n",
		"service/mail/smtpsession.go:2: yodel/service/mail imports os", "what SMTP is does no I/O",
	},
	{
		"SMTP asks what time it is", "service/mail/smtpreceived.go", "package mail\nimport \"time\"\nvar _ = time.Now\n",
		"service/mail/smtpreceived.go:3: yodel/service/mail uses time.Now", "what SMTP is does no I/O",
	},
	{
		"TELNET sends its answers itself", "service/telnet/machine.go", "package telnet\nimport \"net\"\n",
		"service/telnet/machine.go:2: yodel/service/telnet imports net", "what TELNET is does no I/O",
	},
	{
		"the reader of captures opens files", "watch/pcap/open.go", "package pcap\nimport \"os\"\n",
		"watch/pcap/open.go:2: yodel/watch/pcap imports os", "a capture comes from any io.Reader",
	},
	{
		"a flow asks what time it is", "watch/flow/now.go", "package flow\nimport \"time\"\nvar _ = time.Now\n",
		"watch/flow/now.go:3: yodel/watch/flow uses time.Now", "the packets tell the time",
	},
	{
		"an engine knows a protocol", "engine/epoll/echo.go",
		"package epoll\nimport \"yodel/service/small\"\n",
		"engine/epoll/echo.go:2: yodel/engine/epoll imports yodel/service/small", "engines and sockets know no protocol",
	},
	{
		"a service picks its loop", "service/ftp/loop.go", "package ftp\nimport \"yodel/internal/loop\"\n",
		"service/ftp/loop.go:2: yodel/service/ftp imports yodel/internal/loop", "a service does not know who runs it",
	},
	{
		"a test imports a program", "story/story_test.go", "package story\nimport \"yodel/cmd/yodel\"\n",
		"story/story_test.go:2: yodel/story imports yodel/cmd/yodel", "programs are the end of the road",
	},
	{
		"a test imports what it is measured with", "story/story_test.go", "package story\nimport \"yodel/bench/peers\"\n",
		"story/story_test.go:2: yodel/story imports yodel/bench/peers", "bench and tools are modules of their own",
	},
	{
		"test help in a program", "cmd/yodel/demo.go", "package main\nimport \"yodel/yodeltest\"\n",
		"cmd/yodel/demo.go:2: yodel/cmd/yodel imports yodel/yodeltest", "test help does not go into programs",
	},
	{
		"a library brings a module along", "trace/zap.go", "package trace\nimport \"go.uber.org/zap\"\n",
		"trace/zap.go:2: yodel/trace imports go.uber.org/zap", "whoever takes this package",
	},
	{
		"flags below cmd", "call/flags.go", "package call\nimport \"github.com/spf13/pflag\"\n",
		"call/flags.go:2: yodel/call imports github.com/spf13/pflag", "flags and files of settings are read in cmd",
	},
	{
		"a terminal below cmd", "call/term.go", "package call\nimport \"golang.org/x/term\"\n",
		"call/term.go:2: yodel/call imports golang.org/x/term", "the logic of a command is free of terminals",
	},
	{
		"standard output below cmd", "call/out.go", "package call\nimport \"os\"\nvar w = os.Stdout\n",
		"call/out.go:3: yodel/call uses os.Stdout", "the logic of a command is free of terminals",
	},
	{
		"an exit below cmd", "call/out.go", "package call\nimport \"os\"\nfunc f() { os.Exit(1) }\n",
		"call/out.go:3: yodel/call uses os.Exit", "only a program decides when it ends",
	},
	{
		"package testing in a program", "call/out.go", "package call\nimport \"testing\"\n",
		"call/out.go:2: yodel/call imports testing", "what serves tests does not go into programs",
	},
	{
		"cgo", "sock/c_test.go", "package sock\nimport \"C\"\n",
		"sock/c_test.go:2: yodel/sock imports C", "everything builds with CGO_ENABLED=0",
	},
	{
		"a dot import", "sock/dot.go", "package sock\nimport . \"time\"\n",
		"sock/dot.go:2: yodel/sock uses dot import", "these rules, and readers",
	},
	{
		"registration", "engine/epoll/reg.go", "package epoll\nfunc init() {}\n",
		"engine/epoll/reg.go:2: yodel/engine/epoll uses func init", "nothing registers itself",
	},
	{
		"a test sleeps", "sock/sock_test.go", "package sock\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
		"sock/sock_test.go:3: yodel/sock uses time.Sleep", "tests wait for events",
	},

	// Layers.
	{
		"rio imports ours", "rio/out.go", "package rio\nimport \"yodel\"\n",
		"rio/out.go:2: yodel/rio imports yodel, which is not below it", "it is the ground",
	},
	{
		"trace imports upwards", "trace/sock.go", "package trace\nimport \"yodel/sock\"\n",
		"trace/sock.go:2: yodel/trace imports yodel/sock, which is not below it", "it is vocabulary",
	},
	{
		"a loop imports its neighbour", "internal/loop/listen.go", "package loop\nimport \"yodel/sock\"\n",
		"internal/loop/listen.go:2: yodel/internal/loop imports yodel/sock, which is not below it", "sockets, sessions, captures, loops",
	},
	{
		"test help imports an engine", "yodeltest/run.go", "package yodeltest\nimport \"yodel/engine\"\n",
		"yodeltest/run.go:2: yodel/yodeltest imports yodel/engine, which is not below it", "test help is for the tests",
	},
	{
		"an engine imports another", "engine/epoll/other.go", "package epoll\nimport \"yodel/engine/goroutine\"\n",
		"engine/epoll/other.go:2: yodel/engine/epoll imports yodel/engine/goroutine, which is not below it",
		"services, engines and commands meet in cmd",
	},
	{
		"watch knows the story", "watch/end.go", "package watch\nimport \"yodel/story\"\n",
		"watch/end.go:2: yodel/watch imports yodel/story, which is not below it", "watch says what packets",
	},
	{
		"story is not the top", "story/main.go", "package story\nimport \"yodel/internal/archtest\"\n",
		"story/main.go:2: yodel/story imports yodel/internal/archtest, which is not below it", "story reads",
	},
	{
		"a program imports another's folder", "cmd/echo/main.go", "package main\nimport \"yodel/cmd/yodel/internal/table\"\n",
		"cmd/echo/main.go:2: yodel/cmd/echo imports yodel/cmd/yodel/internal/table, which is not below it",
		"programs and the checks",
	},
	{
		"a new folder", "mesh/mesh.go", "package mesh\n",
		"yodel/mesh: this package is in no layer", "where things live is visible",
	},

	// Names.
	{
		"a folder that says nothing", "cmd/yodel/util/x.go", "package util\n",
		"yodel/cmd/yodel/util: folder util", "a name that fits everything",
	},
	{
		"a package that says nothing", "cmd/yodel/texts/x.go", "package helpers\n",
		"cmd/yodel/texts/x.go:1: package helpers", "a name that fits everything",
	},
}

func TestSoundModule(t *testing.T) {
	t.Parallel()
	for _, f := range yodelArchitecture().check(mustLoad(t, sound)) {
		t.Error(f)
	}
}

func TestRulesBite(t *testing.T) {
	t.Parallel()
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			found := yodelArchitecture().check(mustLoad(t, with(tt.path, tt.src)))
			if len(found) != 1 {
				t.Fatalf("found %d places, want 1:\n%s", len(found), lines(found))
			}
			if got := found[0].String(); !strings.HasPrefix(got, tt.want+": "+tt.why) {
				t.Errorf("found %q\nwant  %q and the reason %q", got, tt.want, tt.why)
			}
		})
	}
}

// A deep rule follows imports through the module's own packages, by the shortest
// way, and is not led in a circle.
func TestDeepRule(t *testing.T) {
	t.Parallel()
	m := mustLoad(t, map[string]string{
		"go.mod":         "module yodel\n",
		"a/a.go":         "package a\nimport (\n\"yodel/b\"\n\"yodel/free\"\n)\n",
		"b/b.go":         "package b\nimport (\"yodel/far\"; \"yodel/c\"; \"yodel/a\")\n",
		"far/far.go":     "package far\nimport \"yodel/c\"\n",
		"c/c.go":         "package c\nimport \"yodel/d\"\n",
		"d/d.go":         "package d\n",
		"free/f.go":      "package free\n",
		"free/f_test.go": "package free\nimport \"yodel/d\"\n", // tests bind nobody
	})
	r := rule{in: []string{"yodel/a"}, imports: []string{"yodel/d"}, deep: true, why: "of this test"}
	want := "a/a.go:3: yodel/a imports yodel/b, which imports yodel/c, which imports yodel/d: of this test\n"
	if got := lines(r.check(m)); got != want {
		t.Errorf("found\n%swant\n%s", got, want)
	}
	r.deep = false
	if got := lines(r.check(m)); got != "" {
		t.Errorf("a rule that is not deep found\n%s", got)
	}
}

func TestFindingsAreInOrder(t *testing.T) {
	t.Parallel()
	files := with("sock/x.go", "package sock\nimport . \"io\"\nfunc init() {}\n")
	files["rio/x.go"] = "package rio\nfunc init() {}\n"
	found := lines(yodelArchitecture().check(mustLoad(t, files)))
	rest := found
	for _, place := range []string{"rio/x.go:2: ", "sock/x.go:2: ", "sock/x.go:3: "} {
		_, after, ok := strings.Cut(rest, place)
		if !ok {
			t.Fatalf("%s is missing or too early in\n%s", place, found)
		}
		rest = after
	}
}

// A rule that no case breaks may be a rule that nothing can break.
func TestEveryRuleIsShownToBite(t *testing.T) {
	t.Parallel()
	a := yodelArchitecture()
	for _, r := range a.rules {
		if !shown(r.why) {
			t.Errorf("no case breaks the rule %q", r.why)
		}
	}
	for _, l := range a.layers {
		if !shown(l.why) {
			t.Errorf("no case breaks the layer %q", l.why)
		}
	}
}

func shown(why string) bool {
	for _, tt := range broken {
		if strings.HasPrefix(why, tt.why) {
			return true
		}
	}
	return false
}

func TestAnotherModulePath(t *testing.T) {
	t.Parallel()
	m := mustLoad(t, map[string]string{
		"go.mod":       "module \"example.org/net/yodel\"\n",
		"rio/rio.go":   "package rio\nimport \"example.org/net/yodel\"\n",
		"rio/other.go": "package rio\nimport \"example.org/net/yodeller\"\n",
	})
	if got, want := m.sourceImports("yodel/rio"), []string{"example.org/net/yodeller", "yodel"}; !slices.Equal(got, want) {
		t.Errorf("imports %q, want %q", got, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"no go.mod", map[string]string{"a.go": "package a\n"}, "open go.mod: file does not exist"},
		{"an empty go.mod", map[string]string{"go.mod": "go 1.26.0\n"}, "go.mod has no module line"},
		{"a file that is not Go", with("sock/x.go", "package sock\nimport net\n"), "read imports: sock/x.go:2:11:"},
	} {
		_, err := load(mapFS(tt.files))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A folder or a file that cannot be read is an error, never an empty folder.
func TestLoadReportsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sock", "sock/sock.go"} {
		_, err := load(unreadable{mapFS(sound), name})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s unreadable: error %v, want one that names it", name, err)
		}
	}
}

// unreadable is a file system in which one name cannot be opened.
type unreadable struct {
	fs.FS
	name string
}

func (u unreadable) Open(name string) (fs.File, error) {
	if name == u.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return u.FS.Open(name)
}

func TestBaseName(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"time":                "time",
		"net/http":            "http",
		"math/rand/v2":        "rand",
		"example.org/x/v12":   "x",
		"example.org/x/v":     "v",
		"example.org/x/v2ray": "v2ray",
		"v8":                  "v8",
	} {
		if got := baseName(path); got != want {
			t.Errorf("baseName(%q) = %q, want %q", path, got, want)
		}
	}
}

// with returns the sound module with one more file, or another in its place.
func with(path, src string) map[string]string {
	files := maps.Clone(sound)
	files[path] = src
	return files
}

func mapFS(files map[string]string) fstest.MapFS {
	fsys := make(fstest.MapFS)
	for name, src := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return fsys
}

func mustLoad(t *testing.T, files map[string]string) *module {
	t.Helper()
	m, err := load(mapFS(files))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func lines(found []finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
