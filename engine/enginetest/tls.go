package enginetest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"yodel/engine"
	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// serveTLS is serveAt over TLS. The server's place does the handshake when it is
// dialled; at does not.
func (k *kit) serveTLS(t testing.TB, at place, service string, cfg engine.Config, protos ...string) *server {
	t.Helper()
	cert := newCertificate(t)
	cfg.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: protos}
	below := at.dial
	at.dial = func() (net.Conn, error) {
		nc, err := below()
		if err != nil {
			return nil, err
		}
		c := tls.Client(nc, clientTLS(cert))
		return c, handshake(c)
	}
	s := k.serveAt(t, at, service, cfg)
	s.cert = cert
	return s
}

func newCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	cert, _, err := sock.SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

// clientTLS trusts cert alone.
func clientTLS(cert *tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

func handshake(c *tls.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.HandshakeContext(ctx)
}

// clientHello returns the first bytes that a TLS client sends.
func clientHello(t testing.TB) string {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		tls.Client(a, &tls.Config{ServerName: "localhost"}).Handshake()
		a.Close()
	}()
	hello := make([]byte, 4096)
	n, err := b.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	return string(hello[:n])
}

// tryTLSTalks: conversations are the same over TLS, half-close too.
func tryTLSTalks(k *kit, t *testing.T) {
	for network, listen := range k.places() {
		for _, tt := range talks {
			s := k.serveTLS(t, listen(t), tt.service, engine.Config{Linger: patience})
			for cut, parts := range map[string][]string{"bytes": pieces(tt.in, 1), "whole": {tt.in}} {
				s.hold(network+", "+tt.service+", "+cut, parts, tt.want)
			}
		}
		const size = 1 << 20
		s := k.serveTLS(t, listen(t), "upper", engine.Config{})
		c := s.dial()
		poured := make(chan error, 1)
		go func() { poured <- c.pour(size) }()
		c.wantPattern("a megabyte over "+network, size, toUpper)
		if err := <-poured; err != nil {
			t.Error(err)
		}
	}
}

// tryHalfHello: a handshake has its own time, and half of one costs nothing else.
func tryHalfHello(k *kit, t *testing.T) {
	hello := clientHello(t)
	const limit = 80 * time.Millisecond
	for network, listen := range k.places() {
		at := listen(t)
		s := k.serveTLS(t, at, "upper", engine.Config{HandshakeTimeout: limit})
		from := time.Now()
		c := s.dialAt(at)
		c.send(hello[:len(hello)/2])
		c.wantGone("half a handshake over " + network)
		if d := time.Since(from); d < limit {
			t.Errorf("it was given %v", d)
		}
		s.awaitEnds("its time is over", 1, engine.BadHandshake)
		s.wantNoLog("it is the peer's")
	}
}

// tryHandshakeCap: so many handshakes at once, and no more; those beyond are closed.
func tryHandshakeCap(k *kit, t *testing.T) {
	hello := clientHello(t)
	gate := engine.NewGate(&engine.GateConfig{MaxHandshakes: 2})
	at := onTCP(t)
	s := k.serveTLS(t, at, "upper", engine.Config{Gate: gate, HandshakeTimeout: -1})
	halves := []*client{s.dialAt(at)}
	halves[0].send(hello[:10])
	s.dial().ask("beside half a handshake others are served", "hi\n", "HI\n")
	s.events.await(t, "its handshake is over", func(list []trace.Event) bool { return count(list, trace.Handshake, "") > 0 })
	for range 2 {
		c := s.dialAt(at)
		c.Write([]byte(hello[:10])) // it may be closed already
		halves = append(halves, c)
	}
	s.awaitEnds("one is too many", 1, engine.Busy)
	for _, c := range halves {
		c.Close()
	}
	s.awaitEnds("the others have gone", 2, engine.BadHandshake)
	s.dial().ask("there is room again", "hi\n", "HI\n")
}

// tryNotTLS: what is not TLS is a bad handshake before it is done, and a mistake of the
// peer's after. A record that is cut off is a reset. None of it is logged.
func tryNotTLS(k *kit, t *testing.T) {
	at := onTCP(t)
	s := k.serveTLS(t, at, "upper", engine.Config{})
	c := s.dialAt(at)
	c.send("GET / HTTP/1.0\r\n\r\n")
	c.wantGone("plain text")
	s.awaitEnds("plain text", 1, engine.BadHandshake)

	for i, record := range []string{"\x17\x03\x03\x00\x20................................", "no record at all"} {
		c = s.dial()
		c.ask("it is served", "hi\n", "HI\n")
		io.WriteString(c.Conn.(*tls.Conn).NetConn(), record)
		c.wantGone("a forged record")
		s.awaitEnds("a forged record", i+1, engine.PeerMistake)
	}
	c = s.dial()
	c.ask("it is served", "hi\n", "HI\n")
	below := c.Conn.(*tls.Conn).NetConn().(*net.TCPConn)
	io.WriteString(below, "\x17\x03\x03\x00\x20....")
	below.CloseWrite()
	s.awaitEnds("half a record", 1, engine.Reset)
	s.wantNoLog("it is the peer's")
}

// tryTLSShutdown: a handshake under way does not hold Shutdown up.
func tryTLSShutdown(k *kit, t *testing.T) {
	services := []string{"upper"}
	if !k.traits.NoDoor {
		services = append(services, "conn", "listener", "http")
	}
	for _, service := range services {
		at := onTCP(t)
		s := k.serveTLS(t, at, service, engine.Config{HandshakeTimeout: -1, Quiet: -1})
		c := s.dialAt(at)
		c.send(clientHello(t)[:50])
		s.awaitAccepts(1)
		wantErr(t, service, <-s.shutdown(patience), nil)
		c.wantGone("at shutdown")
		s.awaitEnds(service, 1, engine.Drained)
	}
}

// tryTLSSlowReader: a peer that reads nothing is cut, as without TLS.
func tryTLSSlowReader(k *kit, t *testing.T) {
	cfg := engine.Config{MinRate: 1000, MinRateAfter: 150 * time.Millisecond}
	s := k.serveTLS(t, onSmallBuffers(t), "echo", cfg)
	c := s.dial()
	if err := c.pour(64 << 20); err == nil {
		t.Error("64 MiB were taken")
	}
	s.awaitEnds("it reads nothing", 1, engine.SlowReader)
	if st := s.Stats(); st.BytesIn > 1<<20 || st.Unsent == 0 {
		t.Errorf("%+v", st)
	}
	s.wantNoLog("it is the peer's")
}

// tryOpenSSL: a client that is not Go's.
func tryOpenSSL(k *kit, t *testing.T) {
	openssl := yodeltest.NeedProgram(t, "openssl")
	s := k.serveTLS(t, onTCP(t), "upper", engine.Config{})
	file := filepath.Join(t.TempDir(), "cert.pem")
	der := s.cert.Certificate[0]
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, openssl, "s_client", "-quiet", "-no_ign_eof", "-verify_return_error",
		"-verify_hostname", "localhost", "-CAfile", file, "-connect", s.at.Addr().String())
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "hello from afar\n")
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "HELLO FROM AFAR\n" {
		t.Errorf("openssl got %q, %v", line, err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("openssl: %v", err)
	}
	s.awaitEnds("it has ended", 1, engine.Peer)
}
