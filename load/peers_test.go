package load

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"yodel/sock"
	"yodel/yodeltest"
)

// freePort returns a port that nobody listens at.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// program runs a server that is not ours, and waits until it listens.
func program(t *testing.T, port uint16, name string, args ...string) sock.Address {
	t.Helper()
	cmd := exec.Command(yodeltest.NeedProgram(t, name), args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	at := sock.Address{Network: "tcp", Host: "127.0.0.1", Port: port}
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for range 500 {
		if c, err := net.Dial("tcp", at.HostPort()); err == nil {
			c.Close()
			return at
		}
		<-every.C
	}
	t.Fatalf("%s does not listen at %v", name, at)
	return at
}

func write(t *testing.T, path, format string, args ...any) string {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Servers that are not ours, and echo.
func TestRealServers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) sock.Address{
		"socat": func(t *testing.T) sock.Address {
			port := freePort(t)
			return program(t, port, "socat", fmt.Sprintf("TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork", port), "EXEC:/bin/cat")
		},
		"ncat": func(t *testing.T) sock.Address {
			port := freePort(t)
			return program(t, port, "ncat", "-l", "-k", "-e", "/bin/cat", "127.0.0.1", fmt.Sprint(port))
		},
		"xinetd": func(t *testing.T) sock.Address {
			port, dir := freePort(t), t.TempDir()
			conf := write(t, filepath.Join(dir, "conf"), `service echo
{
	type = INTERNAL UNLISTED
	id = echo-stream
	socket_type = stream
	protocol = tcp
	user = root
	wait = no
	bind = 127.0.0.1
	port = %d
	disable = no
}
`, port)
			return program(t, port, "xinetd", "-dontfork", "-f", conf, "-pidfile", filepath.Join(dir, "pid"), "-filelog", filepath.Join(dir, "log"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := start(t)
			clean(t, mustRun(t, Plan{Target: at, Conns: 3, Count: 200}), 200)
			clean(t, mustRun(t, Plan{Target: at, Conns: 2, Count: 40, Size: 10000, Pipeline: 3}), 40)
			clean(t, mustRun(t, Plan{Target: at, Conns: 2, Count: 50, Pace: Poisson(500)}), 50)
			clean(t, mustRun(t, Plan{Target: at, Conns: 2, Count: 10, NewConns: true}), 10)
			if r := mustRun(t, Plan{Target: at, Count: 10, Upper: true}); r.Errors[Corrupt] != 1 {
				t.Errorf("what is echoed is no capitals: %v", r.Errors)
			}
		})
	}
}

// A web server that is not ours: its pages are the same each time.
func TestRealWebServer(t *testing.T) {
	t.Parallel()
	port, dir := freePort(t), t.TempDir()
	os.Chmod(dir, 0o755)
	write(t, filepath.Join(dir, "page"), "%0100000d", 5)
	conf := write(t, filepath.Join(dir, "conf"), `daemon off; master_process off; error_log stderr crit; pid %[1]s/pid;
events { }
http {
	access_log off;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	server { listen 127.0.0.1:%[2]d; root %[1]s; }
}
`, dir, port)
	at := program(t, port, "nginx", "-c", conf)
	at.Network, at.Path = "http", "/page"
	r := mustRun(t, Plan{Target: at, Conns: 3, Count: 100})
	clean(t, r, 100)
	if r.BytesIn != 100*100000 || r.Connections > 10 {
		t.Errorf("%d bytes in, %d connections", r.BytesIn, r.Connections)
	}
	at.Path = "/nosuch"
	if r := mustRun(t, Plan{Target: at, Count: 3}); r.Errors[Status] != 3 {
		t.Errorf("%v", r.Errors)
	}
}
