package flow_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/watch/flow"
	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

const travel = 2 * time.Millisecond

// scenes are talks of real programs and kernels over a bad network. Each is captured at
// both ends. The client is on a.
var scenes = []struct {
	name string
	does trouble
	play func(t *testing.T, a, b *netns.Host, c *cable)
	want []flow.Marks // at one end at least
	vary bool         // hold variants of the captures against tshark too
}{
	{
		"curl and nginx, with loss",
		trouble{lose: 0.03, travel: travel},
		func(t *testing.T, a, b *netns.Host, c *cable) {
			web(t, b)
			for _, host := range []string{c.B.String(), "[" + c.B6.String() + "]"} {
				run(t, a, "", "curl", "-sS", "--max-time", "20", "-o", "/dev/null", "http://"+host+":8080/file")
			}
		},
		[]flow.Marks{flow.Retransmission, flow.DuplicateACK, flow.LostSegment},
		true,
	},
	{
		"lftp and an FTP server, some packets are late",
		trouble{delay: 0.05, delayed: 5 * time.Millisecond, travel: travel},
		func(t *testing.T, a, b *netns.Host, c *cable) {
			dir := t.TempDir()
			os.Chmod(dir, 0o755)
			if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 300_000), 0o644); err != nil {
				t.Fatal(err)
			}
			needModule(t, "pyftpdlib", "python3-pyftpdlib")
			serve(t, b, 2121, "/usr/bin/python3", "-m", "pyftpdlib", "-i", c.B.String(), "-p", "2121", "-d", dir, "-w")
			run(t, a, "", "lftp", "-c", "set net:max-retries 1; open ftp://"+c.B.String()+":2121; cat file | wc -c; put "+filepath.Join(dir, "file")+" -o copy; ls")
		},
		[]flow.Marks{flow.OutOfOrder, flow.DuplicateACK},
		false,
	},
	{
		"swaks and a mail server, some packets are doubled",
		trouble{double: 0.3, travel: travel},
		func(t *testing.T, a, b *netns.Host, c *cable) {
			needModule(t, "aiosmtpd", "python3-aiosmtpd")
			serve(t, b, 2525, "/usr/bin/python3", "-m", "aiosmtpd", "-n", "-l", c.B.String()+":2525")
			run(t, a, "", "swaks", "--server", c.B.String(), "--port", "2525", "--to", "a@b.test", "--from", "b@a.test", "--timeout", "10")
		},
		[]flow.Marks{flow.Duplicate},
		false,
	},
	{
		"telnet and ncat, with loss, lateness and doubles",
		trouble{lose: 0.05, double: 0.05, delay: 0.05, delayed: 4 * time.Millisecond, travel: travel},
		func(t *testing.T, a, b *netns.Host, c *cable) {
			serve(t, b, 7000, "ncat", "-lk", "7000", "-e", "/bin/cat")
			for range 3 {
				run(t, a, "", "sh", "-c", "(seq 1 20000; sleep 0.3) | timeout 3 telnet "+c.B.String()+" 7000")
			}
		},
		[]flow.Marks{flow.Retransmission},
		true,
	},
	{"a reader that stops for a while", trouble{travel: travel}, slowReader, []flow.Marks{flow.ZeroWindow, flow.ZeroWindowProbe, flow.WindowUpdate, flow.WindowFull}, false},
	{"the network is gone for a while", trouble{travel: travel}, blackHole, []flow.Marks{flow.Retransmission}, false},
	{"every way to end by a reset", trouble{travel: travel}, resets, []flow.Marks{flow.Reset}, false},
	{"the same ports again and again", trouble{travel: travel}, samePorts, []flow.Marks{flow.PortsReused}, true},
	{"a silent connection is asked", trouble{travel: travel}, keepAlives, []flow.Marks{flow.KeepAlive, flow.KeepAliveACK}, false},
}

// needModule skips the test where Debian's Python lacks a module.
func needModule(t *testing.T, module, pkg string) {
	t.Helper()
	python := yodeltest.NeedProgram(t, "/usr/bin/python3")
	if exec.Command(python, "-c", "import "+module).Run() != nil {
		yodeltest.Skip(t, pkg+" is not installed", "make peers installs it")
	}
}

