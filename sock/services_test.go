package sock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// servicesFile returns what a services file with the given text says.
func servicesFile(t *testing.T, text string) *services {
	t.Helper()
	path := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadServices(path)
}

func TestServicesFile(t *testing.T) {
	t.Parallel()
	s := servicesFile(t, strings.Join([]string{
		"# a comment",
		"",
		"   \t ",
		"echo\t7777/tcp\tEcho-Alias\t# the file comes before the built-in table",
		"echo 8888/tcp # the first line wins",
		"indented-udp 9999/udp",
		"two 2/tcp second",
		"deux 2/tcp",
		"sctp-only 3/sctp",
		"no-slash 4",
		"lonely",
		"big 65536/tcp",
		"negative -1/tcp",
		"12345 5/tcp digits-have-an-alias",
		"esc\x1b[31m 6/tcp",
		"long" + strings.Repeat("g", 3*maxServiceLine) + " 6/tcp",
		"after-long 66/tcp",
		"UPPER 10/tcp",
		"last 11/tcp", // no newline
	}, "\n"))
	for _, tt := range []struct {
		network, name string
		want          uint16 // 0: an error
	}{
		{"tcp", "echo", 7777},
		{"tls", "ECHO", 7777},
		{"tcp", "echo-alias", 7777},
		{"udp", "echo", 7}, // from the built-in table
		{"udp", "indented-udp", 9999},
		{"tcp", "indented-udp", 0},
		{"tcp", "deux", 2},
		{"http", "upper", 10},
		{"tcp", "last", 11},
		{"tcp", "after-long", 66},
		{"tcp", "digits-have-an-alias", 5},
		{"tcp", "12345", 0},
		{"tcp", "sctp-only", 0},
		{"tcp", "no-slash", 0},
		{"tcp", "lonely", 0},
		{"tcp", "big", 0},
		{"tcp", "negative", 0},
		{"tcp", "esc\x1b[31m", 0},
		{"tcp", "", 0},
	} {
		got, err := s.port(tt.network, tt.name)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("the port of %q over %s is %d, %v; want %d", tt.name, tt.network, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		network string
		port    uint16
		want    string
	}{
		{"tcp", 7777, "echo"},
		{"tcp", 7, "echo"},
		{"tls", 10, "UPPER"},
		{"tcp", 2, "two"},
		{"udp", 9999, "indented-udp"},
		{"tcp", 9999, ""},
		{"tcp", 6, ""},
	} {
		if got := s.name(tt.network, tt.port); got != tt.want {
			t.Errorf("port %d over %s is %q, want %q", tt.port, tt.network, got, tt.want)
		}
	}
}

func TestServicesWithoutFile(t *testing.T) {
	t.Parallel()
	s := loadServices(filepath.Join(t.TempDir(), "missing"))
	for name, want := range map[string]uint16{
		"echo": 7, "discard": 9, "daytime": 13, "qotd": 17, "chargen": 19, "ftp-data": 20, "ftp": 21, "ssh": 22,
		"telnet": 23, "smtp": 25, "mail": 25, "time": 37, "domain": 53, "http": 80, "www": 80, "https": 443,
	} {
		if got, err := s.port("tcp", name); got != want || err != nil {
			t.Errorf("%s is %d, %v; want %d", name, got, err, want)
		}
	}
	if got := s.name("udp", 37); got != "time" {
		t.Errorf("37/udp is %q, want time", got)
	}
	if _, err := s.port("udp", "mail"); err == nil || !strings.Contains(err.Error(), "over tcp, not over udp; write its number, 25") {
		t.Errorf("mail over UDP: %v", err)
	}
}

func TestServicesFileIsBounded(t *testing.T) {
	t.Parallel()
	s := servicesFile(t, strings.Repeat("#\n", maxServices-1)+"last 1/tcp\nbeyond 2/tcp\n")
	if _, err := s.port("tcp", "last"); err != nil {
		t.Error(err)
	}
	if _, err := s.port("tcp", "beyond"); err == nil {
		t.Error("a line beyond the bound was read")
	}
}

// The system's own file, or the table in its place, has what the lecture names.
func TestSystemServices(t *testing.T) {
	t.Parallel()
	if port, err := ServicePort("tcp", "echo"); port != 7 || err != nil {
		t.Errorf("echo is %d, %v", port, err)
	}
	if name := ServiceName("tcp", 25); name != "smtp" {
		t.Errorf("port 25 is %q", name)
	}
}

func TestServicesPath(t *testing.T) {
	t.Setenv("SystemRoot", "root")
	if got, want := servicesPath("windows"), filepath.Join("root", "System32", "drivers", "etc", "services"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := servicesPath("linux"), "/etc/services"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzServices(f *testing.F) {
	f.Add([]byte(wellKnown))
	f.Add([]byte("a 1/tcp b c # d\n\x00 2/udp\n3 3/tcp\ne 99999/tcp"))
	f.Add([]byte("# " + strings.Repeat("x", 2*maxServiceLine) + "\r\nq 17/udp\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &services{ports: map[service]uint16{}, names: map[endpoint]string{}}
		s.read(strings.NewReader(string(text)))
		for k, port := range s.ports {
			if got, err := s.port(k.protocol, k.name); err != nil || got != port {
				t.Errorf("%v is %d, then %d, %v", k, port, got, err)
			}
			if s.name(k.protocol, port) == "" {
				t.Errorf("%v has the port %d, which has no name", k, port)
			}
		}
		for k, name := range s.names {
			if got, err := s.port(k.protocol, name); err != nil {
				t.Errorf("%v is called %q, which is %d, %v", k, name, got, err)
			}
			if !isServiceName(name) || len(name) > maxServiceLine {
				t.Errorf("%v has the name %q", k, name)
			}
		}
	})
}
