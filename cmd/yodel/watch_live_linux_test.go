package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/watch/pcap"
	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

var canaryRounds = flag.Int("watch.rounds", 50, "how often two users take turns with the same ports while one of them watches")

const (
	someUser = "12345" // without a name
	nobodyID = "65534"
)

// publicProgram returns the path of the program without cgo where all users may run it.
func publicProgram(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(releasedProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(publicFolder(t), "yodel")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// folderForAll returns a folder that everybody may write to.
func folderForAll(t testing.TB) string {
	t.Helper()
	dir := publicFolder(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startOn starts a program on a host, and returns it when it is under way.
func startOn(t testing.TB, h *netns.Host, env []string, name string, args ...string) *started {
	t.Helper()
	p := &started{cmd: h.Command(name, args...)}
	p.cmd.WaitDelay = time.Second
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.begin(t)
	return p
}

// watchOn starts yodel watch on a host and waits until it captures.
func watchOn(t testing.TB, h *netns.Host, env []string, args ...string) *started {
	t.Helper()
	p := startOn(t, h, env, publicProgram(t), append([]string{"watch"}, args...)...)
	p.await(t, &p.out, `(?m)^connections of .*\n|"type":"watch".*\n`)
	return p
}

// ends interrupts a watch, which must end well.
func (p *started) ends(t testing.TB) {
	t.Helper()
	p.signal(t, os.Interrupt)
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d: %s", status, &p.err)
	}
}

// webServer serves a folder on a host with another's program, and returns its address.
func webServer(t testing.TB, h *netns.Host) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "page"), []byte(strings.Repeat("what you see is what you get\n", 3000)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startOn(t, h, []string{"PYTHONUNBUFFERED=1"}, yodeltest.NeedProgram(t, "python3"), "-m", "http.server", "--bind", "127.0.0.1", "--directory", dir, "0")
	return "127.0.0.1:" + p.await(t, &p.out, `port (\d+)`)[1]
}

// echoServer echoes on a host, at 127.0.0.1 and a port.
func echoServer(t testing.TB, h *netns.Host) netip.AddrPort {
	t.Helper()
	var l net.Listener
	if err := h.Inside(func() (err error) {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		l, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// dialOn connects on a host, from the test's own process.
func dialOn(t testing.TB, h *netns.Host, to string) net.Conn {
	t.Helper()
	var c net.Conn
	if err := h.Inside(func() (err error) {
		c, err = net.Dial("tcp", to)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// saidAndHeard says something to an echo server and waits for it to come back.
func saidAndHeard(t testing.TB, c net.Conn, text string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len(text))); err != nil {
		t.Fatal(err)
	}
}

// A command is run, its connections are shown from the first SYN to the last ACK, and
// its output, input and exit status are its own.
func TestWatchRun(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	curl := yodeltest.NeedProgram(t, "curl")
	at := webServer(t, a)
	yodel := publicProgram(t)
	p := startOn(t, a, nil, yodel, "watch", "--run", "--", curl, "-s", "http://"+at+"/page")
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d: %s", status, &p.err)
	}
	if got := p.out.String(); got != strings.Repeat("what you see is what you get\n", 3000) {
		t.Errorf("the page is not as it was: %.200q", got)
	}
	for _, want := range []string{
		"connections of user root (0), the command, on lo eth0\n", "  SYN: connect()\n", "connected: connect() returns",
		`"GET /page HTTP/1.1\r\n`, "FIN: close()", "closed by ", "both directions are closed\n",
		"client sent ", "server sent 8", " segments, RTT ", " 1 flow\n",
	} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("no %q in\n%s", want, &p.err)
		}
	}
	for name, test := range map[string]struct {
		args   []string
		status int
	}{
		"its status":   {[]string{"--run", "--", curl, "-s", "http://127.0.0.1:1/"}, 7},
		"its signal":   {[]string{"--run", "--", "sh", "-c", "kill -9 $$"}, 128 + 9},
		"well":         {[]string{"--run", "--json", "--", "true"}, 0},
		"not there":    {[]string{"--run", "--", "nosuchprogram"}, 1},
		"to its input": {[]string{"--run", "-q", "--", "sh", "-c", "read word; test $word = hello"}, 0},
	} {
		p := startOn(t, a, nil, yodel, append([]string{"watch"}, test.args...)...)
		p.say(t, "hello\n")
		if status := p.wait(t); status != test.status || p.out.String() != "" {
			t.Errorf("%s: status %d, %q, %s", name, status, &p.out, &p.err)
		}
	}
}

// What is written is read by Wireshark's programs without a complaint, and says the
// same; the page is there, too.
func TestWatchWrite(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	tshark, capinfos := yodeltest.NeedProgram(t, "tshark"), yodeltest.NeedProgram(t, "capinfos")
	dir := t.TempDir()
	file, page := filepath.Join(dir, "file.pcapng"), filepath.Join(dir, "page.html")
	srv := startOn(t, b, nil, publicProgram(t), "serve", "--json", "upper@0.0.0.0:15213", "echo@udp://0.0.0.0:15213")
	srv.await(t, &srv.out, `"udp"`)
	w := watchOn(t, a, nil, "--write", file, "--html", page, "15213")
	yodel := publicProgram(t)
	for _, args := range [][]string{{"--verify", "--upper", b.V4.String(), "15213"}, {"--verify", "udp://" + b.V4.String() + ":15213"}} {
		p := startOn(t, a, nil, yodel, append([]string{"call"}, args...)...)
		p.say(t, "hello\n")
		p.in.Close()
		if status := p.wait(t); status != 0 {
			t.Fatalf("%s", &p.err)
		}
	}
	w.await(t, &w.out, `closed by client`)
	w.ends(t)
	r := runProgram(t, nil, capinfos, "-M", file)
	wantStatus(t, r, 0)
	for _, want := range []string{"pcapng", "yodel watch", "Name = eth0", "Filter string = connections of user root (0), port 15213", "Number of packets = "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("capinfos has no %q:\n%s", want, r.out)
		}
	}
	r2 := runProgram(t, nil, tshark, "-r", file, "-T", "fields", "-e", "tcp.flags.str", "-e", "udp.length", "-e", "frame.packet_flags_direction", "-e", "frame.comment")
	wantStatus(t, r2, 0)
	if strings.Contains(r.err+r2.err, "arning") || strings.Contains(r.err+r2.err, "rror") {
		t.Errorf("complaints: %s%s", r.err, r2.err)
	}
	for _, want := range []string{"S·\t\t0x00000002\tSYN: connect()", "A··S·\t\t0x00000001\t", "\t14\t0x00000002\t"} {
		if !strings.Contains(r2.out, want) {
			t.Errorf("tshark has no %q:\n%s", want, r2.out)
		}
	}
	shown := strings.Count(w.out.String(), "▶") + strings.Count(w.out.String(), "◀")
	if n := strings.Count(r2.out, "\n"); n != shown || n < 9 {
		t.Errorf("%d packets shown, %d in the file:\n%s", shown, n, &w.out)
	}
	if again := runYodel(t, "", "watch", "--summary", "--read", file); !strings.Contains(again.out, "closed by client") {
		t.Error(again)
	}
	if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte("SYN: connect()")) {
		t.Errorf("%v: %s", err, text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Two users of one network take turns with the same ports. Of one all is in the file, of
// the other nothing, anywhere. For more rounds:
//
//	go test -run TestWatchTwoUsers ./cmd/yodel -watch.rounds=1000
func TestWatchTwoUsers(t *testing.T) {
	t.Parallel()
	for on, words := range map[string][]string{"lo eth0": nil, "lo": {"127.0.0.1"}} {
		t.Run(on, func(t *testing.T) {
			t.Parallel()
			watchTwoUsers(t, on, words)
		})
	}
}

func watchTwoUsers(t *testing.T, on string, words []string) {
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	file := filepath.Join(folderForAll(t), "file.pcapng")
	w := watchOn(t, a, []string{"SUDO_UID=" + nobodyID}, append(words, "--packets", "--json", "--write", file)...)
	own, other := startTalker(t, a, nobodyID, "OURS"), startTalker(t, a, someUser, "NOT-FOR-YOU")
	n := 0
	for i := range *canaryRounds {
		local := fmt.Sprintf("127.0.0.1:%d", 20000+i%100)
		other.talk(t, local, to, i)
		own.talk(t, local, to, i)
		n++
	}
	w.await(t, &w.out, fmt.Sprintf(`"flow":%d,.*"ending":"reset by client"`, n))
	w.ends(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("NOT-FOR-YOU")) {
		t.Error("the other user's bytes are in the file")
	}
	syns := 0
	said := map[string]int{}
	for line := range strings.Lines(w.out.String()) {
		var p struct {
			Type       string
			Flags      []string
			Data       []byte
			All        bool `json:"all_users"`
			Interfaces []string
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if p.All {
			t.Error("it says that all users are watched")
		}
		if p.Interfaces != nil && strings.Join(p.Interfaces, " ") != on {
			t.Errorf("on %q, want %q", p.Interfaces, on)
		}
		if strings.Join(p.Flags, "") == "SYN" {
			syns++
		}
		if len(p.Data) > 0 {
			said[string(p.Data)]++
		}
	}
	for i := range *canaryRounds {
		canary := fmt.Sprintf("OURS-%d;", i)
		if said[canary] != 2 || !bytes.Contains(text, []byte(canary)) {
			t.Errorf("%s was seen %d times, not there and back", canary, said[canary])
		}
		delete(said, canary)
	}
	if len(said) > 0 || syns != n {
		t.Errorf("%d SYNs of %d; and what is this: %v", syns, n, said)
	}
	t.Logf("%d rounds", n)
}

// Under sudo the connections are those of who has called it, the command runs as that
// user, files are that user's, and nothing of root's is left.
func TestWatchUnderSudo(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	file := filepath.Join(folderForAll(t), "file.pcapng")
	sudo := []string{"SUDO_UID=" + nobodyID}
	w := watchOn(t, a, sudo, "--write", file, strconv.Itoa(int(to.Port())))
	if m := w.await(t, &w.out, `connections of user (\S+) \((\d+)\)`); m[1] != "nobody" || m[2] != nobodyID {
		t.Errorf("%q", m)
	}
	startTalker(t, a, nobodyID, "OURS").talk(t, "127.0.0.1:0", to, 0)
	w.await(t, &w.out, `"OURS-0;"`)
	wantThreads(t, w.cmd.Process.Pid, nobody(t))
	saidAndHeard(t, dialOn(t, a, to.String()), "ROOT'S")
	startTalker(t, a, nobodyID, "OURS2").talk(t, "127.0.0.1:0", to, 0)
	w.await(t, &w.out, `"OURS2-0;"`)
	w.ends(t)
	if strings.Contains(w.out.String(), "ROOT'S") {
		t.Errorf("root's own: %s", &w.out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; strconv.Itoa(int(uid)) != nobodyID {
		t.Errorf("the file is user %d's", uid)
	}
	p := startOn(t, a, sudo, publicProgram(t), "watch", "--run", "--", "sh", "-c", "id -u; echo $USER $SUDO_UID; grep CapEff /proc/self/status")
	if status := p.wait(t); status != 0 || p.out.String() != nobodyID+"\nnobody\nCapEff:\t0000000000000000\n" {
		t.Errorf("status %d: %q %s", status, &p.out, &p.err)
	}
	for _, test := range []struct {
		status int
		env    string
		args   []string
		want   string
	}{
		{1, sudo[0], []string{"--write", "/etc/nosuch"}, "--write: open /etc/nosuch: permission denied"},
		{2, "SUDO_UID=-1", nil, `SUDO_UID="-1" is no user`},
		{1, "SUDO_UID=4000000000", nil, "SUDO_UID: "},
	} {
		p := startOn(t, a, []string{test.env}, publicProgram(t), append([]string{"watch"}, test.args...)...)
		if status := p.wait(t); status != test.status || !strings.Contains(p.err.String(), test.want) {
			t.Errorf("%v: status %d: %s", test.args, status, &p.err)
		}
	}
}

// Without arguments there is a row for each connection, from its beginning to its end,
// and others' are counted.
func TestWatchRows(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	other := startTalker(t, a, someUser, "NOT-FOR-YOU")
	w := watchOn(t, a, nil)
	w.await(t, &w.out, `(?m)^hidden: 0 connections of others, 1 socket of yours that wait\n`)
	c := dialOn(t, a, to.String())
	local := strings.ReplaceAll(c.LocalAddr().String(), ".", `\.`)
	w.await(t, &w.out, `(?m)^\d+ yodel.* tcp `+local+` +127\.0\.0\.1:\d+ +ESTABLISHED +0 +0 .* 3\n`)
	saidAndHeard(t, c, "hello")
	other.talk(t, "127.0.0.1:0", to, 0)
	w.await(t, &w.out, `(?m)^#2 tcp .*: reset by client`) // a row or more later
	c.Close()
	w.await(t, &w.out, `(?m)^\S.* `+local+` +127\.0\.0\.1:\d+ +(gone|FIN-WAIT-\d|CLOSING) +5 +5 .*\n`)
	w.await(t, &w.out, `(?m)^#1 tcp \(`+local+`, .*\): closed by client, after .*\n   client sent 5 bytes in`)
	w.ends(t)
	if s := w.out.String(); strings.Contains(s, "SYN") || !strings.Contains(s, "packets in ") {
		t.Error(s)
	}
}

// What a live watch prints is in docs/json.md.
func TestWatchLiveJSONIsDocumented(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	s, _ := readSchema(t)
	rows, packets := watchOn(t, a, nil, "--json"), watchOn(t, a, nil, "--json", to.String())
	rows.await(t, &rows.out, `"type":"others"`)
	c := dialOn(t, a, to.String())
	saidAndHeard(t, c, "hello")
	rows.await(t, &rows.out, `"type":"connection".*"pid":.*"state":"ESTABLISHED"`)
	packets.await(t, &packets.out, `"type":"segment".*"interface":"lo".*"data":"aGVsbG8="`)
	c.Close()
	rows.await(t, &rows.out, `"type":"connection".*"gone":true`)
	rows.ends(t)
	packets.ends(t)
	got := s.check(t, rows.out.String()+packets.out.String(), "watch")
	for _, typ := range []string{"watch", "connection", "others", "segment", "flow", "capture"} {
		if !got[typ] {
			t.Errorf("no line of type %s came", typ)
		}
	}
}

// On a terminal rows are drawn anew below what has ended.
func TestWatchRowsOnATerminal(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	tty, person := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 8, Col: 90}); err != nil {
		t.Fatal(err)
	}
	w := &started{cmd: a.Command(publicProgram(t), "watch")}
	w.cmd.Env, w.cmd.Stdout, w.cmd.Stderr = os.Environ(), tty, &w.err
	w.begin(t)
	go io.Copy(&w.out, person)
	w.await(t, &w.out, `hidden: 0 connections of others.*; \^C ends\r\n\x1b\[\dA\r\x1b\[Jwho `)
	var all []net.Conn
	for range 6 {
		all = append(all, dialOn(t, a, to.String()))
	}
	w.await(t, &w.out, `\d+ yo.* ESTABLISHED(.*\r\n){4}and 8 more\r\nhidden`) // 12 rows, of which 4 fit
	all[0].Close()
	w.await(t, &w.out, `\x1b\[\dA\r\x1b\[J#\d tcp .*: closed by client, .*(.*\r\n){3,4}.*who `)
	w.signal(t, os.Interrupt)
	if status := w.wait(t); status != 0 {
		t.Errorf("status %d, %s", status, &w.err)
	}
	for line := range strings.Lines(w.out.String()) {
		if text := strings.TrimRight(line, "\r\n"); strings.Contains(text, "ESTABLISHED") && len([]rune(text)) > 89 {
			t.Errorf("%q does not fit", text)
		}
	}
}

// Who may not capture sees the list of connections, and what to do; packets are refused.
func TestWatchWithoutPrivilege(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	setpriv, yodel := yodeltest.NeedProgram(t, "setpriv"), publicProgram(t)
	plain := func(args ...string) *started {
		t.Helper()
		return startOn(t, a, nil, setpriv, append([]string{"--reuid=" + nobodyID, "--regid=" + nobodyID, "--clear-groups", yodel, "watch"}, args...)...)
	}
	const cure = `as root, setcap cap_net_raw,cap_net_admin,cap_bpf=ep `
	w := plain()
	w.await(t, &w.err, `yodel: nothing is captured: .* needs CAP_NET_RAW.*`+cure+yodel+`\nyodel: shown is what the kernel's list of sockets tells\n`)
	w.await(t, &w.out, `(?m)^connections of user nobody \(65534\), not captured\nwho `)
	held := startOn(t, a, nil, setpriv, "--reuid="+nobodyID, "--regid="+nobodyID, "--clear-groups", yodel, "call", to.String())
	held.say(t, "hello\n")
	held.await(t, &held.out, "hello\n")
	w.await(t, &w.out, `(?m)^\d+ yodel +tcp 127\.0\.0\.1:\d+ +`+to.String()+` +ESTABLISHED .* -\n`) // no packets
	held.in.Close()
	held.wait(t)
	w.await(t, &w.out, `(?m) gone +6 +6 .* -\n`)
	w.ends(t)
	j := plain("--json", strconv.Itoa(int(to.Port())))
	j.await(t, &j.out, `"type":"watch".*"captured":false,"reason":".*CAP_NET_RAW`)
	j.await(t, &j.out, `"type":"others"`)
	j.ends(t)
	for _, args := range [][]string{{"--write", "/dev/null"}, {"--hex"}, {"--packets"}, {"--html", "/dev/null"}, {"--summary"}} {
		p := plain(args...)
		if status := p.wait(t); status != 1 || !strings.Contains(p.err.String(), "yodel: "+args[0]+" needs packets: ") || !strings.Contains(p.err.String(), cure) {
			t.Errorf("%q: status %d: %s", args, status, &p.err)
		}
	}
	p := plain("--all-users")
	if status := p.wait(t); status != 1 || !strings.Contains(p.err.String(), "only root may do that") {
		t.Errorf("status %d: %s", status, &p.err)
	}
	p = plain("--run", "--", "sh", "-c", "exit 3")
	if status := p.wait(t); status != 3 || !strings.Contains(p.err.String(), cure) {
		t.Errorf("status %d: %s", status, &p.err)
	}
}

// What root sees of all users says so, on the screen, in JSON and in the file; and no
// environment turns it on.
func TestWatchAllUsers(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	file := filepath.Join(t.TempDir(), "file.pcapng")
	other := startTalker(t, a, someUser, "OTHER")
	w := watchOn(t, a, nil, "--all-users", "--packets", "--write", file)
	other.talk(t, "127.0.0.1:0", to, 0)
	w.await(t, &w.out, `"OTHER-0;"`)
	w.ends(t)
	const said = "connections of ALL USERS, as root has asked for"
	if !strings.HasPrefix(w.out.String(), said) {
		t.Error(&w.out)
	}
	if text, err := os.ReadFile(file); err != nil || !bytes.Contains(text, []byte(said)) {
		t.Errorf("the file does not say so (%v)", err)
	}
	j := watchOn(t, a, nil, "--all-users", "--json")
	j.await(t, &j.out, `"type":"watch".*"all_users":true,.*"method":"everyone"`)
	j.ends(t)
	p := startOn(t, a, []string{"YODEL_WATCH_ALL_USERS=true"}, publicProgram(t), "watch")
	if status := p.wait(t); status != 2 || !strings.Contains(p.err.String(), "loosens safety and is not taken from the environment") {
		t.Errorf("status %d: %s", status, &p.err)
	}
}

// What did not fit is counted and shown, and the file says so: of which interface it was, if
// there is only one.
func TestWatchShowsDrops(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	capinfos := yodeltest.NeedProgram(t, "capinfos")
	to := echoServer(t, a)
	for _, only := range []string{"", "lo"} {
		file := filepath.Join(t.TempDir(), "file.pcapng")
		w := watchOn(t, a, nil, "--ring=512", "--interface="+only, "--write", file, "--summary", strconv.Itoa(int(to.Port())))
		w.signal(t, syscall.SIGSTOP) // nobody takes packets from the kernel
		c := dialOn(t, a, to.String())
		for range 100 {
			saidAndHeard(t, c, strings.Repeat("much", 4000))
		}
		w.signal(t, syscall.SIGCONT)
		w.ends(t)
		m := w.await(t, &w.out, `, (\d+) dropped by the capture\n`)
		if n, err := strconv.Atoi(m[1]); err != nil || n == 0 {
			t.Errorf("%q", m)
		}
		wantStatus(t, runProgram(t, nil, capinfos, "-M", "-a", file), 0)
		stats := runYodel(t, "", "watch", "--json", "--read", file)
		if !strings.Contains(stats.out, `"type":"capture"`) {
			t.Error(stats.out)
		}
		checkDrops(t, file, m[1], only != "")
	}
}

func checkDrops(t *testing.T, file, want string, known bool) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := pcap.NewReader(in)
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	s := r.Interfaces()[0].Statistics
	ok := s.OSDropped == -1 && strings.HasPrefix(s.Comment, want+" of ") && strings.Contains(s.Comment, "on all 2 interfaces")
	if known {
		ok = strconv.FormatInt(s.OSDropped, 10) == want && s.Comment == ""
	}
	if !ok {
		t.Errorf("of %s dropped packets the file says %+v", want, s)
	}
}

// A call shows its own packets beside the dialogue, and no others.
func TestCallWatch(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	yodel := publicProgram(t)
	saidAndHeard(t, dialOn(t, a, to.String()), "SOMEONE ELSE")
	p := startOn(t, a, nil, yodel, "call", "--watch", to.String())
	p.say(t, "hello\n")
	p.await(t, &p.out, "hello\n")
	p.in.Close()
	if status := p.wait(t); status != 0 || p.out.String() != "hello\n" {
		t.Errorf("status %d, %q", status, &p.out)
	}
	for _, want := range []string{"Connected to", "SYN: connect()\n", `"hello\n"` + "\n", "): closed by client, after ", "packets in"} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("no %q in\n%s", want, &p.err)
		}
	}
	p = startOn(t, a, nil, yodel, "call", "--watch", "--connect-only", "127.0.0.1", "1")
	if status := p.wait(t); status != 3 || !strings.Contains(p.err.String(), "RST from the server: connection refused") {
		t.Errorf("status %d, %s", status, &p.err)
	}
	p = startOn(t, a, nil, yodeltest.NeedProgram(t, "setpriv"), "--reuid="+nobodyID, "--regid="+nobodyID, "--clear-groups", yodel, "call", "--watch", "--connect-only", to.String())
	if status := p.wait(t); status != 0 || !strings.Contains(p.err.String(), "the packets are not captured") || !strings.Contains(p.err.String(), "setcap") {
		t.Errorf("status %d, %s", status, &p.err)
	}
	p = startOn(t, a, nil, yodel, "call", "--watch", "unix:@nobody")
	if status := p.wait(t); status != 2 || !strings.Contains(p.err.String(), "a unix socket has no packets") {
		t.Errorf("status %d, %s", status, &p.err)
	}
}

// Load shows the packets of its first connections, and of no more.
func TestLoadWatch(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	p := startOn(t, a, nil, publicProgram(t), "load", "--watch=2", "--conns=5", "--count=10", "--rate=100", "--quiet", to.String())
	if status := p.wait(t); status != 0 || !strings.Contains(p.out.String(), "10  ") {
		t.Errorf("status %d, %s", status, &p.out)
	}
	if n := strings.Count(p.err.String(), "SYN: connect()\n"); n != 2 {
		t.Errorf("%d connections are shown, want 2:\n%s", n, &p.err)
	}
	if n := strings.Count(p.err.String(), "): closed by client, after "); n != 2 {
		t.Errorf("%d ends are shown, want 2:\n%s", n, &p.err)
	}
	p = startOn(t, a, nil, publicProgram(t), "load", "--watch=1", "unix:@nobody")
	if status := p.wait(t); status != 2 || !strings.Contains(p.err.String(), "a unix socket has no packets") {
		t.Errorf("status %d, %s", status, &p.err)
	}
}

// A process that runs already is named; its connections are shown and no others.
func TestWatchPID(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	k := startTalker(t, a, "0", "CHOSEN")
	k.talk(t, "127.0.0.1:0", to, 0)
	w := watchOn(t, a, nil, "--pid", strconv.Itoa(k.cmd.Process.Pid), "--count", "100", "--duration", "1h")
	saidAndHeard(t, dialOn(t, a, to.String()), "NOT CHOSEN")
	k.talk(t, "127.0.0.1:0", to, 1)
	w.await(t, &w.out, `"CHOSEN-1;"`)
	w.ends(t)
	if strings.Contains(w.out.String(), "NOT CHOSEN") {
		t.Error(&w.out)
	}
	p := startOn(t, a, nil, publicProgram(t), "watch", "--pid", "4194305")
	if status := p.wait(t); status != 1 || !strings.Contains(p.err.String(), "--pid=4194305: there is no such process") {
		t.Errorf("status %d: %s", status, &p.err)
	}
}

// A watch ends by itself after so many packets, or so long.
func TestWatchEndsByItself(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	w := watchOn(t, a, nil, "--count=3", to.String())
	saidAndHeard(t, dialOn(t, a, to.String()), "hello")
	if status := w.wait(t); status != 0 || strings.Count(w.out.String(), "▶")+strings.Count(w.out.String(), "◀") != 3 {
		t.Errorf("status %d: %s", status, &w.out)
	}
	w = watchOn(t, a, nil, "--duration=50ms", "--packets")
	if status := w.wait(t); status != 0 || !strings.Contains(w.out.String(), "0 packets in 0 ns: 0 flows\n") {
		t.Errorf("status %d: %s", status, &w.out)
	}
	file := filepath.Join(t.TempDir(), "shown")
	p := startOn(t, a, nil, publicProgram(t), "watch", "--json", "--count=3", "--output", file, to.String())
	for running := true; running; {
		saidAndHeard(t, dialOn(t, a, to.String()), "hello")
		select {
		case <-p.ended:
			running = false
		default:
		}
	}
	if text, err := os.ReadFile(file); err != nil || strings.Count(string(text), `"type":"segment"`) != 3 {
		t.Errorf("%v: %s", err, text)
	}
}

// What goes to standard output is a capture, and nothing else.
func TestWatchWritesToAPipe(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	to := echoServer(t, a)
	tshark := yodeltest.NeedProgram(t, "tshark")
	w := startOn(t, a, nil, publicProgram(t), "watch", "--write", "-", "--run", "--", "true")
	if status := w.wait(t); status != 2 || !strings.Contains(w.err.String(), "standard output is the command's") {
		t.Errorf("status %d: %s", status, &w.err)
	}
	port := strconv.Itoa(int(to.Port()))
	for name, args := range map[string][]string{"followed": {to.String()}, "only written": {port, "--quiet"}} {
		t.Run(name, func(t *testing.T) { writeToAPipe(t, a, tshark, to, args) })
	}
}

func writeToAPipe(t *testing.T, a *netns.Host, tshark string, to netip.AddrPort, args []string) {
	t.Helper()
	cmd := a.Command(publicProgram(t), "watch", "--write", "-", "--duration=1s")
	cmd.Args = append(cmd.Args, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	again := time.NewTicker(20 * time.Millisecond) // tshark reads all that is said
	defer again.Stop()
	for running := true; running; {
		saidAndHeard(t, dialOn(t, a, to.String()), "hello")
		select {
		case err := <-done:
			running = false
			if err != nil {
				t.Error(err)
			}
		case <-again.C:
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runProgram(t, nil, tshark, "-r", file, "-Y", "tcp.len==5")
	wantStatus(t, r, 0)
	if !strings.Contains(r.out, "127.0.0.1") {
		t.Errorf("%s%s", r.out, r.err)
	}
	if quiet := args[len(args)-1] == "--quiet"; quiet != strings.Contains(said.String(), " packets written, 0 dropped by the capture\n") {
		t.Errorf("%s", &said)
	}
}
