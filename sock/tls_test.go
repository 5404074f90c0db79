package sock

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func serverConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// shake runs one handshake over loopback and returns what each end says.
func shake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	l := listenOn(t, "tls://127.0.0.1:0", &Options{TLS: server})
	done := make(chan error, 1)
	go func() {
		c, err := l.AcceptConn()
		if err == nil {
			err = c.Handshake(context.Background())
			c.Close()
		}
		done <- err
	}()
	c, clientErr := Dial(t.Context(), l.Address(), &Options{TLS: client})
	if clientErr == nil {
		state = c.ConnectionState()
		c.Close()
	}
	return state, clientErr, <-done
}

func trusting(cert tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	return pool
}

func TestSelfSignedIsValidForItsHosts(t *testing.T) {
	t.Parallel()
	cert, fingerprint, err := SelfSigned([]string{"greatwhite.example", "192.0.2.7"})
	if err != nil {
		t.Fatal(err)
	}
	if fingerprint != Fingerprint(cert.Leaf.Raw) {
		t.Errorf("the fingerprint is %s, not %s", fingerprint, Fingerprint(cert.Leaf.Raw))
	}
	if _, ok := cert.PrivateKey.(*ecdsa.PrivateKey); !ok {
		t.Errorf("the key is a %T", cert.PrivateKey)
	}
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "::1": true, "greatwhite.example": true, "192.0.2.7": true,
		"other.example": false, "192.0.2.8": false,
	} {
		_, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: trusting(cert)})
		if got := err == nil; got != want {
			t.Errorf("valid for %s: %v (%v), want %v", host, got, err, want)
		}
	}
	if life := time.Until(cert.Leaf.NotAfter); life < 365*24*time.Hour {
		t.Errorf("it is valid for %v only", life)
	}
	if cert.Leaf.IsCA {
		t.Error("it could sign others")
	}
}

