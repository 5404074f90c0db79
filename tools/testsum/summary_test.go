package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// The packages of a module in which everything that can happen to a test happens.
var packages = map[string]string{
	"good/x_test.go": `package good
import ("fmt"; "testing")
func TestGood(t *testing.T) { t.Log("nobody wants to read this"); fmt.Println("nor this") }
func TestSub(t *testing.T) { t.Run("a", func(t *testing.T) {}) }
`,
	"skips/x_test.go": `package skips
import "testing"
func TestRuns(t *testing.T) {}
func TestSkips(t *testing.T) { t.Skip("needs ncat: make peers installs it") }
func FuzzSkips(f *testing.F) { f.Add(1); f.Fuzz(func(t *testing.T, n int) { t.Skip("of no use") }) }
`,
	"bad/x_test.go": `package bad
import ("fmt"; "testing")
func TestGood(t *testing.T) { t.Log("nobody wants to read this") }
func TestBad(t *testing.T) { fmt.Println("a hint"); t.Run("sub", func(t *testing.T) { t.Error("the reason") }) }
`,
	"panics/x_test.go": `package panics
import "testing"
func TestWaits(t *testing.T) { t.Log("was waiting"); t.Parallel() }
func TestPanics(t *testing.T) { panic("oh no") }
`,
	"broken/x_test.go": `package broken
import "testing"
func TestX(t *testing.T) { return 1 }
`,
	"gives/x_test.go": `package gives
import ("os"; "testing")
func TestMain(*testing.M) { println("giving up"); os.Exit(3) }
`,
	"none/x.go": "package none\nfunc F() int { return 1 }\n",
}

// run runs the tests of some of the packages and returns what testsum makes of
// them: its summary, and what it prints with runs of white space made one space.
func run(t *testing.T, names ...string) (*summary, string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module m\n\ngo 1.26.0\n")
	for name, text := range packages {
		if slices.Contains(names, filepath.Dir(name)) {
			write(t, filepath.Join(dir, name), text)
		}
	}
	cmd := exec.Command("go", "test", "-json", "-cover", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	events, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var s summary
	var printed strings.Builder
	if err := s.read(strings.NewReader(string(events)), &printed); err != nil {
		t.Fatal(err)
	}
	s.close(&printed)
	return &s, strings.Join(strings.Fields(printed.String()), " ")
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pkg     string
		want    []string // in this order
		without []string
		sums    string
		verdict string // with skipping forbidden
	}{
		{
			pkg:     "good",
			want:    []string{"ok m/good ", "coverage: "},
			without: []string{"nobody wants", "nor this", "PASS", "=== RUN", "coverage: [no statements]coverage"},
			sums:    "3 passed, 0 failed, 0 skipped",
			verdict: "",
		},
		{
			pkg:     "skips",
			want:    []string{"ok m/skips ", "skipped: m/skips TestSkips: x_test.go:4: needs ncat: make peers installs it"},
			without: []string{"of no use"},
			sums:    "2 passed, 0 failed, 1 skipped",
			verdict: "1 skipped where nothing may be",
		},
		{
			pkg:     "bad",
			want:    []string{"x_test.go:4: the reason --- FAIL: TestBad/sub", "a hint --- FAIL: TestBad ", "FAIL m/bad "},
			without: []string{"nobody wants", "FAIL FAIL"},
			sums:    "1 passed, 2 failed, 0 skipped",
			verdict: "2 failed",
		},
		{
			pkg:     "panics",
			want:    []string{"panic: oh no", "TestPanics", "FAIL m/panics "},
			verdict: " failed",
		},
		{
			pkg:     "broken",
			want:    []string{"x_test.go:3:35: too many return values", "FAIL m/broken [build failed]"},
			sums:    "0 passed, 1 failed, 0 skipped",
			verdict: "1 failed",
		},
		{
			pkg:     "gives",
			want:    []string{"giving up", "FAIL m/gives "},
			sums:    "0 passed, 1 failed, 0 skipped",
			verdict: "1 failed",
		},
		{
			pkg:     "none",
			want:    []string{"m/none coverage: "},
			sums:    "0 passed, 0 failed, 0 skipped",
			verdict: "no test ran",
		},
	} {
		t.Run(tt.pkg, func(t *testing.T) {
			t.Parallel()
			s, got := run(t, tt.pkg)
			wantInOrder(t, got, append(tt.want, tt.sums))
			for _, text := range tt.without {
				if strings.Contains(got, text) {
					t.Errorf("printed %q in\n%s", text, got)
				}
			}
			wantVerdict(t, s.verdict(true), tt.verdict)
		})
	}
}

