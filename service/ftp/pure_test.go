package ftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"
)

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line string
		want command
		ok   bool
	}{
		{"NOOP\r\n", command{"NOOP", ""}, true},
		{"noop\n", command{"NOOP", ""}, true},
		{"NOOP", command{"NOOP", ""}, true},
		{"RETR a b\r\n", command{"RETR", "a b"}, true},
		{"RETR  a \r\n", command{"RETR", " a "}, true},
		{"RETR \r\n", command{"RETR", ""}, true},
		{"\xf2ABOR\r\n", command{"ABOR", ""}, true},
		{"\xf4\xf2ABOR\r\n", command{"ABOR", ""}, true},
		{"\xff\xf4\xffABOR\r\n", command{"ABOR", ""}, true},
		{"\r\n", command{}, false},
		{" NOOP\r\n", command{}, false},
		{"NO0P\r\n", command{}, false},
		{"NOOPS\r\n", command{}, false},
		{"NOOP\t\r\n", command{}, false},
		{"\xe2\x84\xaa\r\n", command{}, false}, // the kelvin sign, which folds to k
		{"RETR a\rb\r\n", command{"RETR", "a\rb"}, true},
	} {
		got, err := parseCommand([]byte(c.line))
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %q, %v", c.line, got, err)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"USER a\r\n", "\xff\xf4\xf2ABOR\r\n", "GET / HTTP/1.1\r\n", "", " \n", "RETR \x00\xff\r"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		isOfHTTP(line)
		cmd, err := parseCommand(bytes.Clone(line))
		if err != nil {
			if cmd != (command{}) {
				t.Fatalf("%q: %q with %v", line, cmd, err)
			}
			return
		}
		if n := len(cmd.verb); n < 1 || n > 4 || strings.Trim(cmd.verb, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			t.Fatalf("%q: the verb is %q", line, cmd.verb)
		}
		again, err := parseCommand([]byte(cmd.verb + " " + cmd.arg + "\r\n"))
		if err != nil || again != cmd {
			t.Fatalf("%q: %q, said again %q, %v", line, cmd, again, err)
		}
	})
}

func TestIsOfHTTP(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"GET / HTTP/1.1\r\n": true, "POST /x\r\n": true, "PRI * HTTP/2.0\r\n": true, "CONNECT a:1\r\n": true,
		"get x\r\n": false, "RETR /\r\n": false, "GETS\r\n": false, "DELE x\r\n": false,
	} {
		if isOfHTTP([]byte(line)) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reply reply
		want  string
	}{
		{say(200, "OK."), "200 OK.\r\n"},
		{sayf(213, "%d", 7), "213 7\r\n"},
		{say(257, "\"/\xff\"."), "257 \"/\xff\xff\".\r\n"},
		{say(250, "a\r\n221 b\x1b[m\x7f"), "250 a??221 b?[m?\r\n"},
		{reply{code: 211, text: "There are", more: []string{"A", "211 B"}, end: "End."}, "211-There are\r\n A\r\n 211 B\r\n211 End.\r\n"},
		{reply{code: 213, text: "There is", more: []string{}, end: "End."}, "213-There is\r\n213 End.\r\n"},
	} {
		if got := string(c.reply.append(nil)); got != c.want {
			t.Errorf("%+v is %q, want %q", c.reply, got, c.want)
		}
	}
}

func TestTelnet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, text, answer string }{
		{"text", "NOOP\r\n", "NOOP\r\n", ""},
		{"Synch in front of ABOR", "\xff\xf4\xff\xf2ABOR\r\n", "ABOR\r\n", ""},
		{"a doubled IAC is one", "a\xff\xffb", "a\xffb", ""},
		{"an offer is refused", "\xff\xfb\x01x", "x", "\xff\xfe\x01"},
		{"a request is refused", "\xff\xfd\x06x", "x", "\xff\xfc\x06"},
		{"what says no is not answered", "\xff\xfc\x01\xff\xfe\x01x", "x", ""},
		{"an option of 255", "\xff\xfd\xffx", "x", "\xff\xfc\xff"},
		{"a sub-negotiation is left out", "a\xff\xfa\x18\x00xterm\xff\xff\xff\xf0b", "ab", ""},
		{"one that does not end", "a\xff\xfa\x18QUIT\r\n", "a", ""},
		{"NOP, AYT and others", "\xff\xf1a\xff\xf6b\xff\xf9c", "abc", ""},
	} {
		for cut := range len(c.in) + 1 {
			var tn telnet
			var text, answer []byte
			for _, piece := range []string{c.in[:cut], c.in[cut:]} {
				some, reply, err := tn.filter([]byte(piece), nil)
				if err != nil {
					t.Fatal(err)
				}
				text, answer = append(text, some...), append(answer, reply...)
			}
			if string(text) != c.text || string(answer) != c.answer {
				t.Errorf("%s, cut after %d: %q and %q", c.name, cut, text, answer)
			}
		}
	}
}

