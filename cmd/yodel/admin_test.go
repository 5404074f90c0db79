package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"yodel/sock"
)

// get returns the status and body of a page of the admin listener.
func get(t *testing.T, admin listening, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + admin.Address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	s := serve(t, "--admin=127.0.0.1:0", "upper@127.0.0.1:0", "echo@udp://127.0.0.1:0")
	admin := s.listens(t, 2)
	if admin.Service != "admin" {
		t.Fatalf("the third line is %+v", admin)
	}
	c := s.dial(t, 0)
	ask(t, c, "hello\n", "HELLO\n")
	for path, want := range map[string]string{
		"/livez": "ok\n", "/readyz": "ok\n", "/debug/pprof/goroutine?debug=1": "goroutine profile",
	} {
		if status, body := get(t, admin, path); status != http.StatusOK || !strings.HasPrefix(body, want) {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	_, metrics := get(t, admin, "/metrics")
	for _, want := range []string{
		`yodel_connections_accepted_total{service="upper",transport="tcp"} 1`,
		`yodel_connections_active{service="upper",transport="tcp"} 1`,
		`yodel_bytes_total{direction="in",service="upper",transport="tcp"} 6`,
		`yodel_bytes_total{direction="out",service="upper",transport="tcp"} 6`,
		`yodel_messages_total{service="upper",transport="tcp"} 1`,
		`yodel_datagrams_total{direction="in",service="echo",transport="udp"} 0`,
		`yodel_datagrams_missed_total{service="echo",transport="udp"} 0`,
		`yodel_datagram_read_errors_total{service="echo",transport="udp"} 0`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	if status, _ := get(t, admin, "/healthz"); status != http.StatusNotFound {
		t.Errorf("/healthz: %d", status)
	}

	// At the first signal it is not ready, while the client that is left goes on.
	if _, err := io.WriteString(c, "unfinished"); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGTERM)
	s.await(t, &s.err, "stopping")
	if status, _ := get(t, admin, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a server that stops: %d", status)
	}
	ask(t, c, " line\n", "UNFINISHED LINE\n")
	c.Close()
	if status := s.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestAdminIsNotForStrangers(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{":15214", "192.0.2.1:80", "udp://127.0.0.1:1", "nonsense"} {
		if _, err := newAdmin(t.Context(), addr, nil); exitStatus(err) != 2 {
			t.Errorf("--admin %s: %v", addr, err)
		}
	}
}

func TestParseNetstat(t *testing.T) {
	t.Parallel()
	text := "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: InNoRoutes\nIpExt: 4\n"
	if got := parseNetstat(text, "TcpExt"); got["ListenOverflows"] != 22 || got["ListenDrops"] != 333 {
		t.Errorf("%v", got)
	}
	for _, odd := range []string{"", "TcpExt:\n", "TcpExt: A B\nTcpExt: x\n", "TcpExt: A\nTcpExt: 1 2 3\n"} {
		parseNetstat(odd, "TcpExt")
	}
}

// writePair writes a new certificate and its key into dir.
func writePair(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	pair, _, err := sock.SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// SIGHUP brings a new certificate in; a bad one leaves the old.
func TestReloadedCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := writePair(t, dir)
	s := serve(t, "--tls-cert="+cert, "--tls-key="+key, "echo@tls://127.0.0.1:0")
	first := s.at[0].Fingerprint
	shows := func(fingerprint string) bool {
		cfg, err := sock.PinConfig(fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		to, err := sock.ParseAddress(s.address(0))
		if err != nil {
			t.Fatal(err)
		}
		c, err := sock.Dial(context.Background(), to, &sock.Options{TLS: cfg})
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
	if !shows(first) {
		t.Fatal("the first certificate is not shown")
	}
	writePair(t, dir)
	s.signal(t, syscall.SIGHUP)
	second := s.await(t, &s.err, `certificate reloaded: (sha256:[0-9a-f]+)\n`)[1]
	if second == first || !shows(second) || shows(first) {
		t.Errorf("after SIGHUP %s is shown: %v; before it was %s", second, shows(second), first)
	}
	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGHUP)
	s.await(t, &s.err, `not reloaded, the old one stays: .*cert\.pem`)
	if !shows(second) {
		t.Error("the old one did not stay")
	}
}

// A11: with --proxy-from the log tells of the client that the proxy brings.
func TestServeBehindAProxy(t *testing.T) {
	t.Parallel()
	s := serve(t, "--proxy-from=127.0.0.0/8", "upper@127.0.0.1:0")
	c := s.dial(t, 0)
	head, err := sock.ProxyHeader(2, sock.Pair{Client: netip.MustParseAddrPort("192.0.2.1:51213"), Server: netip.MustParseAddrPort("198.51.100.7:80")})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, c, string(head)+"hello\n", "HELLO\n")
	s.await(t, &s.out, `"type":"accept".*"remote":"192\.0\.2\.1:51213"`)
	c.Close()
	var nobody net.Conn = s.dial(t, 0)
	ask(t, nobody, "hello\n", "")
	s.await(t, &s.out, `"type":"refuse".*no PROXY header`)
}
