package sock

import (
	"runtime"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		words string // separated by one space
		want  Address
		print string
	}{
		// HOST:PORT and HOST PORT
		{"localhost:15213", Address{"tcp", "localhost", 15213, ""}, "localhost:15213"},
		{"localhost 15213", Address{"tcp", "localhost", 15213, ""}, "localhost:15213"},
		{"WWW.cs.CMU.edu:http", Address{"tcp", "www.cs.cmu.edu", 80, ""}, "www.cs.cmu.edu:80"},
		{"example.com. 7", Address{"tcp", "example.com.", 7, ""}, "example.com.:7"},
		{"my_host 007", Address{"tcp", "my_host", 7, ""}, "my_host:7"},
		{"128.2.194.242 0", Address{"tcp", "128.2.194.242", 0, ""}, "128.2.194.242:0"},
		{"10.0.0.1:65535", Address{"tcp", "10.0.0.1", 65535, ""}, "10.0.0.1:65535"},

		// IPv6
		{"[::1]:7", Address{"tcp", "::1", 7, ""}, "[::1]:7"},
		{"[::1] 7", Address{"tcp", "::1", 7, ""}, "[::1]:7"},
		{"::1 7", Address{"tcp", "::1", 7, ""}, "[::1]:7"},
		{"[FE80:0::1%eth0]:echo", Address{"tcp", "fe80::1%eth0", 7, ""}, "[fe80::1%eth0]:7"},
		{"fe80::1%2 7", Address{"tcp", "fe80::1%2", 7, ""}, "[fe80::1%2]:7"},
		{"[::ffff:127.0.0.1]:7", Address{"tcp", "127.0.0.1", 7, ""}, "127.0.0.1:7"},

		// all interfaces, loopback
		{":7", Address{"tcp", "", 7, ""}, ":7"},
		{"*:7", Address{"tcp", "", 7, ""}, ":7"},
		{"* 7", Address{"tcp", "", 7, ""}, ":7"},
		{":0", Address{"tcp", "", 0, ""}, ":0"},
		{"0.0.0.0:7", Address{"tcp", "0.0.0.0", 7, ""}, "0.0.0.0:7"},
		{"7", Address{"tcp", "localhost", 7, ""}, "localhost:7"},
		{"0", Address{"tcp", "localhost", 0, ""}, "localhost:0"},
		{"Telnet", Address{"tcp", "localhost", 23, ""}, "localhost:23"},

		// networks
		{"tcp://localhost:7", Address{"tcp", "localhost", 7, ""}, "localhost:7"},
		{"udp://:7", Address{"udp", "", 7, ""}, "udp://:7"},
		{"udp://time", Address{"udp", "localhost", 37, ""}, "udp://localhost:37"},
		{"TLS://[::1]:7007", Address{"tls", "::1", 7007, ""}, "tls://[::1]:7007"},
		{"tls://localhost 7007", Address{"tls", "localhost", 7007, ""}, "tls://localhost:7007"},

		// HTTP
		{"http://localhost", Address{"http", "localhost", 80, ""}, "http://localhost:80"},
		{"https://localhost/", Address{"https", "localhost", 443, "/"}, "https://localhost:443/"},
		{"http://localhost:10080/a?b=c", Address{"http", "localhost", 10080, "/a?b=c"}, "http://localhost:10080/a?b=c"},
		{"https://[::1]/x", Address{"https", "::1", 443, "/x"}, "https://[::1]:443/x"},
		{"http://[::1]:8080", Address{"http", "::1", 8080, ""}, "http://[::1]:8080"},
		{"http://10080", Address{"http", "localhost", 10080, ""}, "http://localhost:10080"},
		{"http://*", Address{"http", "", 80, ""}, "http://:80"},
		{"http://www", Address{"http", "www", 80, ""}, "http://www:80"},

		// Unix
		{"unix:/run/echo.sock", Address{Network: "unix", Path: "/run/echo.sock"}, "unix:/run/echo.sock"},
		{"unix:///run/echo.sock", Address{Network: "unix", Path: "/run/echo.sock"}, "unix:/run/echo.sock"},
		{"unix:////run/x", Address{Network: "unix", Path: "//run/x"}, "unix:////run/x"},
		{"UNIX:echo.sock", Address{Network: "unix", Path: "echo.sock"}, "unix:echo.sock"},
		{"unix:@echo", Address{Network: "unix", Path: "@echo"}, "unix:@echo"},
		{"unix:[::1]:7", Address{Network: "unix", Path: "[::1]:7"}, "unix:[::1]:7"},
		{"unix:" + strings.Repeat("p", maxUnixPath), Address{Network: "unix", Path: strings.Repeat("p", maxUnixPath)}, "unix:" + strings.Repeat("p", maxUnixPath)},
		{"unix:@" + strings.Repeat("p", maxUnixPath), Address{Network: "unix", Path: "@" + strings.Repeat("p", maxUnixPath)}, "unix:@" + strings.Repeat("p", maxUnixPath)},
	} {
		got, err := ParseAddress(strings.Split(tt.words, " ")...)
		if err != nil || got != tt.want {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", tt.words, got, err, tt.want)
			continue
		}
		if s := got.String(); s != tt.print {
			t.Errorf("%q prints as %q, want %q", tt.words, s, tt.print)
		}
		if again, err := ParseAddress(got.String()); err != nil || again != got {
			t.Errorf("%q does not survive printing: %+v, %v", tt.words, again, err)
		}
	}
}