// F1: options are not answered for ever.
func TestTelnetOptionsAreBounded(t *testing.T) {
	t.Parallel()
	var tn telnet
	_, answer, err := tn.filter([]byte(strings.Repeat("\xff\xfd\x01", maxOptions)+"x"), nil)
	if err != nil || len(answer) != 3*maxOptions {
		t.Errorf("%d bytes of answers, %v", len(answer), err)
	}
	if _, _, err = tn.filter([]byte("\xff\xfb\x01"), nil); err != errOptions {
		t.Errorf("one more: %v", err)
	}
}

// naiveTelnet is what filter does, by way of words: it splits at IAC.
func naiveTelnet(in string) (text string) {
	for in != "" {
		before, after, found := strings.Cut(in, "\xff")
		text, in = text+before, after
		switch {
		case !found || in == "":
			return text
		case in[0] == iac:
			text, in = text+"\xff", in[1:]
		case in[0] >= will && in[0] <= dont:
			in = in[min(2, len(in)):]
		case in[0] == sb:
			for in = in[1:]; in != "" && !strings.HasPrefix(in, "\xff\xf0"); {
				n := 1
				if in[0] == iac {
					n = 2
				}
				in = in[min(n, len(in)):]
			}
			in = in[min(2, len(in)):]
		default:
			in = in[1:]
		}
	}
	return text
}

func FuzzTelnet(f *testing.F) {
	for _, s := range []string{"a\xff\xf4\xff\xf2ABOR\r\n", "\xff\xfb\x01", "\xff\xfa\x18\xff\xff\xff\xf0x", "\xff\xff", "\xff\xfa\xff"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if len(in) > 100 { // fewer than maxOptions
			return
		}
		var tn telnet
		at := min(max(cut, 0), len(in))
		a, _, err := tn.filter(bytes.Clone(in[:at]), nil)
		b, _, err2 := tn.filter(bytes.Clone(in[at:]), nil)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if got := string(a) + string(b); got != naiveTelnet(string(in)) {
			t.Fatalf("%q, cut after %d: %q, want %q", in, at, got, naiveTelnet(string(in)))
		}
	})
}

func TestParsePort(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"127,0,0,1,4,1":      "127.0.0.1:1025",
		"192,168,010,1,0,21": "192.168.10.1:21",
		"1,2,3,4,255,255":    "1.2.3.4:65535",
		"":                   "", "1,2,3,4,5": "", "1,2,3,4,5,6,7": "", "1,2,3,4,5,256": "", "1,2,3,4,5,-6": "", "1,2,3,4,5,+6": "",
		"1,2,3,4,5, 6": "", "1,2,3,4,5,6 ": "", "1,2,3,4,5,0006": "", "1,2,3,4,,6": "", "a,2,3,4,5,6": "", "1.2.3.4,5,6": "", "1,2,3,4,5,6\n": "",
	} {
		checkHostPort(t, arg, want, parsePort)
	}
}

func TestParseEPRT(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"|1|127.0.0.1|1025|":             "127.0.0.1:1025",
		"|2|::1|65535|":                  "[::1]:65535",
		"!2!2001:db8::1!21!":             "[2001:db8::1]:21",
		"|2|::ffff:1.2.3.4|1025|":        "[::ffff:1.2.3.4]:1025",
		"":                               "",
		"|":                              "",
		"|1|127.0.0.1|1025":              "",
		"x|1|127.0.0.1|1025|":            "",
		"|1|127.0.0.1|1025|x":            "",
		"|1|::1|1025|":                   "",
		"|2|127.0.0.1|1025|":             "",
		"|2|fe80::1%eth0|1025|":          "",
		"|1|127.0.0.1|65536|":            "",
		"|1|127.0.0.1||":                 "",
		"|1|localhost|1025|":             "",
		" 1 127.0.0.1 1025 ":             "",
		"\xff1\xff127.0.0.1\xff1025\xff": "",
	} {
		checkHostPort(t, arg, want, parseEPRT)
	}
	for _, arg := range []string{"|3|x|1|", "||127.0.0.1|1025|", "|11|x|1|"} {
		if _, err := parseEPRT(arg); err != errProtocol {
			t.Errorf("%q: %v", arg, err)
		}
	}
}

