package sock

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

func proxyPair(client, server string) Pair {
	return Pair{Client: netip.MustParseAddrPort(client), Server: netip.MustParseAddrPort(server)}
}

// What one end writes the other reads, whole or byte by byte, and what follows is left.
func TestProxyHeaderRoundTrip(t *testing.T) {
	for _, pair := range []Pair{
		proxyPair("192.0.2.1:51213", "198.51.100.7:80"),
		proxyPair("[2001:db8::1]:51213", "[2001:db8::2]:80"),
		{},
	} {
		for version := 1; version <= 2; version++ {
			head, err := ProxyHeader(version, pair)
			if err != nil {
				t.Fatalf("version %d of %v: %v", version, pair, err)
			}
			for name, r := range map[string]io.Reader{
				"whole":        strings.NewReader(string(head) + "next"),
				"byte by byte": iotest.OneByteReader(strings.NewReader(string(head) + "next")),
			} {
				got, err := ReadProxyHeader(r)
				rest, _ := io.ReadAll(r)
				if err != nil || got != pair || string(rest) != "next" {
					t.Errorf("version %d, %s: %v, %v, then %q; want %v", version, name, got, err, rest, pair)
				}
			}
			for cut := range head {
				if _, err := ReadProxyHeader(bytes.NewReader(head[:cut])); err == nil {
					t.Errorf("version %d: %d of %d bytes pass for a header", version, cut, len(head))
				}
			}
		}
	}
	if _, err := ProxyHeader(3, Pair{}); err == nil {
		t.Error("there is a version 3")
	}
}

func TestProxyHeaderAsOthersWriteIt(t *testing.T) {
	v2 := func(command, family byte, body string) string {
		return string(proxyV2) + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
	}
	body := "\xc0\x00\x02\x01\xc6\x33\x64\x07\xc8\x0d\x00\x50"
	want := proxyPair("192.0.2.1:51213", "198.51.100.7:80")
	for _, tt := range []struct {
		what, in string
		want     Pair
		ok       bool
	}{
		{"version 1", "PROXY TCP4 192.0.2.1 198.51.100.7 51213 80\r\n", want, true},
		{"unknown", "PROXY UNKNOWN\r\n", Pair{}, true},
		{"unknown with addresses, to be ignored", "PROXY UNKNOWN 192.0.2.1 198.51.100.7 51213 80\r\n", Pair{}, true},
		{"version 2", v2(0x21, 0x11, body), want, true},
		{"with more behind the addresses", v2(0x21, 0x11, body+"\x04\x00\x01x"), want, true},
		{"local", v2(0x20, 0x00, ""), Pair{}, true},
		{"datagrams", v2(0x21, 0x12, body), Pair{}, true},
		{"no header", "GET / HTTP/1.1\r\n\r\n", Pair{}, false},
		{"a bare newline", "PROXY TCP4 192.0.2.1 198.51.100.7 51213 80\n", Pair{}, false},
		{"a line without end", "PROXY TCP4 " + strings.Repeat("1", 1000), Pair{}, false},
		{"no address", "PROXY TCP4 192.0.2.1 example 51213 80\r\n", Pair{}, false},
		{"a family that does not fit", "PROXY TCP4 2001:db8::1 2001:db8::2 51213 80\r\n", Pair{}, false},
		{"a port too great", "PROXY TCP4 192.0.2.1 198.51.100.7 99999 80\r\n", Pair{}, false},
		{"a length too great", string(proxyV2) + "\x21\x11\xff\xff" + strings.Repeat("x", 70000), Pair{}, false},
		{"a length too small", v2(0x21, 0x11, body[:8]), Pair{}, false},
		{"version 3", v2(0x31, 0x11, body), Pair{}, false},
		{"less than it says", v2(0x21, 0x11, body)[:20], Pair{}, false},
	} {
		got, err := ReadProxyHeader(strings.NewReader(tt.in))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: %v, %v", tt.what, got, err)
		}
		if !tt.ok && !errors.Is(err, ErrNoProxyHeader) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v says nothing of the header", tt.what, err)
		}
	}
}

// No input makes it read more than its bounds, or panic.
func FuzzReadProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.7 51213 80\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(string(proxyV2) + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xc8\x0d\x00\x50rest"))
	f.Add([]byte(string(proxyV2) + "\x21\x31\x00\xd8"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		pair, err := ReadProxyHeader(r)
		if read := len(in) - r.Len(); read > maxProxyV2 {
			t.Errorf("read %d bytes", read)
		}
		if err != nil || !pair.IsValid() {
			return
		}
		for version := 1; version <= 2; version++ {
			head, err := ProxyHeader(version, pair)
			if err != nil {
				continue // of two families
			}
			if again, err := ReadProxyHeader(bytes.NewReader(head)); err != nil || again != pair {
				t.Errorf("version %d of %v reads back as %v, %v", version, pair, again, err)
			}
		}
	})
}
