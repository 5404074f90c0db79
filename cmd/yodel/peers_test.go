package main

import (
	"bytes"
	"strings"
	"testing"

	"yodel/trace"
	"yodel/yodeltest"
)

// The lecture's test: telnet, and a line that ends in CR LF.
func TestRealTelnet(t *testing.T) {
	t.Parallel()
	telnet := yodeltest.NeedProgram(t, "telnet")
	s := serve(t, "upper@127.0.0.1:0")
	p := start(t, telnet, "127.0.0.1", s.port(0))
	p.await(t, &p.out, `Escape character is '\^\]'\.`)
	p.say(t, "hi there\n")
	p.await(t, &p.out, `\nHI THERE\r?\n`)
	p.in.Close() // telnet leaves at the end of its input
	s.await(t, &s.out, `"type":"close"`)
	if e := s.events(t, trace.Close)[0]; e.In != 10 || e.Out != 10 {
		t.Errorf("%d bytes in, %d out: telnet sends 10", e.In, e.Out)
	}
}

// longLine is longer than upper's bound, and than a packet.
func longLine() string { return strings.Repeat("yodel ", 1666) + "abcd\n" }

func TestRealPeersSendALongLine(t *testing.T) {
	t.Parallel()
	s := serve(t, "upper@127.0.0.1:0")
	in := longLine()
	if len(in) != 10_001 {
		t.Fatal(len(in))
	}
	for name, args := range map[string][]string{
		"ncat":  {"127.0.0.1", s.port(0)},
		"socat": {"-t30", "-", "TCP:" + s.address(0)},
		"nc":    {"-N", "127.0.0.1", s.port(0)}, // -N ends our direction with the input
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runProgram(t, strings.NewReader(in), yodeltest.NeedProgram(t, name), args...)
			if r.status != 0 || r.out != strings.ToUpper(in) {
				t.Errorf("status %d, %d bytes came back, stderr %q", r.status, len(r.out), r.err)
			}
		})
	}
}

// A NUL is a byte like another, and a letter that is not ASCII is not changed, although
// the upper case of ı would be I.
func TestRealPeerSendsOddBytes(t *testing.T) {
	t.Parallel()
	socat := yodeltest.NeedProgram(t, "socat")
	s := serve(t, "upper@127.0.0.1:0")
	r := runProgram(t, strings.NewReader("a\x00b ı ß \xff\xfe z\r\n\n\x00"), socat, "-t30", "-", "TCP:"+s.address(0))
	if want := "A\x00B ı ß \xff\xfe Z\r\n\n\x00"; r.out != want {
		t.Errorf("%q, want %q", r.out, want)
	}
}

func TestRealPeerSendsABinary(t *testing.T) {
	t.Parallel()
	socat := yodeltest.NeedProgram(t, "socat")
	s := serve(t, "echo@127.0.0.1:0")
	in := noise(1 << 20)
	r := runProgram(t, bytes.NewReader(in), socat, "-t30", "-", "TCP:"+s.address(0))
	if r.status != 0 || r.out != string(in) {
		t.Errorf("status %d, %d bytes came back, stderr %q", r.status, len(r.out), r.err)
	}
}

func TestRealPeersSendDatagrams(t *testing.T) {
	t.Parallel()
	s := serve(t, "echo@udp://127.0.0.1:0")
	for name, args := range map[string][]string{
		"nc":    {"-u", "127.0.0.1", s.port(0)},
		"ncat":  {"-u", "127.0.0.1", s.port(0)},
		"socat": {"-", "UDP:127.0.0.1:" + s.port(0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, yodeltest.NeedProgram(t, name), args...)
			for _, word := range []string{"hello\n", "again\n"} {
				p.say(t, word)
				p.await(t, &p.out, `(?m)^`+word)
			}
		})
	}
}

func TestRealPeerSpeaksTLS(t *testing.T) {
	t.Parallel()
	openssl := yodeltest.NeedProgram(t, "openssl")
	s := serve(t, "echo@tls://127.0.0.1:0")
	p := start(t, openssl, "s_client", "-quiet", "-connect", "127.0.0.1:"+s.port(0))
	p.say(t, "hello\n")
	p.await(t, &p.out, `^hello\n`)
	// What it is shown is what was printed.
	sh := `openssl s_client -connect "$0" </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256`
	r := runProgram(t, nil, "sh", "-c", sh, "127.0.0.1:"+s.port(0))
	_, digits, _ := strings.Cut(strings.TrimSpace(r.out), "=")
	if got := "sha256:" + strings.ToLower(strings.ReplaceAll(digits, ":", "")); got != s.at[0].Fingerprint {
		t.Errorf("openssl sees %s, and serve has said %s", got, s.at[0].Fingerprint)
	}
	// And call takes it as openssl writes it.
	wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--pin", "SHA256:"+digits, s.address(0)), 0)
}

func TestRealPeerOnAUnixSocket(t *testing.T) {
	t.Parallel()
	socat := yodeltest.NeedProgram(t, "socat")
	s := serve(t, "upper@unix:"+t.TempDir()+"/sock")
	r := runProgram(t, strings.NewReader("hello\n"), socat, "-t30", "-", "UNIX-CONNECT:"+s.at[0].Path)
	if r.out != "HELLO\n" {
		t.Errorf("%+v", r)
	}
}

// The other way round: our client, and servers that are not ours.
func TestCallRealServers(t *testing.T) {
	t.Parallel()
	socat := yodeltest.NeedProgram(t, "socat")
	p := start(t, socat, "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,fork", "EXEC:/bin/cat")
	port := p.await(t, &p.err, `listening on .*127\.0\.0\.1:(\d+)`)[1]
	r := runYodel(t, longLine(), "call", "--verify", "127.0.0.1", port)
	wantStatus(t, r, 0, "10001 bytes sent, 10001 came back right")
	r = runYodel(t, "hello\n", "call", "--verify", "--upper", "127.0.0.1", port)
	wantStatus(t, r, 6, "wrong answer")
}