func wantInOrder(t *testing.T, got string, want []string) {
	t.Helper()
	rest := got
	for _, text := range want {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("missing, or too early: %q in\n%s", text, got)
		}
		rest = after
	}
}

func wantVerdict(t *testing.T, got error, want string) {
	t.Helper()
	if want == "" && got != nil || want != "" && (got == nil || !strings.HasSuffix(got.Error(), want)) {
		t.Errorf("verdict %v, want %q", got, want)
	}
}

func TestSkippedTestsMayBeAllowed(t *testing.T) {
	t.Parallel()
	s := summary{passed: 1, skipped: []skip{{test{"m", "TestX"}, "why"}}}
	if err := s.verdict(false); err != nil {
		t.Errorf("verdict %v, want none", err)
	}
}

// What was cut off in the middle is a failure and is shown, the package's own
// words last.
func TestUnfinishedTest(t *testing.T) {
	t.Parallel()
	var s summary
	var printed strings.Builder
	events := `{"Action":"output","Package":"m","Output":"exit status 2\n"}
{"Action":"output","Package":"m","Test":"TestB","Output":"b was here\n"}
{"Action":"output","Package":"m","Test":"TestA","Output":"a was here\n"}
go: words of the go command
{"Action":"fail","Package":"m"}`
	if err := s.read(strings.NewReader(events), &printed); err != nil {
		t.Fatal(err)
	}
	want := "go: words of the go command\na was here\nb was here\nexit status 2\n"
	if printed.String() != want || s.failed != 2 {
		t.Errorf("printed %q and counted %d failures, want %q and 2", &printed, s.failed, want)
	}
}

func TestReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("the pipe broke")
	r := io.MultiReader(strings.NewReader("{}\n"), iotest.ErrReader(broken))
	if err := new(summary).read(r, io.Discard); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// Of more than ten packages those are named that took longest, whether they failed or not.
func TestLongestPackages(t *testing.T) {
	t.Parallel()
	var s summary
	var events, printed strings.Builder
	for n := range slowest + 2 {
		fmt.Fprintf(&events, `{"Action":"pass","Package":"m/%d","Test":"TestX","Elapsed":99}`+"\n", n)
		fmt.Fprintf(&events, `{"Action":%q,"Package":"m/%d","Elapsed":%d.25}`+"\n", []string{"pass", "fail"}[n%2], n, n)
	}
	if err := s.read(strings.NewReader(events.String()), io.Discard); err != nil {
		t.Fatal(err)
	}
	s.close(&printed)
	got := strings.Join(strings.Fields(printed.String()), " ")
	wantInOrder(t, got, []string{"longest: 11.2 s m/11 10.2 s m/10 9.2 s m/9", "3.2 s m/3", "2.2 s m/2 12 passed"})
}

func Example_close() {
	s := summary{passed: 7, failed: 1, skipped: []skip{{test{"yodel/sock", "TestTelnet"}, "needs telnet: make peers installs it"}}}
	s.close(os.Stdout)
	fmt.Println(s.verdict(false))
	// Output:
	// skipped: yodel/sock TestTelnet: needs telnet: make peers installs it
	// 7 passed, 1 failed, 1 skipped
	// 1 failed
}
