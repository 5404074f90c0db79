package jury

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// program is a running program.
type program struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	end chan struct{} // closed when it has ended
}

func (h *hosts) start(ctx context.Context, ns, name string, args ...string) (*program, error) {
	p := &program{cmd: h.command(ctx, ns, name, args...), end: make(chan struct{})}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = w
	p.out = bufio.NewReaderSize(r, 64<<10)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	w.Close()
	go func() {
		p.cmd.Wait()
		close(p.end)
	}()
	return p, nil
}

func (p *program) signal(s unix.Signal) { p.cmd.Process.Signal(s) }

func (p *program) kill() {
	p.signal(unix.SIGKILL)
	<-p.end
}

// wait waits for the program's end, and kills it if that takes too long.
func (p *program) wait(d time.Duration) {
	select {
	case <-p.end:
	case <-time.After(d):
		p.kill()
	}
}

// say has a client send a line, and waits for what comes back.
func (p *program) say(line string) error {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return err
	}
	got, err := p.out.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("%q came back for %q", got, line)
	}
	return err
}

// children returns the processes that a process has started, and theirs.
func children(pid int) []int {
	var all []int
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(append(all, n), children(n)...)
		}
	}
	return all
}

// signalAll signals a process and all that it has started.
func signalAll(pid int, s unix.Signal) {
	for _, p := range append([]int{pid}, children(pid)...) {
		unix.Kill(p, s)
	}
}

// listening waits until somebody listens on a port of a host.
func (h *hosts) listening(ns string, port int) error {
	return h.socket(ns, fmt.Sprintf(":%04X 00000000:0000 0A", port))
}

// sockets reports whether a line of /proc/net/tcp on a host has the text.
func (h *hosts) sockets(ns, text string) bool { return strings.Contains(h.table(ns), text) }

// table is /proc/net/tcp on a host.
func (h *hosts) table(ns string) string {
	var lines []byte
	inside(ns, func() (err error) {
		lines, err = os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/tcp", unix.Gettid()))
		return err
	})
	return string(lines)
}

// nginx serves files of several sizes on a host until ctx is done.
func (h *hosts) nginx(ctx context.Context, port int) (*program, error) {
	root := filepath.Join(h.dir, "www")
	os.MkdirAll(root, 0o755)
	for name, size := range map[string]int{"small": 200, "large": 8 << 20} {
		os.WriteFile(filepath.Join(root, name), make([]byte, size), 0o644)
	}
	conf := filepath.Join(h.dir, "nginx.conf")
	h.write(conf, fmt.Sprintf(`daemon off; master_process off; user root; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen %[2]d; root %[3]s; sendfile off; } }
`, h.dir, port, root))
	p, err := h.start(ctx, h.server, "nginx", "-c", conf)
	if err != nil {
		return nil, err
	}
	return p, h.listening(h.server, port)
}

// nameServer answers every question for an IPv4 address with the server's, after a time.
func (h *hosts) nameServer(delay func() time.Duration) (stop func(), err error) {
	var pc net.PacketConn
	err = inside(h.router, func() (err error) {
		pc, err = net.ListenPacket("udp4", routerClient+":53")
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			buf := make([]byte, 1500)
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			time.AfterFunc(delay(), func() { pc.WriteTo(answer(buf[:n]), from) })
		}
	}()
	return func() { pc.Close() }, nil
}

// answer makes the answer to a query of one question: one address for type A, none for
// the others.
func answer(q []byte) []byte {
	end := 12
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	if end > len(q) {
		return q
	}
	a := append([]byte{}, q[:end]...)
	a[2], a[3] = 0x81, 0x80
	a[6], a[7], a[8], a[9], a[10], a[11] = 0, 0, 0, 0, 0, 0
	if a[end-4] == 0 && a[end-3] == 1 {
		a[7] = 1
		ip := net.ParseIP(serverAddr).To4()
		a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, ip[0], ip[1], ip[2], ip[3])
	}
	return a
}