func checkHostPort(t *testing.T, arg, want string, parse func(string) (netip.AddrPort, error)) {
	t.Helper()
	got, err := parse(arg)
	if want == "" {
		if err == nil {
			t.Errorf("%q is taken for %v", arg, got)
		}
		return
	}
	if err != nil || got.String() != want {
		t.Errorf("%q: %v, %v; want %s", arg, got, err, want)
	}
}

func FuzzHostPort(f *testing.F) {
	for _, s := range []string{"127,0,0,1,4,1", "|1|127.0.0.1|1025|", "|2|::1|1025|", "|2|fe80::1%0|1|", "1,2,3,4,5,6,", "!2!::!0!"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if ap, err := parsePort(arg); err == nil {
			again, err := parsePort(formatPASV(ap))
			if err != nil || again != ap {
				t.Fatalf("%q is %v, which is %v, %v", arg, ap, again, err)
			}
		}
		ap, err := parseEPRT(arg)
		if err != nil {
			return
		}
		version := 2
		if ap.Addr().Is4() {
			version = 1
		}
		again, err := parseEPRT(fmt.Sprintf("|%d|%v|%d|", version, ap.Addr(), ap.Port()))
		if err != nil || again != ap {
			t.Fatalf("%q is %v, which is %v, %v", arg, ap, again, err)
		}
		if peer := netip.MustParseAddrPort("192.0.2.1:1"); !checkActive(ap, peer).failed() && (ap.Port() < 1024 || ap.Addr().Unmap() != peer.Addr()) {
			t.Fatalf("%v may be called for %v", ap, peer)
		}
	})
}

