package call

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/sock"
)

// serveTLS is serve under TLS.
func serveTLS(t *testing.T, peer func(*tls.Conn, *net.TCPConn)) net.Conn {
	t.Helper()
	cert, fingerprint, err := sock.SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	conn := serve(t, func(c *net.TCPConn) {
		peer(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}), c)
	})
	cfg, err := sock.PinConfig(fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Client(conn, cfg)
}

func TestPipeOverTLS(t *testing.T) {
	t.Parallel()
	conn := serveTLS(t, func(c *tls.Conn, _ *net.TCPConn) {
		io.Copy(c, c) // up to the alert that half-closes
		c.CloseWrite()
	})
	in := allBytes(200_000)
	var out bytes.Buffer
	if err := Pipe(within(t), conn, bytes.NewReader(in), &out, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), in) {
		t.Errorf("%d bytes came back as %d other ones", len(in), out.Len())
	}
}

// The end of TCP within a record of TLS may be somebody else's doing.
func TestPipeOverTLSCutShort(t *testing.T) {
	t.Parallel()
	conn := serveTLS(t, func(c *tls.Conn, below *net.TCPConn) {
		io.WriteString(c, "half of it")
		below.Write([]byte{23, 3, 3, 0, 100, 1, 2, 3}) // 100 bytes are announced
		below.CloseWrite()
		io.Copy(io.Discard, below)
	})
	in, feed := io.Pipe()
	defer feed.Close()
	var out bytes.Buffer
	err := Pipe(within(t), conn, in, &out, nil)
	if wantStatus[*BrokenError](t, err, StatusBroken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if out.String() != "half of it" {
		t.Errorf("out %q", out.String())
	}
}

func TestPipeOverAUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		upperPeer(c)
	}()
	var out, status bytes.Buffer
	conn := Record(dial(t, "unix", path), sock.Address{Network: "unix", Path: path}, &StatusView{W: &status})
	if err := Pipe(within(t), conn, strings.NewReader("hello"), &out, nil); err != nil {
		t.Fatal(err)
	}
	if out.String() != "HELLO" {
		t.Errorf("out %q", out.String())
	}
	want := "Connected to " + path + ".\nConnection closed here; 5 bytes sent, 5 received, in "
	if !strings.HasPrefix(status.String(), want) {
		t.Errorf("status %q, want %q", status.String(), want)
	}
}
