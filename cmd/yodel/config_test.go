package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"yodel/trace"
)

// configure reads text as a configuration file with a command line, and returns what
// came of it.
func configure(t testing.TB, text string, args ...string) (*serveFlags, []plan, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "serve.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &serveFlags{}
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.bind(fs)
	if err := fs.Parse(append(args, "--config="+file)); err != nil {
		t.Fatal(err)
	}
	plans, err := f.plans(fs, fs.Args())
	return f, plans, err
}

// mistakes returns the lines of err, without the folder of the file.
func mistakes(err error) (lines []string) {
	if err == nil {
		return nil
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		lines = append(lines, line[strings.Index(line, "serve.toml:"):])
	}
	return lines
}

// Every mistake is told, with where it is and what to write instead.
func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, text string
		want       []string
	}{
		{"a slip", "max-con = 10\n", []string{`1:1: there is no key "max-con" here; did you mean max-conns?`}},
		{"two letters exchanged", "\n  idel = '1m'\n", []string{`2:3: there is no key "idel" here; did you mean idle?`}},
		{"what only the command line may say", "check-config = true\n", []string{`1:1: there is no key "check-config" here; there are accept-all, access-log, admin, allow, `}},
		{"far from any", "xyzzy = true\n", []string{`1:1: there is no key "xyzzy" here; there are accept-all, access-log, admin, allow, `}},
		{"a slip in a table", "[[serve]]\nservice = 'echo'\nadress = ':7'\n", []string{`3:1: there is no key "adress" here; did you mean address?`}},
		{"what is for all", "[[serve]]\nservice = 'echo'\nmax-conns = 9\n", []string{`3:1: max-conns is for all services together: write it above the first [[serve]]`}},
		{"another service's", "[[serve]]\nservice = 'echo'\nline-max = 9\n", []string{`3:1: line-max is a key of upper, ftp, mail, not of echo`}},
		{"nobody's who is served", "line-max = 9\n[[serve]]\nservice = 'echo'\n", []string{`1:1: line-max is a key of upper, ftp, mail, which is not served here`}},
		{"no service", "[[serve]]\naddress = ':7'\n", []string{`1:3: this [[serve]] names no service; write service = "upper", or another of upper, echo, `}},
		{"no such service", "[[serve]]\nservice = 'uper'\n", []string{`2:11: there is no service "uper"; there are upper, echo, `}},
		{"a service that is a number", "[[serve]]\nservice = 7\n", []string{`2:11: write service as a string`}},
		{"no such engine", "engine = 'nosuch'\n", []string{`1:10: there is no engine "nosuch"; there are auto, uring, epoll, goroutine, `}},
		{"no such engine in a table", "[[serve]]\nservice = 'echo'\nengine = 'nosuch'\n", []string{`3:10: there is no engine "nosuch"; there are `}},
		{"a flag of another engine", "[[serve]]\nservice = 'echo'\nmax-children = 7\n", []string{`1:3: max-children is for --engine process`}},
		{"loops of another engine", "[[serve]]\nservice = 'echo'\nengine = 'goroutine'\nloops = 2\n", []string{`1:3: loops is for the engines with event loops: uring, epoll, kernel, or auto`}},
		{"too many loops", "[[serve]]\nservice = 'echo'\nloops = 2000\n", []string{`1:3: loops 2000: give a number from 1 to 1024`}},
		{"a time without its unit", "idle = 60\n", []string{`1:8: write idle as a string with its unit, as "10s" or "5m"`}},
		{"a time that is none", "grace = 'soon'\n", []string{`1:9: write grace as a string with its unit`}},
		{"a number that is a string", "max-conns = '10'\n", []string{`1:13: write max-conns as a whole number`}},
		{"a number that is none", "max-conns = 1.5\n", []string{`1:13: write max-conns as a whole number`}},
		{"a mode below 0", "unix-mode = -1\n", []string{`1:13: write unix-mode as a whole number from 0, as 0o600`}},
		{"a mode beyond all", "unix-mode = 0x1_0000_0000\n", []string{`1:13: write unix-mode as a whole number from 0`}},
		{"truth as a string", "json = 'yes'\n", []string{`1:8: write json as true or false`}},
		{"a string that is none", "trace = true\n", []string{`1:9: write trace as a string`}},
		{"a table for a value", "trace = {file = 'x'}\n", []string{`1:9: write trace as a string`}},
		{"a date for a value", "trace = 1979-05-27\n", []string{`1:9: write trace as a string`}},
		{"a list of numbers", "allow = [1, 2]\n", []string{`1:1: write allow as a string, or a list of strings`}},
		{"a number for a list", "allow = 1\n", []string{`1:9: write allow as a string, or a list of strings`}},
		{"no network", "allow = '192.0.2.0/33'\n", []string{`1:9: allow "192.0.2.0/33": write a network as 192.0.2.0/24 or 2001:db8::/32`}},
		{"no network in a table", "[[serve]]\nservice = 'echo'\nproxy-from = 'x'\n", []string{`3:14: proxy-from "x": write a network`}},
		{"no network to deny", "deny = ['x']\n", []string{`1:1: deny "x": write a network`}},
		{"an admin listener for strangers", "admin = ':80'\n", []string{`1:9: admin :80: it shows what strangers should not see`}},
		{"no address", "[[serve]]\nservice = 'echo'\naddress = ['127.0.0.1:0',\n  '::1:7']\n", []string{`4:3: echo@::1:7: address "::1:7": an IPv6 address needs brackets`}},
		{"an address of another kind", "[[serve]]\nservice = 'echo'\naddress = 'https://:443'\n", []string{`3:11: echo@https://:443: echo is served over tcp, tls, udp and unix, not over https`}},
		{"a port alone", "[[serve]]\nservice = 'echo'\naddress = 7\n", []string{`3:11: write address as a string, or as a list of strings`}},
		{"no address at all", "[[serve]]\nservice = 'echo'\naddress = []\n", []string{`3:1: write address as a string, or as a list of strings`}},
		{"single brackets", "[serve]\nservice = 'echo'\n", []string{`1:2: write [[serve]], in double brackets: there may be several`}},
		{"no table", "serve = 'echo'\n", []string{`1:1: write each service as a table [[serve]]`}},
		{"a table inside a list", "serve = [{service = 'echo'}]\n", []string{`1:1: write each service as a table [[serve]]`}},
		{"another table", "[server]\nx = 1\n", []string{`1:2: there are no tables but [[serve]], and this is [server]`}},
		{"tables inside", "[[serve]]\nservice = 'echo'\n[[serve.tls]]\n", []string{`3:3: there are no tables but [[serve]], and this is [[serve.tls]]`}},
		{"a key in parts", "idle.upper = '1m'\n", []string{`1:1: there is no key "idle.upper" here`}},
		{"hostile text", "\"a\\u001b[2J\" = 1\n", []string{`1:1: there is no key "a\\x1b[2J" here`}},
		{"no TOML", "idle = \n", []string{`1:8: `}},
		{"said twice", "idle = '1m'\nidle = '2m'\n", []string{`2:1: key idle is already defined`}},
		{"not UTF-8", "trace = '\xff'\n", []string{`1:10: `}},
		{"several", "a = 1\n[[serve]]\nservice = 'echo'\nidle = 5\nb = 1\n[x]\n", []string{
			`1:1: there is no key "a"`, `4:8: write idle`, `5:1: there is no key "b"`, `6:2: there are no tables but [[serve]]`,
		}},
	} {
		_, plans, err := configure(t, tt.text)
		got := mistakes(err)
		ok := slices.EqualFunc(got, tt.want, func(line, want string) bool { return strings.HasPrefix(line, "serve.toml:"+want) })
		if !ok || exitStatus(err) != 2 || plans != nil {
			t.Errorf("%s:\ngot  %q\nwant %q\nstatus %d, %d plans", tt.what, got, tt.want, exitStatus(err), len(plans))
		}
	}
}

func TestConfigThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, make([]byte, maxConfig+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "nosuch"): "--config: open ",
		dir:                          "--config: read ",
		long:                         "has more than 1048576 bytes",
	} {
		if _, err := readConfig(path); exitStatus(err) != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What a file says holds for all, or for one; a command line goes before it.
func TestConfigHolds(t *testing.T) {
	t.Parallel()
	const text = `
idle = "1m"
max-conns = 0x10
unix-mode = 0o660
names = true
allow = "127.0.0.0/8"
deny = ["192.0.2.1", "2001:db8::/32"]
proxy-from = ["192.0.2.0/24"]
max-children = 7
loops = 2

[[serve]]
service = "upper"
address = [":0", "udp://127.0.0.1:0", "unix:@name"]
line-max = 100
idle = "2m"
proxy-from = []
amplify = true

[[serve]]
service = "upper"
engine = "process"
min-rate = -1

[[ "serve" ]]
service = 'echo'
header-timeout = "3s"
`
	f, plans, err := configure(t, text, "--header-timeout=4s", "--min-rate=9", "--names=false")
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("max-conns", f.maxConns, 16)
	check("unix-mode", f.unixMode, 0o660)
	check("allow", f.allow, "[127.0.0.0/8]")
	check("deny", f.deny, "[192.0.2.1 2001:db8::/32]")
	check("names, which the command line has", f.names, false)
	check("min-rate, which the command line has", f.minRate, 9)
	check("idle was given", f.idleGiven, true)
	check("by default", f.byDefault, false)
	check("plans", len(plans), 5)
	var at []string
	for _, p := range plans {
		at = append(at, p.row.name+"@"+p.addr.String())
	}
	check("plans", at, "[upper@:0 upper@udp://127.0.0.1:0 upper@unix:@name upper@localhost:15213 echo@localhost:10007]")
	for i, want := range []string{"100 2m0s 9 4s", "100 2m0s 9 4s", "100 2m0s 9 4s", "8192 1m0s 9 4s", "8192 1m0s 9 4s"} {
		own := plans[i].flags
		check(at[i], fmt.Sprint(own.lineMax, own.idle, own.minRate, own.header), strings.Join(strings.Fields(want), " "))
	}
	check("proxies of the first", plans[0].flags.proxyFrom, "[]")
	check("proxies of the last", plans[4].flags.proxyFrom, "[192.0.2.0/24]")
	check("amplify", fmt.Sprint(plans[0].flags.amplify, plans[4].flags.amplify), "true false")
	check("children where there are none", plans[0].flags.children, 0)
	check("children", plans[3].flags.children, 7)
	check("loops where there are none", plans[3].flags.loops, 0)
	check("loops", plans[4].flags.loops, 2)
	check("engine", plans[3].flags.engine+plans[4].flags.engine, "processauto")

	if _, _, err = configure(t, "grace = '1s'\n", "nosuch@0"); exitStatus(err) != 2 {
		t.Errorf("a command line that makes no sense: %v", err)
	}

	// Services of the command line stand in for those of the file.
	if _, plans, err = configure(t, strings.Replace(text, "line-max = 100", "", 1), "daytime@0"); err != nil || len(plans) != 1 || plans[0].row.name != "daytime" || plans[0].flags != nil {
		t.Errorf("%+v, %v", plans, err)
	}
	if f, plans, err = configure(t, "grace = '1s'\n"); err != nil || len(plans) != 2 || f.grace != time.Second {
		t.Errorf("a file without services: %+v, %v", plans, err)
	}
}

// The real program with a file: values of their own, a certificate, and its reload.
func TestServeConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := writePair(t, dir)
	file := filepath.Join(dir, "serve.toml")
	text := fmt.Sprintf(`
json = true
engine = "iterative"
idle = "10m"
[[serve]]
service = "upper"
address = "127.0.0.1:0"
line-max = 5
[[serve]]
service = "upper"
address = "127.0.0.1:0"
idle = "50ms"
[[serve]]
service = "echo"
address = ["tls://127.0.0.1:0", "tls://127.0.0.2:0"]
tls-cert = '%s'
tls-key = '%s'
engine = "goroutine"
[[serve]]
service = "echo"
address = "tls://127.0.0.1:0"
`, cert, key)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &running{started: startWith(t, []string{"YODEL_SERVE_ENGINE=goroutine"}, program(t), "serve", "--config", file)}
	t.Cleanup(func() { s.stop(t) })
	for i := range 5 {
		s.at = append(s.at, s.listens(t, i))
	}
	for _, at := range s.at {
		if at.Engine != "goroutine" { // the environment goes before the file
			t.Errorf("%+v", at)
		}
	}
	if s.at[2].Fingerprint != s.at[3].Fingerprint || s.at[2].Fingerprint == s.at[4].Fingerprint {
		t.Errorf("the certificates are %s, %s of a file, and %s", s.at[2].Fingerprint, s.at[3].Fingerprint, s.at[4].Fingerprint)
	}
	ask(t, s.dial(t, 0), "hello there", "HELLO THERE"[:10]) // in pieces of 5
	long := s.dial(t, 1)
	ask(t, long, "hello\n", "HELLO\n")
	s.await(t, &s.out, `"type":"close".*"text":"idle"`)
	if e := s.events(t, trace.Close)[0]; e.Remote.String() != long.LocalAddr().String() {
		t.Errorf("the one that is idle is %+v", e)
	}
	s.wantReload(t, dir)
}