// C1: a data connection goes to nobody else, and to no server.
func TestCheckActive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to, peer string
		code     int
	}{
		{"192.0.2.1:1024", "192.0.2.1:5", 0},
		{"192.0.2.1:65535", "[::ffff:192.0.2.1]:5", 0},
		{"[2001:db8::1]:2000", "[2001:db8::1]:5", 0},
		{"[fe80::1]:2000", "[fe80::1%eth0]:5", 0},
		{"192.0.2.2:1024", "192.0.2.1:5", 501},
		{"127.0.0.1:1024", "192.0.2.1:5", 501},
		{"[2001:db8::2]:2000", "[2001:db8::1]:5", 501},
		{"192.0.2.1:1023", "192.0.2.1:5", 504},
		{"192.0.2.1:0", "192.0.2.1:5", 504},
		{"192.0.2.2:25", "192.0.2.1:5", 501},
	} {
		if r := checkActive(netip.MustParseAddrPort(c.to), netip.MustParseAddrPort(c.peer)); r.code != c.code {
			t.Errorf("%s for %s: %+v, want %d", c.to, c.peer, r, c.code)
		}
	}
	if !checkActive(loopback(2000), netip.AddrPort{}).failed() {
		t.Error("somebody without an address may have a connection made")
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cwd, arg, want string }{
		{"/", "a", "/a"},
		{"/a/b", "c", "/a/b/c"},
		{"/a/b", "/c", "/c"},
		{"/a/b", "..", "/a"},
		{"/a", "../../../../etc/passwd", "/etc/passwd"},
		{"/", "/../..", "/"},
		{"/a", "./b//c/", "/a/b/c"},
		{"/a", " b ", "/a/ b "},
		{"/a", "", "/a"},
		{"/a", "~", "/a/~"},
		{"/", "grüße", "/grüße"},
		{"/", "a\xffb", "/a\xffb"},
	} {
		if got, err := resolve(c.cwd, c.arg); got != c.want || err != nil {
			t.Errorf("%q in %s: %q, %v", c.arg, c.cwd, got, err)
		}
	}
	for _, arg := range []string{"a\x00", "\x00", "a\nb", "a\rb", "\x1b[m", "a\u0085b", `..\..\x`, "a\x7f", TempPrefix + "x", "a/" + TempPrefix + "x", "a/../" + TempPrefix + "x/b"} {
		if p, err := resolve("/", arg); err == nil {
			t.Errorf("%q is taken for %q", arg, p)
		}
	}
	if inside("/") != "." || inside("/a/b") != "a/b" || quote(`/a"b`) != `"/a""b"` {
		t.Error("inside or quote")
	}
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"a", "../../etc", "/a//b/./..", "a\x00", `\`, "", "/", TempPrefix + "x"} {
		f.Add("/home", s)
	}
	f.Fuzz(func(t *testing.T, folder, arg string) {
		cwd, err := resolve("/", folder)
		if err != nil {
			return
		}
		p, err := resolve(cwd, arg)
		if err != nil {
			return
		}
		if p[0] != '/' || path.Clean(p) != p || strings.Contains(p+"/", "/../") || strings.ContainsAny(p, "\x00\r\n\\") || strings.Contains(p, "/"+TempPrefix) {
			t.Fatalf("%q in %q is %q", arg, cwd, p)
		}
		if name := inside(p); name != "." && !fs.ValidPath(name) && strings.ToValidUTF8(name, "") == name {
			t.Fatalf("%q is no path below a root", name)
		}
	})
}

func TestToNetwork(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                        "",
		"a\nb\n":                  "a\r\nb\r\n",
		"a\r\nb":                  "a\r\nb",
		"\n\n":                    "\r\n\r\n",
		"a\rb\r":                  "a\rb\r",
		strings.Repeat("\n", 1e5): strings.Repeat("\r\n", 1e5),
	} {
		for name, src := range map[string]io.Reader{
			"whole": strings.NewReader(in), "byte by byte": iotest.OneByteReader(strings.NewReader(in)), "with its end": iotest.DataErrReader(strings.NewReader(in)),
		} {
			got, err := io.ReadAll(newToNetwork(src))
			if string(got) != want || err != nil {
				t.Errorf("%q, %s: %q, %v", brief([]byte(in)), name, brief(got), err)
			}
		}
	}
	if _, err := io.ReadAll(newToNetwork(iotest.ErrReader(syscall.EIO))); !errors.Is(err, syscall.EIO) {
		t.Errorf("an error of the file is %v", err)
	}
}

func fromNet(t *testing.T, pieces ...string) string {
	t.Helper()
	var b strings.Builder
	w := &fromNetwork{dst: &b}
	for _, p := range pieces {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFromNetwork(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "a\r\nb\r\n": "a\nb\n", "a\nb": "a\nb", "a\rb": "a\rb", "a\r\r\nb": "a\r\nb", "a\r": "a\r", "\r\r": "\r\r",
	} {
		for cut := range len(in) + 1 {
			if got := fromNet(t, in[:cut], in[cut:]); got != want {
				t.Errorf("%q, cut after %d: %q, want %q", in, cut, got, want)
			}
		}
	}
	w := &fromNetwork{dst: failing{}}
	if _, err := w.Write([]byte("a\r")); err != syscall.ENOSPC {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); err != syscall.ENOSPC {
		t.Errorf("Close: %v", err)
	}
}

// failing is a file on a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// What is sent as text and comes back as text is what it was, unless it had CR LF.
func FuzzASCII(f *testing.F) {
	f.Add("a\nb\r\nc\rd", 3)
	f.Add("\r", 0)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		wire, err := io.ReadAll(newToNetwork(strings.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		if naive := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n"); string(wire) != naive {
			t.Fatalf("%q goes as %q, want %q", text, wire, naive)
		}
		at := min(max(cut, 0), len(wire))
		if got, want := fromNet(t, string(wire[:at]), string(wire[at:])), strings.ReplaceAll(text, "\r\n", "\n"); got != want {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}

func TestPace(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := pace{rate: 500, span: 5 * time.Second}
	if end, begun := p.deadline(now); !begun || end != now.Add(5*time.Second) {
		t.Errorf("the first span ends %v, %v", end, begun)
	}
	if !p.keeps(1, now.Add(4*time.Second)) {
		t.Error("it is too slow before the span is over")
	}
	if end, begun := p.deadline(now.Add(4 * time.Second)); begun || end != now.Add(5*time.Second) {
		t.Errorf("the span ends %v, %v", end, begun)
	}
	if !p.keeps(2499, now.Add(5*time.Second)) {
		t.Error("500 bytes a second are too slow")
	}
	later := now.Add(time.Minute)
	if _, begun := p.deadline(later); !begun {
		t.Error("no span begins behind the first")
	}
	if p.keeps(2499, later.Add(5*time.Second)) {
		t.Error("2499 bytes in 5 s are not too slow")
	}
	if d := p.patience(1000); d != 7*time.Second {
		t.Errorf("1000 bytes have %v", d)
	}
	var off pace
	if end, begun := off.deadline(now); begun || !end.IsZero() || !off.keeps(0, later) || off.patience(1) != 0 {
		t.Error("no pace is a bound")
	}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	tree := fstest.MapFS{
		"file":   {Data: []byte("12345"), Mode: 0o640, ModTime: when},
		"folder": {Mode: fs.ModeDir | 0o755, ModTime: when},
		"link":   {Mode: fs.ModeSymlink | 0o777, ModTime: when, Data: []byte("file")},
		"pipe":   {Mode: fs.ModeNamedPipe | 0o600, ModTime: when},
	}
	for _, c := range []struct {
		name  string
		facts facts
		write bool
		want  string
	}{
		{"file", allFacts, false, "modify=20260102020405;perm=r;size=5;type=file;UNIX.mode=0640;"},
		{"file", allFacts, true, "modify=20260102020405;perm=adfrw;size=5;type=file;UNIX.mode=0640;"},
		{"folder", allFacts, false, "modify=20260102020405;perm=el;type=dir;UNIX.mode=0755;"},
		{"folder", allFacts, true, "modify=20260102020405;perm=cdeflmp;type=dir;UNIX.mode=0755;"},
		{"link", factType | factPerm, true, "perm=df;type=OS.unix=symlink;"},
		{"pipe", factType | factPerm, false, "perm=;type=OS.unix=special;"},
		{"file", factSize, false, "size=5;"},
		{"file", 0, false, ""},
	} {
		fi, err := tree.Lstat(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.facts.append(nil, fi, c.write)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzFacts(f *testing.F) {
	for _, s := range []string{"type;size;", "TYPE;Modify;unix.MODE;", ";;;", "x;type", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		fc := parseFacts(list)
		if parseFacts(fc.names()) != fc || fc&^allFacts != 0 {
			t.Fatalf("%q is %q", list, fc.names())
		}
		if n := strings.Count(fc.features(), ";"); n != len(factNames) {
			t.Fatalf("FEAT tells %d facts", n)
		}
	})
}

func TestLsLine(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		when time.Time
		want string
	}{
		{now.Add(-time.Minute), "Jul  1 11:59"},
		{now.Add(-179 * 24 * time.Hour), "Jan  3 12:00"},
		{now.Add(-181 * 24 * time.Hour), "Jan  1  2026"},
		{now.Add(23 * time.Hour), "Jul  2 11:00"},
		{now.Add(25 * time.Hour), "Jul  2  2026"},
		{time.Unix(0, 0), "Jan  1  1970"},
	} {
		if got := lsTime(c.when, now); got != c.want {
			t.Errorf("%v: %q, want %q", c.when, got, c.want)
		}
	}
	for mode, want := range map[fs.FileMode]string{
		0o644: "-rw-r--r--", fs.ModeDir | 0o755: "drwxr-xr-x", fs.ModeSymlink | 0o777: "lrwxrwxrwx",
		fs.ModeNamedPipe: "p---------", fs.ModeSocket | 0o700: "srwx------",
		fs.ModeDevice: "b---------", fs.ModeDevice | fs.ModeCharDevice: "c---------",
	} {
		if got := lsMode(mode); got != want {
			t.Errorf("%v: %s, want %s", mode, got, want)
		}
	}
}

func TestWithoutOptions(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "a": "a", "-la": "", "-la a b": "a b", "-a -l  x": "x", "--": "", "a -l": "a -l",
	} {
		if got := withoutOptions(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
	}{
		{fs.ErrNotExist, 550},
		{&fs.PathError{Op: "openat", Path: "secret", Err: syscall.ENOENT}, 550},
		{&fs.PathError{Op: "openat", Path: "secret", Err: syscall.EIO}, 451},
		{syscall.EMFILE, 451},
		{syscall.ENAMETOOLONG, 553},
		{errBeyond, 554},
		{errors.New("path escapes from parent"), 550},
	} {
		r := failure(c.err)
		if r.code != c.code || strings.Contains(r.text, "secret") {
			t.Errorf("%v: %+v, want %d", c.err, r, c.code)
		}
	}
}
