package ftp

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"yodel/engine"
)

// A talk is what a client says, and how the replies begin.
type talk [][2]string

func (c *client) talk(lines talk) {
	c.t.Helper()
	for _, l := range lines {
		c.do(l[0], l[1])
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	r.write("folder/file", "12345")
	os.Chtimes(r.path("folder/file"), time.Time{}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	c := r.login()
	c.talk(talk{
		{"NONE", "500 There is no such command."},
		{"", "500 That is not a command."},
		{"CCC", "502 CCC is not offered."},
		{"REIN", "502"},
		{"PWD", `257 "/" is`},
		{"XPWD", `257 "/" is`},
		{"CWD folder", `250 You are in "/folder".`},
		{"CWD none", "550 There is no such file or folder."},
		{"CWD file", "550 That is not a folder."},
		{"CWD", "501"},
		{"PWD now", "501"},
		{"CDUP", `250 You are in "/".`},
		{"CDUP", `250 You are in "/".`},
		{"CWD /folder/../folder/", `250 You are in "/folder".`},
		{"TYPE A", "200"},
		{"TYPE A N", "200"},
		{"TYPE A T", "504"},
		{"TYPE E", "504"},
		{"SIZE file", "550 The size of a text"},
		{"TYPE L 8", "200"},
		{"type i", "200"},
		{"SIZE file", "213 5"},
		{"SIZE /folder", "550 That is a folder."},
		{"SIZE none", "550"},
		{"MDTM file", "213 20260102030405"},
		{"MDTM none", "550"},
		{"MLST file", "250-There is\n modify=20260102030405;perm=r;size=5;type=file;UNIX.mode=0644; /folder/file\n250 End."},
		{"OPTS MLST type;", "200"},
		{"MLST", "250-There is\n type=dir; /folder\n250 End."},
		{"MLST none", "550"},
		{"MLST \x01", "550"},
		{"STRU F", "200"},
		{"STRU R", "504"},
		{"MODE S", "200"},
		{"MODE B", "504"},
		{"ALLO 1000", "202"},
		{"SITE HELP", "214"},
		{"SITE CHMOD 777 file", "502 SITE CHMOD is off"},
		{"SITE EXEC ls", "502"},
		{"REST 10", "350"},
		{"REST -1", "501"},
		{"REST 1x", "501"},
		{"REST 9999999999999999999", "501"},
		{"TYPE A", "200"},
		{"REST 1", "504"},
		{"REST 0", "350"},
		{"STAT", "211-yodel FTP\n Connected from 127.0.0.1:"},
		{"STAT /folder", "213-There is\n -rw-r--r--   1 ftp      ftp               5 Jan  2"},
		{"STAT none", "550"},
	})
}

func TestNothingMayBeChanged(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	r.write("file", "old")
	c := r.login()
	for _, line := range []string{
		"STOR file", "APPE file", "STOU", "DELE file", "MKD new", "XMKD new", "RMD new", "RNFR file", "RNTO new", "MFMT 20260102030405 file",
	} {
		c.do(line, "550 Nothing may be changed here.")
	}
	r.wantFile("nothing was changed", "file", "old")
	r.wantNames("nothing was made", ".", "file")
}

func TestChanges(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	r.write("file", "old")
	r.write("full/file", "x")
	c := r.login()
	c.talk(talk{
		{"MKD new", `257 "/new" is there now.`},
		{`MKD new/"quoted"`, `257 "/new/""quoted""" is there now.`},
		{"MKD new", "550 That is there already."},
		{"MKD none/new", "550"},
		{"MKD /", "550"},
		{"MKD a\xff\xff", "553 New names are UTF-8."},
		{`RMD new/"quoted"`, "250"},
		{"RMD new", "250"},
		{"RMD full", "550 The folder is not empty."},
		{"RMD file", "550 That is not a folder."},
		{"RMD none", "550"},
		{"RMD /", "550"},
		{"DELE full", "550 That is a folder."},
		{"DELE none", "550"},
		{"RNTO other", "503 Say RNFR first."},
		{"RNFR none", "550"},
		{"RNFR file", "350"},
		{"NOOP", "200"},
		{"RNTO other", "503 Say RNFR first."},
		{"RNFR file", "350"},
		{"RNTO \xff\xff", "553"},
		{"RNFR file", "350"},
		{"RNTO full/other", "250"},
		{"MFMT 20200102030405 full/other", "213 Modify=20200102030405; full/other"},
		{"MDTM full/other", "213 20200102030405"},
		{"MFMT yesterday full/other", "501"},
		{"MFMT 20200102030405", "501"},
		{"MFMT 20200102030405 none", "550"},
		{"DELE full/other", "250"},
	})
	r.wantNames("what is left", "full", "file")
}

func TestNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		cfg  *Config
		says string
	}{
		{nil, "no folder"},
		{&Config{Root: dir}, "nobody may log in"},
		{&Config{Root: dir + "/none", Anonymous: true}, "ftp root"},
		{&Config{Root: dir, Anonymous: true, PassivePorts: PortRange{2, 1}}, "not a range"},
		{&Config{Root: dir, Anonymous: true, PassivePorts: PortRange{0, 1}}, "not a range"},
		{&Config{Root: dir, Anonymous: true, PassiveAddress: netip.IPv6LinkLocalAllNodes()}, "IPv4"},
		{&Config{Root: dir, Anonymous: true, RequireReuse: true}, "certificate"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
	if engine.FormOf(&Server{}) != engine.ConnForm {
		t.Error("an engine does not take it for a ConnServer")
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	idle, busy := r.login(), r.login()
	nc := busy.data()
	busy.do("STOR file", "150")
	done := make(chan error, 1)
	go func() { done <- r.eng.Shutdown(t.Context()) }()
	idle.want("who is at rest", "421 The server is shutting down.")
	idle.wantEnd("behind 421")
	io.WriteString(nc, "all of it")
	nc.Close()
	busy.want("a transfer may end", "226")
	busy.want("then", "421")
	busy.wantEnd("behind 421")
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.wantFile("stored", "file", "all of it")
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	c := r.login()
	c.data()
	c.do("STOR file", "150")
	if err := r.srv.Shutdown(canceled()); err == nil {
		t.Error("it did not wait for the transfer")
	}
	r.eng.Close()
	r.wantNames("cut in the middle", ".")
	late, other := net.Pipe()
	go r.srv.ServeConn(late)
	newClient(t, other).want("who comes later", "421")
}

// A1: a person who thinks has time, an unfinished command has not.
func TestTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, err := New(&Config{Root: t.TempDir(), Anonymous: true, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name, send string
			after      time.Duration
			want       string
		}{
			{"nothing", "", 300 * time.Second, "421 Nothing was said for too long.\r\n"},
			{"half a command", "NO", 10 * time.Second, "421 The command took too long.\r\n"},
			{"TELNET commands only", "\xff\xf1", 10 * time.Second, "421 The command took too long.\r\n"},
			{"a command and half another", "NOOP\r\nN", 10 * time.Second, "200 OK.\r\n421 The command took too long.\r\n"},
			{"a command", "NOOP\r\n", 300 * time.Second, "200 OK.\r\n421 Nothing was said for too long.\r\n"},
		} {
			server, nc := net.Pipe()
			began := time.Now()
			go func() {
				srv.ServeConn(server)
				server.Close()
			}()
			in := bufio.NewReader(nc)
			in.ReadString('\n')
			go io.WriteString(nc, c.send)
			got, _ := io.ReadAll(in)
			if took := time.Since(began); took != c.after || string(got) != c.want {
				t.Errorf("%s: %q after %v, want %q after %v", c.name, got, took, c.want, c.after)
			}
		}
		srv.Shutdown(t.Context())
	})
}

// What a command is, and what is said to it, does not depend on how it was cut. What TELNET
// answers is said at once, before or behind what else is said.
func TestCutsDoNotShow(t *testing.T) {
	t.Parallel()
	const in = "USER ftp\r\nPASS \xff\xffx\r\n\xff\xfd\x01PWD\r\nNONE\r\n\xff\xf4\xff\xf2ABOR\r\nQUIT\r\n"
	const want = "220 yodel FTP\r\n331 Any password will do.\r\n230 Welcome.\r\n257 \"/\" is where you are.\r\n" +
		"500 There is no such command.\r\n226 There is no transfer.\r\n221 Goodbye.\r\n"
	r := serve(t, Config{})
	for cut := range len(in) + 1 {
		c := r.connect()
		c.raw(in[:cut])
		c.raw(in[cut:])
		all, err := io.ReadAll(c.in)
		if err != nil {
			t.Fatalf("cut after %d: %v behind %q", cut, err, all)
		}
		if got := strings.Replace(string(all), "\xff\xfc\x01", "", 1); got != want || len(all) != len(want)+3 {
			t.Fatalf("cut after %d: %q, want %q", cut, all, want)
		}
		c.nc.Close()
	}
}

// Data connections are admitted, counted and traced.
func TestHooks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var in, out int64
	open := 0
	admitted := true
	cfg := Config{AllowWrite: true}
	cfg.Admit = func(peer netip.AddrPort) (func(), error) {
		mu.Lock()
		defer mu.Unlock()
		if !admitted {
			return nil, io.ErrNoProgress
		}
		open++
		return func() { mu.Lock(); open--; mu.Unlock() }, nil
	}
	cfg.Moved = func(i, o int64) { mu.Lock(); in += i; out += o; mu.Unlock() }
	events := &recorder{}
	cfg.Sink = events
	r := serve(t, cfg)
	c := r.login()
	c.do("TYPE I", "200")
	c.put("STOR file", pattern(2<<20))
	c.get("RETR file")
	mu.Lock()
	if in != 2<<20 || out != 2<<20 || open != 0 {
		t.Errorf("%d bytes in, %d out, %d open", in, out, open)
	}
	admitted = false
	mu.Unlock()
	c.data()
	c.do("RETR file", "150")
	c.want("not admitted", "425")
	r.eng.Close()
	events.want(t, "ftp-data", map[string][2]int64{"stored": {2 << 20, 0}, "retrieved": {0, 2 << 20}})
}

func TestLogIsEscaped(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := serve(t, Config{AllowWrite: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := r.login()
	c.put("STOR \u202eevil", "x")
	r.eng.Close()
	if text := log.String(); strings.Contains(text, "\u202e") || !strings.Contains(text, `u202eevil`) {
		t.Errorf("the log: %q", text)
	}
}