// wantReload wants services 2 and 3 to show the certificate in dir, and another one when
// that was replaced and SIGHUP has come.
func (s *running) wantReload(t *testing.T, dir string) {
	t.Helper()
	show := func(fingerprint string) {
		t.Helper()
		for _, i := range []int{2, 3} {
			wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--pin", fingerprint, s.address(i)), 0)
		}
	}
	show(s.at[2].Fingerprint)
	writePair(t, dir)
	s.signal(t, syscall.SIGHUP)
	fresh := s.await(t, &s.err, `yodel: certificate reloaded: (sha256:[0-9a-f]{64})\n`)[1]
	s.await(t, &s.err, `yodel: nothing to reload: the certificate was made for this run\n`)
	show(fresh)
	if fresh == s.at[2].Fingerprint || strings.Count(s.err.String(), "certificate reloaded") != 1 {
		t.Errorf("stderr %q", &s.err)
	}
}

// An error of what a file asks for says where that is.
func TestServeConfigCannot(t *testing.T) {
	t.Parallel()
	s := serve(t, "echo@127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "serve.toml")
	text := "[[serve]]\nservice = 'echo'\naddress = [\n  '127.0.0.1:0',\n  '" + s.address(0) + "',\n]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, runYodel(t, "", "serve", "--config", file), 1,
		"yodel: "+file+":5:3: listen on "+s.address(0)+": bind: address already in use; another program listens there")
	// That is what a check can't see.
	r := runYodel(t, "", "serve", "--check-config", "--config", file)
	wantStatus(t, r, 0)
	by := ", " + byAuto(t, "tcp") + "\n"
	if want := "echo would listen on 127.0.0.1:0" + by + "echo would listen on " + s.address(0) + by; r.out != want {
		t.Errorf("stdout %q, want %q", r.out, want)
	}
}