func TestParseAddressErrors(t *testing.T) {
	t.Parallel()
	services := servicesPath(runtime.GOOS)
	for _, tt := range []struct {
		words []string
		want  string
	}{
		// how many words
		{nil, `address "": it has 0 words; write HOST:PORT or HOST PORT`},
		{[]string{"a", "b", "c"}, `address "a b c": it has 3 words; write HOST:PORT or HOST PORT`},
		{[]string{"unix:x", "7"}, `address "unix:x 7": a Unix socket is one word; write unix:PATH`},
		{[]string{strings.Repeat("a", 1000), strings.Repeat("7", 100)}, `address of 1100 bytes: the longest is 1024`},

		// no port, no host
		{[]string{""}, `address "": it is empty; write HOST:PORT, :PORT for all interfaces, or PORT for loopback`},
		{[]string{"tls://"}, `address "tls://": it is empty; write HOST:PORT, :PORT for all interfaces, or PORT for loopback`},
		{[]string{"localhost"}, `address "localhost": it names no port; write localhost:PORT`},
		{[]string{"127.0.0.1"}, `address "127.0.0.1": it names no port; write 127.0.0.1:PORT`},
		{[]string{"[::1]"}, `address "[::1]": it names no port; write [::1]:PORT`},
		{[]string{"*"}, `address "*": it names no port; write *:PORT`},
		{[]string{"localhost:"}, `address "localhost:": the port is empty; write a number from 0 to 65535 or the name of a service`},
		{[]string{"", "7"}, `address " 7": the host is empty; write localhost, or * for all interfaces`},
		{[]string{"http://"}, `address "http://": it is empty; write HOST:PORT, :PORT for all interfaces, or PORT for loopback`},

		// bad port
		{[]string{"65536"}, `address "65536": port "65536" is out of range; write a number from 0 to 65535`},
		{[]string{"localhost:99999999999999999999"}, `address "localhost:99999999999999999999": port "99999999999999999999" is out of range; write a number from 0 to 65535`},
		{[]string{"localhost", "-1"}, `address "localhost -1": "-1" is not the name of a service over tcp; write a number from 0 to 65535 or a name from ` + services},
		{[]string{"udp://localhost:ecko"}, `address "udp://localhost:ecko": "ecko" is not the name of a service over udp; write a number from 0 to 65535 or a name from ` + services},
		{[]string{"udp://:telnet"}, `address "udp://:telnet": "telnet" is a service over tcp, not over udp; write its number, 23, if you mean that port`},

		// bad host
		{[]string{"foo bar:7"}, `address "foo bar:7": "foo bar" is not a host name: it has the byte 0x20`},
		{[]string{"a..b", "7"}, `address "a..b 7": "a..b" is not a host name: a part between its dots is empty`},
		{[]string{"-x:7"}, `address "-x:7": "-x" is not a host name: a part between its dots begins or ends with a hyphen`},
		{[]string{"bücher.example:7"}, `address "bücher.example:7": "bücher.example" is not a host name: it is not ASCII; write its xn-- form`},
		{[]string{strings.Repeat("a", 64) + ":7"}, `address "` + strings.Repeat("a", 64) + `:7": "` + strings.Repeat("a", 64) + `" is not a host name: a part between its dots has 64 bytes, the longest has 63`},
		{[]string{"256.1.1.1:7"}, `address "256.1.1.1:7": "256.1.1.1" is not a host name: it ends in a number and is not an IPv4 address`},
		{[]string{"127.1:7"}, `address "127.1:7": "127.1" is not a host name: it ends in a number and is not an IPv4 address`},
		{[]string{"0x7F000001:7"}, `address "0x7F000001:7": "0x7F000001" is not a host name: it ends in a number and is not an IPv4 address`},
		{[]string{"user@host:7"}, `address "user@host:7": "user@host" is not a host name: it has the byte 0x40`},

		// IPv6 and brackets
		{[]string{"::1"}, `address "::1": an IPv6 address needs brackets; write [::1]:PORT`},
		{[]string{"::1:7"}, `address "::1:7": an IPv6 address needs brackets; write [::1]:7 or [::1:7]:PORT`},
		{[]string{"fe80::1%eth0:echo"}, `address "fe80::1%eth0:echo": an IPv6 address needs brackets; write [fe80::1%eth0]:echo or [fe80::1%eth0:echo]:PORT`},
		{[]string{"1:2:3:4:5:6:7:8:9"}, `address "1:2:3:4:5:6:7:8:9": an IPv6 address needs brackets; write [1:2:3:4:5:6:7:8]:9`},
		{[]string{"localhost:7:8"}, `address "localhost:7:8": it has too many colons; write HOST:PORT, with an IPv6 HOST in brackets`},
		{[]string{"tls:localhost:7007"}, `address "tls:localhost:7007": it has too many colons; write tls://localhost:7007`},
		{[]string{"localhost:7", "8"}, `address "localhost:7 8": "localhost:7" is not an IPv6 address; a name or an IPv4 address goes without brackets and colons`},
		{[]string{"[127.0.0.1]:7"}, `address "[127.0.0.1]:7": "127.0.0.1" is not an IPv6 address; a name or an IPv4 address goes without brackets and colons`},
		{[]string{"[localhost]:7"}, `address "[localhost]:7": "localhost" is not an IPv6 address; a name or an IPv4 address goes without brackets and colons`},
		{[]string{"[::1:7"}, `address "[::1:7": the bracket is not closed; write [IPV6]:PORT`},
		{[]string{"[::1", "7"}, `address "[::1 7": "[::1" is not an IPv6 address; a name or an IPv4 address goes without brackets and colons`},
		{[]string{"[::1]7"}, `address "[::1]7": after the bracket comes "7"; write [::1]:PORT`},
		{[]string{"[fe80::1%a/b]:7"}, `address "[fe80::1%a/b]:7": "a/b" is not the name of an interface; write the name, or its number, after the %`},
		{[]string{"[fe80::1%a%b]:7"}, `address "[fe80::1%a%b]:7": "a%b" is not the name of an interface; write the name, or its number, after the %`},

		// schemes, HTTP, Unix
		{[]string{"ftp://localhost:21"}, `address "ftp://localhost:21": "ftp" is not a known scheme; write one of tcp://, udp://, tls://, http://, https:// and unix: in front`},
		{[]string{"http://localhost/a b"}, `address "http://localhost/a b": the request target has the byte 0x20; write it as %20`},
		{[]string{"http://localhost/#top"}, `address "http://localhost/#top": the request target has the byte 0x23; write it as %23`},
		{[]string{"http://a_-/"}, `address "http://a_-/": "a_-" is not a host name: a part between its dots begins or ends with a hyphen`},
		{[]string{"tcp://localhost:7/x"}, `address "tcp://localhost:7/x": "7/x" is not the name of a service over tcp; write a number from 0 to 65535 or a name from ` + services},
		{[]string{"unix:"}, `address "unix:": the path is empty; write unix:PATH, or unix:@NAME for an abstract socket`},
		{[]string{"unix:@"}, `address "unix:@": the abstract name is empty; write unix:@NAME`},
		{[]string{"unix://run/x"}, `address "unix://run/x": unix:// wants an absolute path; write unix:///PATH or "unix:run/x"`},
		{[]string{"unix:a\x00b"}, `address "unix:a\x00b": a Unix socket's path cannot hold a NUL byte`},

		// hostile text
		{[]string{"\x1bcred:7"}, `address "\x1bcred:7": "\x1bcred" is not a host name: it has the byte 0x1b`},
		{[]string{"a\nb"}, `address "a\nb": "a\nb" is not a host name: it has the byte 0x0a`},
	} {
		got, err := ParseAddress(tt.words...)
		if err == nil || err.Error() != tt.want {
			t.Errorf("ParseAddress(%q) = %+v, %v\nwant the error %s", tt.words, got, err, tt.want)
		}
		if got != (Address{}) {
			t.Errorf("ParseAddress(%q) = %+v beside an error", tt.words, got)
		}
	}
}

