package sock

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// Bounds on the services file, well above what systems ship.
const (
	maxServices    = 100_000 // lines read; what follows is ignored
	maxServiceLine = 1024    // bytes; a longer line is skipped
)

// ServicePort returns the port that a service has over a network, as
// getservbyname(3) does: "echo" over "tcp" is 7. The network is "udp" for
// datagrams; every other one of an [Address] runs over TCP. The case of the name
// does not matter and an alias will do. A number is not a name.
//
// Names come from the system's services(5) file, which is read once, at the first
// call. Where it is missing, or does not have a name, a small table of the
// well-known services stands in.
func ServicePort(network, name string) (uint16, error) {
	return systemServices().port(network, name)
}

// ServiceName returns the name of the service that has a port over a network, as
// getservbyport(3) does, and "" if there is none. See [ServicePort].
func ServiceName(network string, port uint16) string {
	return systemServices().name(network, port)
}

var systemServices = sync.OnceValue(func() *services {
	return loadServices(servicesPath(runtime.GOOS))
})

// servicesPath returns where services(5) is on an operating system.
func servicesPath(goos string) string {
	if goos == "windows" {
		return filepath.Join(os.Getenv("SystemRoot"), "System32", "drivers", "etc", "services")
	}
	return "/etc/services"
}

// wellKnown has the services that this program speaks, or speaks of (IANA, and
// RFC 862 to 868 for the small ones).
const wellKnown = `
echo      7/tcp
echo      7/udp
discard   9/tcp   sink null
discard   9/udp   sink null
daytime   13/tcp
daytime   13/udp
qotd      17/tcp  quote
qotd      17/udp  quote
chargen   19/tcp  ttytst source
chargen   19/udp  ttytst source
ftp-data  20/tcp
ftp       21/tcp
ssh       22/tcp
telnet    23/tcp
smtp      25/tcp  mail
time      37/tcp  timserver
time      37/udp  timserver
domain    53/tcp
domain    53/udp
http      80/tcp  www
pop3      110/tcp pop-3
imap2     143/tcp imap
https     443/tcp
https     443/udp
submissions 465/tcp ssmtp smtps
submission  587/tcp
ftps-data 989/tcp
ftps      990/tcp
telnets   992/tcp
imaps     993/tcp
pop3s     995/tcp
`

// services is what a services file says. It is not changed once it is made.
type services struct {
	path  string
	ports map[service]uint16
	names map[endpoint]string
}

// service is a name in lower case, over "tcp" or "udp".
type service struct{ protocol, name string }

// endpoint is a port over "tcp" or "udp".
type endpoint struct {
	protocol string
	port     uint16
}

// loadServices reads the file at path, if it is there, and then the built-in
// table for what the file does not have.
func loadServices(path string) *services {
	s := &services{path: path, ports: map[service]uint16{}, names: map[endpoint]string{}}
	if f, err := os.Open(path); err == nil {
		defer f.Close()
		s.read(f)
	}
	s.read(strings.NewReader(wellKnown))
	return s
}

// read adds the lines of r. What came first stays, as in getservbyname(3). A line
// that cannot be understood is skipped: one bad line must not take the others
// away.
func (s *services) read(r io.Reader) {
	lines := bufio.NewReaderSize(r, maxServiceLine)
	for range maxServices {
		line, long, err := lines.ReadLine()
		if !long {
			s.add(string(line))
		}
		for long && err == nil {
			_, long, err = lines.ReadLine()
		}
		if err != nil {
			return
		}
	}
}

// add reads one line: name, port/protocol, aliases, and a comment after "#".
func (s *services) add(line string) {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return
	}
	number, protocol, _ := strings.Cut(fields[1], "/")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || protocol != "tcp" && protocol != "udp" {
		return
	}
	names := append(fields[:1], fields[2:]...)
	for _, name := range names {
		s.addName(protocol, name, uint16(port))
	}
}

func (s *services) addName(protocol, name string, port uint16) {
	if !isServiceName(name) {
		return
	}
	byName := service{protocol, strings.ToLower(name)}
	if _, ok := s.ports[byName]; !ok {
		s.ports[byName] = port
	}
	byPort := endpoint{protocol, port}
	if _, ok := s.names[byPort]; !ok {
		s.names[byPort] = name
	}
}

// isServiceName reports whether name is printable ASCII with something in it that
// is no digit (RFC 6335 §5.1 asks for a letter), so that a name is never taken for
// a number and is safe to show.
func isServiceName(name string) bool {
	for _, b := range []byte(name) {
		if b <= ' ' || b >= 0x7f {
			return false
		}
	}
	return !isNumber(name)
}

func (s *services) port(network, name string) (uint16, error) {
	protocol, other := "tcp", "udp"
	if network == "udp" {
		protocol, other = other, protocol
	}
	name = strings.ToLower(name)
	if port, ok := s.ports[service{protocol, name}]; ok {
		return port, nil
	}
	if port, ok := s.ports[service{other, name}]; ok {
		return 0, fmt.Errorf("%s is a service over %s, not over %s; write its number, %d, if you mean that port", quote(name), other, protocol, port)
	}
	return 0, fmt.Errorf("%s is not the name of a service over %s; write a number from 0 to 65535 or a name from %s", quote(name), protocol, s.path)
}

func (s *services) name(network string, port uint16) string {
	if network != "udp" {
		network = "tcp"
	}
	return s.names[endpoint{network, port}]
}