func web(t *testing.T, h *netns.Host) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1; user root;
events {}
http { access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { listen 8080; listen [::]:8080; root %[1]s; } }
`, dir)
	for name, text := range map[string]string{"file": strings.Repeat("0123456789abcde\n", 1<<15), "conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, h, 8080, "nginx", "-c", filepath.Join(dir, "conf"), "-p", dir)
}

// pair returns a connection from a to b, at any port, as both programs have it.
func pair(t *testing.T, a, b *netns.Host, c *cable, d net.Dialer) (client, server *net.TCPConn) {
	t.Helper()
	l := listen(t, b, netip.AddrPortFrom(c.B, 0))
	defer l.Close()
	return join(t, a, l, d)
}

func listen(t *testing.T, h *netns.Host, at netip.AddrPort, options ...option) net.Listener {
	t.Helper()
	var l net.Listener
	lc := net.ListenConfig{Control: set(options)}
	lc.SetMultipathTCP(false)
	err := h.Inside(func() (err error) {
		l, err = lc.Listen(t.Context(), "tcp", at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// option is a socket option of level SOL_SOCKET.
type option struct{ name, value int }

// set returns a function that sets the options before the socket is used.
func set(options []option) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) {
			for _, o := range options {
				err = errors.Join(err, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, o.name, o.value))
			}
		})
		return err
	}
}

func join(t *testing.T, a *netns.Host, l net.Listener, d net.Dialer) (client, server *net.TCPConn) {
	t.Helper()
	d.Timeout = 10 * time.Second
	d.SetMultipathTCP(false)
	if d.KeepAliveConfig == (net.KeepAliveConfig{}) {
		d.KeepAlive = -1
	}
	c, err := dialFrom(t, a, &d, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []net.Conn{c, s} {
		one.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { one.Close() })
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// slowReader waits until the sender can't go on, and until its kernel has asked twice; then
// reads all.
func slowReader(t *testing.T, a, b *netns.Host, c *cable) {
	l := listen(t, b, netip.AddrPortFrom(c.B, 0), option{syscall.SO_RCVBUF, 8192})
	defer l.Close()
	client, server := join(t, a, l, net.Dialer{})
	client.SetWriteBuffer(20_000)
	client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := io.Copy(client, strings.NewReader(strings.Repeat("x", 1<<20)))
	if n == 1<<20 || err == nil {
		t.Fatal("the window did not close")
	}
	for end := time.Now().Add(10 * time.Second); probes(t, client) < 2 && time.Now().Before(end); { // after 200, 600 ms …
		client.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		more, _ := client.Write([]byte("x"))
		n += int64(more)
	}
	client.SetWriteDeadline(time.Now().Add(10 * time.Second))
	client.CloseWrite()
	if got, err := io.Copy(io.Discard, server); err != nil || got != n {
		t.Errorf("%d bytes came, %d were sent: %v", got, n, err)
	}
}

// probes is how often the kernel has asked whether a closed window is open again.
func probes(t *testing.T, c *net.TCPConn) (n uint8) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Backoff
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// blackHole loses all for half a second, in the middle of something.
func blackHole(t *testing.T, a, b *netns.Host, c *cable) {
	client, server := pair(t, a, b, c, net.Dialer{})
	go io.Copy(server, server)
	say := func(what string) {
		client.Write([]byte(what))
		if _, err := io.ReadFull(client, make([]byte, len(what))); err != nil {
			t.Errorf("no answer to %q: %v", what, err)
		}
	}
	say("before")
	c.set(trouble{lose: 1})
	time.AfterFunc(500*time.Millisecond, func() { c.set(trouble{travel: travel}) })
	say("meanwhile")
	say("after")
	c.set(trouble{lose: 1})
	time.AfterFunc(300*time.Millisecond, func() { c.set(trouble{travel: travel}) })
	late, _ := pair(t, a, b, c, net.Dialer{}) // its first SYN is lost
	late.Close()
}

// resets ends connections in all ways that end with RST.
func resets(t *testing.T, a, b *netns.Host, c *cable) {
	client, server := pair(t, a, b, c, net.Dialer{})
	client.Write([]byte("unread"))
	server.SetLinger(0) // an abort
	server.Close()
	ended(client)

	client, server = pair(t, a, b, c, net.Dialer{})
	client.Write([]byte("unread"))
	server.SetReadDeadline(time.Now().Add(10 * time.Second))
	server.Read(make([]byte, 1)) // the rest is there, and unread
	server.Close()
	ended(client)

	client, server = pair(t, a, b, c, net.Dialer{})
	server.Close()
	ended(client)
	client.Write([]byte("to nobody")) // a kernel without the connection answers
	ended(client)

	l := listen(t, b, netip.AddrPortFrom(c.B, 0))
	address := l.Addr().String()
	l.Close()
	if late, err := dialFrom(t, a, &net.Dialer{Timeout: 5 * time.Second}, address); err == nil {
		late.Close()
		t.Error("a closed port was reached")
	}
}

// ended waits until the other side's end, or reset, has come.
func ended(c net.Conn) { io.Copy(io.Discard, c) }

// samePorts connects from the same port to the same port, after an end by RST and after
// one by FIN.
func samePorts(t *testing.T, a, b *netns.Host, c *cable) {
	l := listen(t, b, netip.AddrPortFrom(c.B, 0))
	defer l.Close()
	for i := range 4 {
		client, server := join(t, a, l, net.Dialer{
			Control:   set([]option{{syscall.SO_REUSEADDR, 1}}),
			LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.A, 40_000)),
		})
		server.Write([]byte("hello"))
		io.ReadFull(client, make([]byte, 5))
		if i%2 == 0 {
			client.SetLinger(0)
			client.Close()
			ended(server)
			continue
		}
		server.Close() // first: so TIME-WAIT is the server's, which takes a newer SYN
		ended(client)
		client.CloseWrite()
		gone(t, client)
	}
}

// gone closes a connection that both sides have shut, when its kernel needs it no more.
func gone(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for state := uint8(0); state != unix.BPF_TCP_CLOSE; <-tick.C {
		raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO); err == nil {
				state = info.State
			}
		})
	}
	c.Close()
}

// keepAlives lets the client's kernel ask whether the server is there.
func keepAlives(t *testing.T, a, b *netns.Host, c *cable) {
	client, server := pair(t, a, b, c, net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}})
	client.Write([]byte("hello"))
	client.SetReadDeadline(time.Now().Add(2300 * time.Millisecond))
	client.Read(make([]byte, 1))
	server.Write([]byte("bye"))
	server.Close()
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	ended(client)
}

// A played scene is what was captured of one.
type played struct {
	name   string
	a, b   string // the captures
	hostA  netip.Addr
	hostB  netip.Addr
	varied []variant
}

// The scenes are played at the same time, because they wait most of it; then tshark, which
// takes long to begin, is asked once about all that was captured.
func TestAgreesWithTshark(t *testing.T) {
	t.Parallel()
	all := make([]played, len(scenes))
	dir := t.TempDir()
	var playing sync.WaitGroup
	for i := range scenes {
		playing.Go(func() {
			t.Run("play/"+scenes[i].name, func(t *testing.T) { all[i] = playScene(t, i, dir) })
		})
	}
	playing.Wait()
	if t.Failed() {
		return
	}
	var files []string
	for _, p := range all {
		if p.a == "" {
			continue // skipped, for want of a program
		}
		files = append(files, p.a, p.b)
		for _, v := range p.varied {
			files = append(files, v.file)
		}
	}
	said := shark(t, dir, files)
	for i, p := range all {
		if p.a != "" {
			t.Run(p.name, func(t *testing.T) { p.judge(t, said, scenes[i].want) })
		}
	}
}

// playScene plays a scene and keeps in dir what was captured.
func playScene(t *testing.T, i int, dir string) played {
	s := scenes[i]
	a, b := netns.Two(t)
	c := newCable(t, a, b, s.does)
	p := played{name: s.name, hostA: c.A, hostB: c.B}
	at := filepath.Join(dir, strconv.Itoa(i))
	p.a, p.b = at+"a.pcap", at+"b.pcap"
	stopA := record(t, a, c.Device, p.a, "tcp or icmp or icmp6")
	stopB := record(t, b, c.Device, p.b, "tcp or icmp or icmp6")
	s.play(t, a, b, c)
	stopA()
	stopB()
	if s.vary {
		p.varied = variants(t, p.a)
	}
	return p
}

// judge holds what we say of the captures of a scene against tshark, and against each other.
func (p *played) judge(t *testing.T, said map[string]sharkRows, want []flow.Marks) {
	atA, atB := agree(t, p.a, said[p.a]), agree(t, p.b, said[p.b])
	truth(t, p.a, p.b, p.hostA)
	truth(t, p.b, p.a, p.hostB)
	for _, v := range p.varied {
		t.Run(v.name, func(t *testing.T) { agree(t, v.file, said[v.file]) })
	}
	for _, m := range want {
		if atA.sum.Of(m)+atB.sum.Of(m) == 0 {
			t.Errorf("the scene has no %v", m)
		}
	}
}