func TestPinAcceptsExactlyOneCertificate(t *testing.T) {
	t.Parallel()
	mine, fingerprint, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := PinConfig(strings.ToUpper(fingerprint))
	if err != nil {
		t.Fatal(err)
	}
	pin.ClientSessionCache = tls.NewLRUClientSessionCache(4) // a resumed session is checked as well
	for range 2 {
		if _, err, _ := shake(t, serverConfig(mine), pin); err != nil {
			t.Fatalf("the pinned certificate: %v", err)
		}
		_, err, _ := shake(t, serverConfig(other), pin)
		got, ok := errors.AsType[*PinError](err)
		if !ok || got.Want != fingerprint || got.Got != Fingerprint(other.Leaf.Raw) {
			t.Fatalf("another certificate: %v", err)
		}
		if !strings.Contains(err.Error(), fingerprint) || !strings.Contains(err.Error(), "somebody else answers") {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
}

// A chain that holds the pinned certificate, but not as the server's own, proves
// nothing.
func TestPinLooksAtTheLeaf(t *testing.T) {
	t.Parallel()
	mine, fingerprint, _ := SelfSigned(nil)
	other, _, _ := SelfSigned(nil)
	pin, err := PinConfig(fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	other.Certificate = append(other.Certificate, mine.Certificate[0])
	if _, err, _ := shake(t, serverConfig(other), pin); !isA[*PinError](err) {
		t.Errorf("the pinned certificate in second place: %v", err)
	}
}

func TestPinErrorWithoutACertificate(t *testing.T) {
	t.Parallel()
	pin, err := PinConfig("sha256:" + strings.Repeat("0", 64))
	if err != nil {
		t.Fatal(err)
	}
	if err := pin.VerifyConnection(tls.ConnectionState{}); !isA[*PinError](err) {
		t.Errorf("no certificate at all: %v", err)
	}
}

func TestParseFingerprint(t *testing.T) {
	t.Parallel()
	plain := "sha256:" + strings.Repeat("ab", 32)
	colons := "SHA256:" + strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	for _, tt := range []struct {
		in   string
		want string // empty: an error
	}{
		{plain, plain},
		{strings.ToUpper(plain), plain},
		{colons, plain},
		{"", ""},
		{"sha256:", ""},
		{strings.Repeat("ab", 32), ""},
		{plain + "ab", ""},
		{plain[:len(plain)-1], ""},
		{plain[:len(plain)-1] + "g", ""},
		{"sha1:" + strings.Repeat("ab", 20), ""},
		{"sha256:" + strings.Repeat(":", 95), ""},
	} {
		got, err := ParseFingerprint(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseFingerprint(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
	if _, err := PinConfig("\x1b[2J"); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("a fingerprint of control bytes: %v", err)
	}
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("ab", 32))
	f.Add("SHA256:" + strings.TrimSuffix(strings.Repeat("AB:", 32), ":"))
	f.Add("sha256:")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseFingerprint(s)
		if err != nil {
			if got != "" {
				t.Errorf("%q comes with %v", got, err)
			}
			return
		}
		if again, err := ParseFingerprint(got); again != got || err != nil || len(got) != 71 {
			t.Errorf("%q is read as %q, that as %q, %v", s, got, again, err)
		}
	})
}

func TestALPNRefusesAClientThatOffersOnlyOthers(t *testing.T) {
	t.Parallel()
	cert, fingerprint, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		server, client []string
		want           string // protocol; "refused" for none
	}{
		{[]string{"echo"}, []string{"echo"}, "echo"},
		{[]string{"a", "echo"}, []string{"echo", "b"}, "echo"},
		{[]string{"echo"}, []string{"ftp"}, "refused"},
		{[]string{"echo"}, nil, ""}, // a client without ALPN is an old one, not a confused one
	} {
		server := serverConfig(cert)
		server.NextProtos = tt.server
		client, err := PinConfig(fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		client.NextProtos = tt.client
		state, clientErr, serverErr := shake(t, server, client)
		got := state.NegotiatedProtocol
		if clientErr != nil && serverErr != nil {
			got = "refused"
		}
		if got != tt.want {
			t.Errorf("server %q, client %q: %q (%v, %v), want %q", tt.server, tt.client, got, clientErr, serverErr, tt.want)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	cert, fingerprint, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := PinConfig(fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	client.MinVersion, client.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, clientErr, serverErr := shake(t, serverConfig(cert), client); clientErr == nil || serverErr == nil {
		t.Errorf("TLS 1.1 was spoken: %v, %v", clientErr, serverErr)
	}
}

func TestDialVerifiesTheServer(t *testing.T) {
	t.Parallel()
	cert, _, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what   string
		client *tls.Config
		want   string // in the error; empty: none
	}{
		{"its issuer is trusted", &tls.Config{RootCAs: trusting(cert)}, ""},
		{"nobody vouches for it", nil, "pin its fingerprint"},
		{"it has another name", &tls.Config{RootCAs: trusting(cert), ServerName: "bank.example"}, "dial it by a name"},
	} {
		_, err, _ := shake(t, serverConfig(cert), tt.client)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.what, err)
		case tt.want != "" && (err == nil || !isA[*HandshakeError](err) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v; want %q", tt.what, err, tt.want)
		}
	}
}

func TestDialTLSToWhatDoesNotSpeakIt(t *testing.T) {
	t.Parallel()
	var sink recorder
	l := listenOn(t, "127.0.0.1:0", nil)
	echo(t, l)
	a := l.Address()
	a.Network = "tls"
	_, err := Dial(t.Context(), a, &Options{Sink: &sink})
	if !isA[*HandshakeError](err) || !strings.Contains(err.Error(), "TLS with tls://127.0.0.1:") {
		t.Errorf("TLS with an echo server: %v", err)
	}
	events := sink.all()
	if got := ops(events); got != "socket connect handshake! close" {
		t.Errorf("events: %s", got)
	}
	if last := events[len(events)-1]; last.Text != "TLS handshake failed" {
		t.Errorf("the last event says %q", last.Text)
	}
}

func TestHandshakeErrorAdvice(t *testing.T) {
	t.Parallel()
	e := &HandshakeError{Address: Address{Network: "tls", Host: "h", Port: 7}, Err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}}
	if want := "TLS with tls://h:7: tls: first record does not look like a TLS handshake; it does not speak TLS there: use tcp"; e.Error() != want {
		t.Errorf("got %q, want %q", e.Error(), want)
	}
}

func TestHandshakeTimesOut(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "127.0.0.1:0", nil) // nobody accepts: the handshake has no answer
	a := l.Address()
	a.Network = "tls"
	_, err := Dial(t.Context(), a, &Options{HandshakeTimeout: 20 * time.Millisecond})
	e, ok := errors.AsType[*HandshakeError](err)
	if !ok || !e.Timeout() || !strings.Contains(err.Error(), "does not speak TLS") {
		t.Errorf("no answer to the handshake: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Dial(ctx, a, &Options{HandshakeTimeout: -1})
	if e, ok := errors.AsType[*HandshakeError](err); !ok || !e.Timeout() {
		t.Errorf("no answer, and only the context bounds it: %v", err)
	}
}

func TestLoadCertificate(t *testing.T) {
	t.Parallel()
	cert, fingerprint, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, certFile, "CERTIFICATE", cert.Certificate[0])
	writePEM(t, keyFile, "PRIVATE KEY", key)
	loaded, got, err := LoadCertificate(certFile, keyFile)
	if err != nil || got != fingerprint {
		t.Fatalf("fingerprint %s, %v; want %s", got, err, fingerprint)
	}
	pin, err := PinConfig(got)
	if err != nil {
		t.Fatal(err)
	}
	if _, err, _ := shake(t, serverConfig(loaded), pin); err != nil {
		t.Errorf("the loaded certificate: %v", err)
	}
	if _, _, err := LoadCertificate(certFile, filepath.Join(dir, "none.pem")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), certFile) {
		t.Errorf("a key that is not there: %v", err)
	}
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestListenerMakesItsOwnCertificate(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "tls://127.0.0.1:0", nil)
	if !strings.HasPrefix(l.Fingerprint(), "sha256:") {
		t.Fatalf("fingerprint %q", l.Fingerprint())
	}
	echo(t, l)
	say(t, dial(t, l.Address(), clientOptions(t, l)), "hello there\n")

	cert, _, err := SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	chosen := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}
	if got := listenOn(t, "tls://127.0.0.1:0", &Options{TLS: chosen}).Fingerprint(); got != "" {
		t.Errorf("a certificate chosen for each client has the fingerprint %q", got)
	}
	if len(chosen.Certificates) != 0 || chosen.MinVersion != 0 {
		t.Error("the caller's configuration was changed")
	}
}

func TestServerNameIsTheHost(t *testing.T) {
	t.Parallel()
	dns := &nameServer{records: map[string][]string{"A greatwhite.example.": {"127.0.0.1"}}}
	cert, _, err := SelfSigned([]string{"greatwhite.example"})
	if err != nil {
		t.Fatal(err)
	}
	names := make(chan string, 1)
	server := &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		names <- h.ServerName
		return &cert, nil
	}}
	l := listenOn(t, "tls://127.0.0.1:0", &Options{TLS: server})
	echo(t, l)
	a := l.Address()
	a.Host = "greatwhite.example"
	c := dial(t, a, &Options{TLS: &tls.Config{RootCAs: trusting(cert)}, Resolver: &Resolver{Net: dns.overUDP(t)}})
	say(t, c, "hello there\n")
	if got := <-names; got != "greatwhite.example" {
		t.Errorf("the server was asked for %q", got)
	}
	if p := c.Phases(); p.Resolve <= 0 || p.Connect <= 0 || p.TLS <= 0 {
		t.Errorf("phases %+v: each of the three took some time", p)
	}
}

var _ net.Conn = (*tlsConn)(nil)
