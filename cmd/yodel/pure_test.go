package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/load"
	"yodel/sock"
	"yodel/yodeltest"
)

func loopback(port uint16) sock.Address {
	return sock.Address{Network: "tcp", Host: "127.0.0.1", Port: port}
}

func TestParsePlan(t *testing.T) {
	t.Parallel()
	tests := []struct {
		arg, service string
		addr         sock.Address
	}{
		{"upper", "upper", sock.Address{Network: "tcp", Host: "localhost", Port: 15213}},
		{"time", "time", sock.Address{Network: "tcp", Host: "localhost", Port: 10037}},
		{"echo@7007", "echo", sock.Address{Network: "tcp", Host: "localhost", Port: 7007}},
		{"echo@:7007", "echo", sock.Address{Network: "tcp", Port: 7007}},
		{"echo@*:echo", "echo", sock.Address{Network: "tcp", Port: 7}},
		{"echo@tcp://[::1]:7", "echo", sock.Address{Network: "tcp", Host: "::1", Port: 7}},
		{"echo@udp://127.0.0.1:0", "echo", sock.Address{Network: "udp", Host: "127.0.0.1"}},
		{"echo@tls://:7008", "echo", sock.Address{Network: "tls", Port: 7008}},
		{"echo@unix:/tmp/a@b", "echo", sock.Address{Network: "unix", Path: "/tmp/a@b"}}, // split at the first @
		{"echo@unix:@name", "echo", sock.Address{Network: "unix", Path: "@name"}},
	}
	for _, tt := range tests {
		p, err := parsePlan(tt.arg)
		if err != nil || p.row.name != tt.service || p.addr != tt.addr {
			t.Errorf("%s: %+v, %v", tt.arg, p, err)
		}
	}
	for _, bad := range []string{"", "@7", "nosuch", "Echo", "echo@", "echo@::1", "echo@http://:80", "echo@https://x:1", "echo@nosuchname", "echo@70000"} {
		if _, err := parsePlan(bad); exitStatus(err) != 2 {
			t.Errorf("%q: %v", bad, err)
		}
	}
	byDefault, err := parsePlans(nil)
	if err != nil || len(byDefault) != 2 || byDefault[0].addr.Port != 15213 || byDefault[1].addr.Port != 10007 {
		t.Errorf("by default: %+v, %v", byDefault, err)
	}
}

// Where a service is without an address is 10000 and its well-known port, and nobody
// else has it.
func TestServicesHaveTheirPorts(t *testing.T) {
	t.Parallel()
	taken := make(map[uint16]string)
	for _, s := range services {
		if other := taken[s.port]; other != "" {
			t.Errorf("%s and %s have port %d", s.name, other, s.port)
		}
		taken[s.port] = s.name
		want := uint16(15213)
		if s.name != "upper" {
			name := s.name
			if other := map[string]string{"web": "http", "mail": "smtp", "command": "shell"}[name]; other != "" {
				name = other
			}
			known, err := sock.ServicePort("tcp", name)
			if err != nil {
				yodeltest.Skip(t, "/etc/services has no "+name, "install the whole of it (Debian: netbase)")
			}
			want = 10_000 + known
		}
		if s.port != want {
			t.Errorf("%s has port %d, want %d", s.name, s.port, want)
		}
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	got, err := prefixes("allow", []string{"192.0.2.7/24", "192.0.2.7", "2001:db8::1", "2001:db8::1/32"})
	want := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.7/32"),
		netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8::/32"),
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "localhost", "192.0.2.0/33", "192.0.2", "10.0.0.1-10.0.0.9"} {
		if _, err := prefixes("deny", []string{bad}); exitStatus(err) != 2 || !strings.Contains(err.Error(), "--deny") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	lookup := func(env map[string]string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			v, ok := env[name]
			return v, ok
		}
	}
	cmd := newServe(std{})
	if err := cmd.ParseFlags([]string{"--line-max=7"}); err != nil {
		t.Fatal(err)
	}
	err := fromEnvironment(cmd, lookup(map[string]string{
		"YODEL_SERVE_MAX_CONNS": "12", "YODEL_SERVE_LINE_MAX": "9", "YODEL_SERVE_ALLOW": "::1,127.0.0.1",
		"YODEL_SERVE_HELP": "true", "YODEL_CALL_HEX": "true", "YODEL_SERVE_NOSUCH": "x",
	}))
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"max-conns": "12", "line-max": "7", "allow": "[::1,127.0.0.1]"} {
		if got := cmd.Flags().Lookup(flag).Value.String(); got != want {
			t.Errorf("--%s is %s, want %s", flag, got, want)
		}
	}
	if !cmd.Flags().Changed("max-conns") {
		t.Error("a flag from the environment does not count as given")
	}
	for name, value := range map[string]string{"YODEL_SERVE_GRACE": "soon", "YODEL_SERVE_AMPLIFY": "false", "YODEL_SERVE_NAMES": ""} {
		if err := fromEnvironment(newServe(std{}), lookup(map[string]string{name: value})); exitStatus(err) != 2 || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
	if err := fromEnvironment(newCall(std{}), lookup(map[string]string{"YODEL_CALL_INSECURE": "0"})); err == nil {
		t.Error("--insecure may come from the environment")
	}
}