// The document has the keys of a [[serve]], and no others.
func TestConfigDocument(t *testing.T) {
	t.Parallel()
	want := map[string][]string{"always": {"service", "address"}, "as flags, for each service": ofEachService}
	for _, row := range services {
		if len(row.flags) > 0 {
			want["for `"+row.name+"`"] = row.flags
		}
	}
	got := make(map[string][]string)
	for line := range strings.Lines(readFile(t, "../../docs/config.md")) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if !strings.HasPrefix(line, "|") || len(cells) != 2 {
			continue
		}
		for _, m := range backquoted.FindAllStringSubmatch(cells[1], -1) {
			got[cells[0]] = append(got[cells[0]], m[1])
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("docs/config.md: a [[serve]] has\n%v, want\n%v", got, want)
	}
}

// The example in the documents is one.
func TestExampleConfig(t *testing.T) {
	t.Parallel()
	r := runYodel(t, "", "serve", "--check-config", "--config", "../../docs/serve.toml")
	wantStatus(t, r, 0)
	byTCP, byTLS := byAuto(t, "tcp")+"\n", byAuto(t, "tls")+"\n"
	if want := "upper would listen on 127.0.0.1:15213, " + byTCP +
		"echo would listen on 127.0.0.1:10007, " + byTCP +
		"echo would listen on udp://127.0.0.1:10007, engine datagrams\n" +
		"echo would listen on tls://127.0.0.1:10008, " + byTLS +
		"echo would listen on 127.0.0.1:10009, " + byAuto(t, "proxy") + "\n" +
		"daytime would listen on localhost:10013, engine iterative\n" +
		"admin would listen on 127.0.0.1:15214\n"; r.out != want || r.err != "" {
		t.Errorf("stdout %q, want %q\nstderr %q", r.out, want, r.err)
	}
}

