package call

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// udpPeer answers each datagram with what answer returns: each element is a datagram.
// It returns the client's end of a connection to it.
func udpPeer(t *testing.T, answer func(request []byte) [][]byte) net.Conn {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, d := range answer(buf[:n]) {
				pc.WriteTo(d, from)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return dial(t, "udp", pc.LocalAddr().String())
}

func udpEcho(request []byte) [][]byte { return [][]byte{bytes.Clone(request)} }

// briefly is the configuration of tests that wait for a silence.
var briefly = &Config{Wait: 150 * time.Millisecond}

func TestPipeSendsEachLineAsADatagram(t *testing.T) {
	t.Parallel()
	requests := make(chan string, 10)
	conn := udpPeer(t, func(request []byte) [][]byte {
		requests <- string(request)
		return [][]byte{bytes.ToUpper(request), {}} // an empty datagram is no end
	})
	var out bytes.Buffer
	in := iotestCuts("one\ntwo\n\nlast, without newline")
	if err := Pipe(within(t), conn, in, &out, briefly); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 4 {
		got = append(got, <-requests)
	}
	if want := "one\n|two\n|\n|last, without newline"; strings.Join(got, "|") != want {
		t.Errorf("datagrams %q", got)
	}
	if want := "ONE\nTWO\n\nLAST, WITHOUT NEWLINE"; out.String() != want {
		t.Errorf("out %q", out.String())
	}
}

// iotestCuts is a reader whose reads end in the middle of lines.
func iotestCuts(s string) io.Reader {
	return io.MultiReader(strings.NewReader(s[:5]), strings.NewReader(s[5:]))
}

func TestPipeTakesTheLongestDatagrams(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", MaxDatagram-1) + "\n"
	var out bytes.Buffer
	if err := Pipe(within(t), udpPeer(t, udpEcho), strings.NewReader(line), &out, briefly); err != nil {
		t.Fatal(err)
	}
	if out.String() != line {
		t.Errorf("%d of %d bytes came back", out.Len(), len(line))
	}
}

func TestPipeRefusesLinesThatNoDatagramHolds(t *testing.T) {
	t.Parallel()
	in := "short\n" + strings.Repeat("x", MaxDatagram) + "\n"
	err := Pipe(within(t), udpPeer(t, udpEcho), strings.NewReader(in), io.Discard, briefly)
	wantStatus[*InputError](t, err, StatusFailed)
	if !strings.Contains(err.Error(), "line 2 is too long for a datagram") {
		t.Error(err)
	}
}

// nobody returns a connected datagram socket to a port where nobody listens.
func nobody(t *testing.T) net.Conn {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := pc.LocalAddr().String()
	pc.Close()
	return dial(t, "udp", addr)
}

func TestDatagramsAreRefused(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]func(net.Conn) error{
		"pipe": func(c net.Conn) error {
			return Pipe(within(t), c, strings.NewReader("anybody there?\n"), io.Discard, nil)
		},
		"pipe, a second line": func(c net.Conn) error {
			return Pipe(within(t), c, strings.NewReader("anybody there?\nhello?\n"), io.Discard, nil)
		},
		"verify": func(c net.Conn) error {
			_, err := Verify(within(t), c, strings.NewReader("anybody there?\n"), nil)
			return err
		},
	} {
		err := mode(nobody(t))
		if wantStatus[*BrokenError](t, err, StatusRefused); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyDatagrams(t *testing.T) {
	t.Parallel()
	conn := udpPeer(t, func(r []byte) [][]byte { return [][]byte{bytes.ToUpper(r)} })
	v, err := Verify(within(t), conn, strings.NewReader("one\ntwo\nthree"), &Config{Upper: true, CRLF: true})
	if err != nil || v.Sent != 15 || v.Right != 15 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestVerifyDatagramsThatAreWrong(t *testing.T) {
	t.Parallel()
	liar := func(answers ...string) func([]byte) [][]byte {
		return func(r []byte) [][]byte {
			if string(r) != "two\n" {
				return udpEcho(r)
			}
			var list [][]byte
			for _, a := range answers {
				list = append(list, []byte(a))
			}
			return list
		}
	}
	tests := map[string]struct {
		answers []string
		want    string
	}{
		"flipped":        {[]string{"twO\n"}, "wrong answer: byte at offset 6 is 0x4f (O), expected 0x6f (o)"},
		"lost":           {nil, "answer lost: 4 bytes missing after offset 4: timed out after 150ms: no datagram came"},
		"empty":          {[]string{""}, "answer lost: 4 bytes missing after offset 4: the datagram was too short"},
		"cut short":      {[]string{"tw"}, "answer lost: 2 bytes missing after offset 6: the datagram was too short"},
		"longer":         {[]string{"two\nmore"}, `wrong answer: unexpected bytes at offset 8: "more"`},
		"doubled":        {[]string{"two\n", "two\n"}, "wrong answer: byte at offset 9 is 0x77 (w), expected 0x68 (h)"},
		"in two halves":  {[]string{"tw", "o\n"}, "answer lost: 2 bytes missing after offset 6: the datagram was too short"},
		"another's turn": {[]string{"one\n"}, "wrong answer: byte at offset 4 is 0x6f (o), expected 0x74 (t)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := Verify(within(t), udpPeer(t, liar(test.answers...)), strings.NewReader("one\ntwo\nthree\n"), briefly)
			if err == nil || err.Error() != test.want || ExitStatus(err) != StatusWrong {
				t.Errorf("error  %v\nwanted %s", err, test.want)
			}
			if v.Right < 4 {
				t.Errorf("%v, but the first datagram was right", v)
			}
		})
	}
}

func TestVerifyDatagramsEnds(t *testing.T) {
	t.Parallel()
	if _, err := Verify(within(t), udpPeer(t, udpEcho), &failAfter{0}, nil); !errors.Is(err, errBroken) {
		t.Errorf("input fails: %v", err)
	}
	in, feed := io.Pipe()
	defer feed.Close()
	_, err := Verify(within(t), udpPeer(t, udpEcho), in, &Config{Timeout: time.Millisecond})
	wantStatus[*TimeoutError](t, err, StatusTimedOut)
}