func TestManPage(t *testing.T) {
	t.Parallel()
	root := newRoot(std{})
	for _, c := range root.Commands() {
		page := manPage(c)
		for _, want := range []string{".TH YODEL-", "\n.SH NAME\n", "\n.SH SYNOPSIS\n", "\n.SH OPTIONS\n", "\n.SH EXIT STATUS\n"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q", c.Name(), want)
			}
		}
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, ".") && !strings.Contains(".TH .SH .B .TP .nf .fi ", strings.Fields(line)[0]+" ") {
				t.Errorf("%s: a line that groff would obey: %q", c.Name(), line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
				t.Errorf("%s: not ASCII: %q", c.Name(), line)
			}
		}
	}
	if page := manPage(root); !strings.Contains(page, ".TP\n.B yodel serve\nRun servers to talk to\n") || strings.Contains(page, "yodel man") {
		t.Errorf("yodel(1):\n%s", page)
	}
	if got, want := roff("a-b \\ …\n.c\n'd e.f"), `a\-b \e \[u2026]`+"\n"+`\&.c`+"\n"+`\&'d e.f`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	dir := t.TempDir()
	if err := writeManPages(root, dir); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "yodel*.1"))
	if err != nil || len(pages) < 6 {
		t.Errorf("%q, %v", pages, err)
	}
}