// --check-config finds what can be found without opening a socket, and touches nothing.
func TestInsideCheckConfig(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir)
	kept := filepath.Join(dir, "trace")
	if err := os.WriteFile(kept, []byte("precious\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "serve.toml")
	for _, tt := range []struct {
		what, text string
		args       []string
		status     int
		want       string // of stdout if the status is 0, else of stderr
	}{
		{"a certificate", "[[serve]]\nservice='echo'\naddress='tls://:7'\ntls-cert='" + cert + "'\ntls-key='" + key + "'\n", nil, 0, "echo would listen on tls://:7, " + byAuto(t, "tls") + ", certificate sha256:"},
		{"no such certificate", "[[serve]]\nservice='echo'\naddress='tls://:7'\ntls-cert='nosuch'\ntls-key='nosuch'\n", nil, 2, ":3:9: tls-cert nosuch, --tls-key nosuch: open nosuch: no such file"},
		{"half a pair", "[[serve]]\nservice='echo'\naddress='tls://:7'\ntls-cert='" + cert + "'\n", nil, 2, ":3:9: tls-cert and --tls-key go together"},
		{"no datagram form", "[[serve]]\nservice='upper'\naddress='udp://:7'\n", nil, 2, ":3:9: upper has no datagram form"},
		{"no such name", "[[serve]]\nservice='upper'\naddress='nosuch.invalid:7'\n", nil, 2, ":3:9: look up nosuch.invalid: "},
		{"the same address twice", "[[serve]]\nservice='upper'\naddress=[':7',':8','udp://:7']\n[[serve]]\nservice='echo'\naddress='tls://:7'\n", nil, 2, ":6:9: echo is to listen on tls://:7, where upper is to listen too"},
		{"the same free port", "[[serve]]\nservice='upper'\naddress=[':0',':0']\n", nil, 0, "upper would listen on :0, " + byAuto(t, "tcp") + "\nupper would"},
		{"a user", "user='nosuchuser'\n", nil, 2, "--user: "},
		{"the admin listener", "", []string{"--admin=:1"}, 2, "--admin :1: it shows what strangers should not see"},
		{"a bad network", "", []string{"--allow=x"}, 2, `--allow "x"`},
		{"json", "json=true\nadmin='127.0.0.1:1'\n", []string{"echo@:7"}, 0, `"type":"would-listen"`},
		{"a trace", "trace='" + kept + "'\n", nil, 0, "upper would listen on localhost:15213, " + byAuto(t, "tcp") + "\necho would"},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := inside(t, "", append([]string{"serve", "--check-config", "--config", file}, tt.args...)...)
		said := r.out
		if tt.status != 0 {
			said = r.err
		}
		if r.status != tt.status || !strings.Contains(said, tt.want) || tt.status != 0 && r.out != "" || tt.status == 0 && r.err != "" {
			t.Errorf("%s: %+v", tt.what, r)
		}
	}
	if got := readFile(t, kept); got != "precious\n" {
		t.Errorf("the trace file has %q now", got)
	}
	wantInside(t, "", 2, "", "look up nosuch.invalid", "serve", "--check-config", "upper@nosuch.invalid:7")
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := flagNames(func() *pflag.FlagSet {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		new(serveFlags).bind(fs)
		return fs
	}())
	for word, want := range map[string]string{
		"idle": "idle", "idel": "idle", "Idle": "idle", "max_conns": "max-conns", "maxconns": "max-conns", "min-rat": "min-rate",
		"header-timeuot": "header-timeout", "proxyfrom": "proxy-from", "": "", "x": "", "timeout": "", "workers": "",
		strings.Repeat("a", 1000): "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		n    int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ca", "abc", 3}} {
		if got := slips(tt.a, tt.b); got != tt.n {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.n)
		}
	}
}

// Whatever a file says, the reader does not panic, and what it complains of stands in
// the file.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../docs/serve.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(example), "", "a", "a = 1\n", "idle = '1m'\n[[serve]]\nservice = 'upper'\nline-max = 0x10\n",
		"[[serve]]\naddress = [1, [2], {a = 3}]\n", "serve = [{service = 'echo'}]\n", "[a.b]\nc.d = 1979-05-27\n",
		"unix-mode = 0o777_777_777_777\nidle = \"\"\"\nx\"\"\"\n", "'' = ''\n\"\\u0000\" = nan\n", "[[serve]]\nservice = \"echo\"\naddress = \"unix:\"\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		text, err := parseConfig("f", in)
		if err == nil {
			flags := &serveFlags{}
			fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			flags.bind(fs)
			c := &configuring{text: text}
			for _, p := range c.apply(flags, fs) {
				if p.row == nil || p.flags == nil || p.addr.Network == "" {
					t.Errorf("%+v", p)
				}
			}
			err = errors.Join(c.errs...)
		}
		lines := strings.Split(string(in), "\n")
		for _, one := range flatten(err) {
			at := one.(*configError).at
			if at.line < 1 || at.line > len(lines) || at.column < 1 || at.column > len(lines[at.line-1])+1 {
				t.Errorf("%v is not in the text", one)
			}
			if strings.ContainsAny(one.Error(), "\x00\x1b\r\n") {
				t.Errorf("raw text in %q", one)
			}
		}
	})
}

// flatten returns the errors that were joined.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