func TestUnixPathTooLong(t *testing.T) {
	t.Parallel()
	for _, path := range []string{strings.Repeat("p", maxUnixPath+1), "@" + strings.Repeat("p", maxUnixPath+1)} {
		_, err := ParseAddress("unix:" + path)
		if err == nil || !strings.Contains(err.Error(), "bytes is too long; the system takes") {
			t.Errorf("a path of %d bytes: %v", len(path), err)
		}
	}
}

func TestAddressSaysWhere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		word          string
		loopback, all bool
		hostPort      string
	}{
		{"7", true, false, "localhost:7"},
		{"LOCALHOST.:7", true, false, "localhost.:7"},
		{"127.9.9.9:7", true, false, "127.9.9.9:7"},
		{"[::1]:7", true, false, "[::1]:7"},
		{"[::ffff:127.0.0.1]:7", true, false, "127.0.0.1:7"},
		{"unix:/run/x", true, false, "/run/x"},
		{"udp://localhost:7", true, false, "localhost:7"},
		{":7", false, true, ":7"},
		{"0.0.0.0:7", false, true, "0.0.0.0:7"},
		{"[::]:7", false, true, "[::]:7"},
		{"10.0.0.1:7", false, false, "10.0.0.1:7"},
		{"localhost.example:7", false, false, "localhost.example:7"},
	} {
		a, err := ParseAddress(tt.word)
		if err != nil {
			t.Fatal(err)
		}
		if a.Loopback() != tt.loopback || a.All() != tt.all || a.HostPort() != tt.hostPort {
			t.Errorf("%s: Loopback %v, All %v, HostPort %q; want %v, %v, %q",
				tt.word, a.Loopback(), a.All(), a.HostPort(), tt.loopback, tt.all, tt.hostPort)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range [][2]string{
		{"localhost:7", ""},
		{"localhost", "7"},
		{"::1", "echo"},
		{"[fe80::1%eth0]:7", ""},
		{":7", ""},
		{"*", "0"},
		{"7", ""},
		{"tls://[::1]:7007", ""},
		{"unix:///run/x", ""},
		{"unix:@a", ""},
		{"unix:////", ""},
		{"http://h/?x", ""},
		{"https://[::ffff:1.2.3.4]", ""},
		{"\x1b]0;x\a:7", ""},
		{"::1:7", ""},
		{"[::1", ""},
		{"http://%:7", ""},
		{"a:b:c", "\n"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		words := []string{first}
		if second != "" {
			words = append(words, second)
		}
		a, err := ParseAddress(words...)
		if err != nil {
			if s := err.Error(); len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
				t.Errorf("%q: the error is not fit to show: %q", words, s)
			}
			return
		}
		if len(first)+len(second) > maxAddress {
			t.Errorf("%d bytes were taken", len(first)+len(second))
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("%q is %+v, printed %q, which is %+v, %v", words, a, a, again, err)
		}
	})
}