func TestPortOf(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]uint16{"0": 0, "7": 7, "00080": 80, "65535": 65535, "smtp": 25, "domain": 53, "http": 80} {
		if port, ok, err := portOf(query); err != nil || !ok || port != want {
			t.Errorf("%s: %d, %t, %v", query, port, ok, err)
		}
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "-1", "1.5", "a7"} {
		if port, ok, err := portOf(host); err != nil || ok {
			t.Errorf("%s: %d, %t, %v", host, port, ok, err)
		}
	}
	for _, bad := range []string{"", "65536", "99999", strings.Repeat("9", 1000)} {
		if _, _, err := portOf(bad); exitStatus(err) != 2 || len(err.Error()) > 200 {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		":7": "localhost:7", "tls://:7": "tls://localhost:7", "0.0.0.0:7": "localhost:7", "[::]:7": "localhost:7",
		"127.0.0.2:7": "127.0.0.2:7", "unix:/a": "unix:/a",
	} {
		a, err := sock.ParseAddress(from)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(a).String(); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

func TestSplitUDP(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{"0.0.0.0:7": "", "[::]:7": "", "127.0.0.1:7": "127.0.0.1", "[::1]:7": "::1", "[::ffff:127.0.0.1]:7": "127.0.0.1"} {
		host, port := splitUDP(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		if host != want || port != 7 {
			t.Errorf("%s: %q, %d", addr, host, port)
		}
	}
}

func TestFewWords(t *testing.T) {
	t.Parallel()
	if got := connections(0) + connections(1) + connections(2); got != "0 connections1 connection2 connections" {
		t.Error(got)
	}
	if got := micros(1234567 * time.Nanosecond); got != "1234.6 µs" {
		t.Error(got)
	}
	if notEOF(io.EOF) != nil || notEOF(io.ErrClosedPipe) == nil {
		t.Error("notEOF")
	}
	if envName("serve", "tls-cert") != "YODEL_SERVE_TLS_CERT" {
		t.Error(envName("serve", "tls-cert"))
	}
	if !strings.HasPrefix(versionText(), "v") && versionText() != "(devel)" && versionText() != "unknown" {
		t.Error(versionText())
	}
}

// A row of the demo whose server's processor time could not be read says so.
func TestDemoTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := &demo{io: std{out: &out}}
	none := hdrhistogram.New(1, 2, 3)
	d.table([]burst{
		{engine: "goroutine", conns: 16, report: &load.Report{Counts: load.Counts{Verified: 10, Lost: 1}, Times: load.Times{Latency: none}}, cpu: 25 * time.Microsecond},
		{engine: "iterative", conns: 1, report: &load.Report{Counts: load.Counts{Verified: 1}, Times: load.Times{Latency: none}}, cpuErr: errors.ErrUnsupported},
	})
	for _, want := range []string{"server CPU  machine CPU", "goroutine           16               10     1      0 ", " 2.5 µs       0.0 µs\n", "not known here       0.0 µs\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// The names in a certificate are a stranger's text.
func TestInFlags(t *testing.T) {
	t.Parallel()
	at := sock.Address{Network: "tls", Host: "127.0.0.1", Port: 7}
	other := x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a\x1b[2J"}}, Host: "b.example"}
	err := inFlags(&sock.HandshakeError{Address: at, Err: other})
	if s := err.Error(); !strings.Contains(s, "--server-name") || strings.Contains(s, "\x1b") || strings.Contains(s, "Options") {
		t.Errorf("%q", s)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); !ok {
		t.Errorf("%v has lost its cause", err)
	}
	plain := &sock.HandshakeError{Address: at, Err: io.EOF}
	if got := inFlags(plain); got != error(plain) {
		t.Errorf("%v", got)
	}
	if inFlags(nil) != nil || inFlags(io.EOF) != io.EOF {
		t.Error("other errors are changed")
	}
}

func TestStateDir(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	if got, err := stateDir(); got != filepath.Join(dir, "yodel") || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	t.Setenv("XDG_STATE_HOME", "relative") // which the specification forbids
	t.Setenv("HOME", dir)
	if got, err := stateDir(); got != filepath.Join(dir, ".local", "state", "yodel") || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

// A history that was asked for and can't be is told before anybody is called; who does
// not type needs none.
func TestHistoryIsCheckedFirst(t *testing.T) {
	folder := t.TempDir()
	c := &calling{callFlags: &callFlags{history: folder}, tty: &terminal{}}
	if err := c.checkFlags(); exitStatus(err) != 2 || err.Error() != "--history: "+folder+" is not a regular file" {
		t.Errorf("%v", err)
	}
	c.connectOnly = true
	if err := c.checkFlags(); err != nil || c.typed != nil {
		t.Errorf("nobody types: %v", err)
	}
}

// Whatever is wrong with the history, a person may call, unless it was asked for.
func TestOpenHistory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	c := &calling{callFlags: &callFlags{}}
	h, err := c.openHistory()
	if err != nil {
		t.Fatal(err)
	}
	h.Add("hello")
	if again, err := c.openHistory(); err != nil || again.Len() != 1 || again.At(0) != "hello" {
		t.Errorf("%v, %v", again, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", file) // no folder
	if h, err := c.openHistory(); err != nil || h.Len() != 0 {
		t.Errorf("%v, %v", h, err)
	}
	c.history = filepath.Join(file, "history")
	if _, err := c.openHistory(); err == nil {
		t.Error("--history with a path that cannot be is taken")
	}
	c.noHistory = true
	if h, err := c.openHistory(); err != nil || h.Len() != 0 {
		t.Errorf("%v, %v", h, err)
	}
}
