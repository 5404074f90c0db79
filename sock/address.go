package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"yodel/internal/escape"
)

// maxAddress is the length in bytes of the longest text that ParseAddress reads.
const maxAddress = 1024

// maxUnixPath is the longest path that fits a sockaddr_un together with the zero
// byte that ends it: 107 bytes on Linux (unix(7)) and Windows, 103 on macOS.
const maxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// An Address is where to listen or what to dial, before any name is looked up.
// ParseAddress makes one from text. Addresses compare with ==.
type Address struct {
	// Network is "tcp", "udp", "tls", "unix", "http" or "https".
	Network string

	// Host is a host name in lower case, or an IP address without brackets,
	// 4-in-6 unmapped, with its zone ("fe80::1%eth0"). Empty means all
	// interfaces; for "unix" it is always empty.
	Host string

	// Port is the port; 0 asks for any free one. For "unix" it is always 0.
	Port uint16

	// Path is the file of a Unix socket, "@name" for an abstract one; any byte
	// but NUL may be in it, so escape it before showing it. For "http" and
	// "https" it is the request target: empty, or with a slash in front.
	Path string
}

// ParseAddress reads an address from one word, or from the two words HOST PORT.
// One word is
//
//	HOST:PORT
//	[IPV6]:PORT       also with a zone: [fe80::1%eth0]:7
//	:PORT or *:PORT   all interfaces
//	PORT              loopback: the host is "localhost"
//	unix:PATH         a Unix socket; also unix:///PATH
//	unix:@NAME        an abstract one (Linux)
//
// PORT is a number from 0 to 65535 or the name of a service (see [ServicePort]).
// All but the Unix forms may begin with tcp://, udp://, tls://, http:// or
// https://; without, it is tcp. The last two default to the ports 80 and 443 and
// may end in a request target. As the first of two words, an IPv6 address may go
// without brackets.
//
// Only the service is looked up, not the host. The error quotes what was given,
// escaped, and says what to write instead.
func ParseAddress(words ...string) (Address, error) {
	total := 0
	for _, w := range words {
		total += len(w)
	}
	if total > maxAddress {
		return Address{}, fmt.Errorf("address of %d bytes: the longest is %d", total, maxAddress)
	}
	a, err := parseWords(words)
	if err != nil {
		return Address{}, fmt.Errorf("address %s: %w", quote(strings.Join(words, " ")), err)
	}
	return a, nil
}

// String returns the shortest form that ParseAddress reads as the same Address.
// The path of a Unix socket is not escaped in it.
func (a Address) String() string {
	switch {
	case a.Network == "unix" && strings.HasPrefix(a.Path, "//"):
		return "unix://" + a.Path
	case a.Network == "unix":
		return "unix:" + a.Path
	case a.Network == "tcp" || a.Network == "":
		return a.HostPort()
	}
	return a.Network + "://" + a.HostPort() + a.Path
}

// HostPort returns host and port as package net writes them, for example
// "[::1]:7", or ":7" for all interfaces; for "unix" it returns the path.
func (a Address) HostPort() string {
	if a.Network == "unix" {
		return a.Path
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

// Loopback reports whether the address surely stays on this host: 127.0.0.0/8,
// ::1, the name localhost (RFC 6761 §6.3) and Unix sockets. Other names may lead
// here too; they are not looked up.
func (a Address) Loopback() bool {
	if a.Network == "unix" {
		return true
	}
	ip, err := netip.ParseAddr(a.Host)
	if err != nil {
		return a.Host == "localhost" || a.Host == "localhost."
	}
	return ip.Unmap().IsLoopback()
}

// All reports whether the address stands for all interfaces: no host, 0.0.0.0 or
// ::.
func (a Address) All() bool {
	if a.Network == "unix" {
		return false
	}
	ip, err := netip.ParseAddr(a.Host)
	return a.Host == "" || err == nil && ip.Unmap().IsUnspecified()
}

// quote shows text that was given: escaped, and not more of it than a line holds.
func quote(s string) string { return `"` + escape.StringN(s, 80) + `"` }

func parseWords(words []string) (Address, error) {
	if len(words) != 1 && len(words) != 2 {
		return Address{}, fmt.Errorf("it has %d words; write HOST:PORT or HOST PORT", len(words))
	}
	if path, ok := cutPrefixFold(words[0], "unix:"); ok {
		if len(words) == 2 {
			return Address{}, errors.New("a Unix socket is one word; write unix:PATH")
		}
		path, err := parseUnixPath(path)
		return Address{Network: "unix", Path: path}, err
	}
	network, rest, err := cutNetwork(words[0])
	if err != nil {
		return Address{}, err
	}
	a := Address{Network: network}
	if len(words) == 2 {
		err = a.parseHostPort(rest, words[1])
	} else {
		err = a.parseOne(rest)
	}
	return a, err
}

func cutPrefixFold(s, prefix string) (after string, found bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func parseUnixPath(path string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		if !strings.HasPrefix(rest, "/") {
			return "", fmt.Errorf("unix:// wants an absolute path; write unix:///PATH or %s", quote("unix:"+rest))
		}
		path = rest
	}
	most := maxUnixPath
	if strings.HasPrefix(path, "@") {
		most++ // an abstract name needs no zero byte to end it
	}
	switch {
	case path == "":
		return "", errors.New("the path is empty; write unix:PATH, or unix:@NAME for an abstract socket")
	case path == "@":
		return "", errors.New("the abstract name is empty; write unix:@NAME")
	case strings.Contains(path, "\x00"):
		return "", errors.New("a Unix socket's path cannot hold a NUL byte")
	case len(path) > most:
		return "", fmt.Errorf("a Unix socket's path of %d bytes is too long; the system takes %d: try a relative path", len(path), most)
	}
	return path, nil
}

// cutNetwork takes the part before "://" off; without one it is tcp.
func cutNetwork(word string) (network, rest string, err error) {
	scheme, rest, ok := strings.Cut(word, "://")
	if !ok {
		return "tcp", word, nil
	}
	if !isNetwork(scheme) {
		return "", "", fmt.Errorf("%s is not a known scheme; write one of tcp://, udp://, tls://, http://, https:// and unix: in front", quote(scheme))
	}
	return strings.ToLower(scheme), rest, nil
}

func isNetwork(scheme string) bool {
	switch strings.ToLower(scheme) {
	case "tcp", "udp", "tls", "http", "https":
		return true
	}
	return false
}

// parseOne reads what follows the scheme when there is only one word.
func (a *Address) parseOne(rest string) error {
	if a.isHTTP() {
		var err error
		if rest, a.Path, err = cutTarget(rest); err != nil {
			return err
		}
	}
	switch colons := strings.Count(rest, ":"); {
	case strings.HasPrefix(rest, "["):
		return a.parseBracketed(rest)
	case colons == 0:
		return a.parseLone(rest)
	case colons == 1:
		host, port, _ := strings.Cut(rest, ":")
		if host == "" {
			host = "*"
		}
		return a.parseHostPort(host, port)
	}
	return tooManyColons(rest)
}

func (a *Address) isHTTP() bool { return a.Network == "http" || a.Network == "https" }

// cutTarget cuts an HTTP request target off. A byte that could end the request
// line, or that RFC 3986 keeps out of a URI, is refused.
func cutTarget(s string) (rest, target string, err error) {
	at := strings.IndexByte(s, '/')
	if at < 0 {
		return s, "", nil
	}
	for _, b := range []byte(s[at:]) {
		if b <= ' ' || b >= 0x7f || b == '#' {
			return "", "", fmt.Errorf("the request target has the byte 0x%02x; write it as %%%02X", b, b)
		}
	}
	return s[:at], s[at:], nil
}

// parseBracketed reads "[IPV6]:PORT"; for HTTP the port may be missing.
func (a *Address) parseBracketed(s string) error {
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return errors.New("the bracket is not closed; write [IPV6]:PORT")
	}
	host, after := s[:end+1], s[end+1:]
	if after == "" {
		return a.parseHostOnly(host)
	}
	port, ok := strings.CutPrefix(after, ":")
	if !ok {
		return fmt.Errorf("after the bracket comes %s; write %s:PORT", quote(after), escape.String(host))
	}
	return a.parseHostPort(host, port)
}

// parseLone reads a word without a colon: a port, or for HTTP a host.
func (a *Address) parseLone(s string) error {
	if s == "" {
		return errors.New("it is empty; write HOST:PORT, :PORT for all interfaces, or PORT for loopback")
	}
	if a.isHTTP() && !isNumber(s) {
		return a.parseHostOnly(s)
	}
	port, err := parsePort(a.Network, s)
	if err == nil || isNumber(s) {
		a.Host, a.Port = "localhost", port
		return err
	}
	return a.parseHostOnly(s)
}

// parseHostOnly reads a host that no port follows, which is enough only for HTTP.
func (a *Address) parseHostOnly(host string) error {
	var err error
	if a.Host, err = parseHost(host); err != nil {
		return err
	}
	switch a.Network {
	case "http":
		a.Port = 80
	case "https":
		a.Port = 443
	default:
		return fmt.Errorf("it names no port; write %s:PORT", escape.String(host))
	}
	return nil
}

func (a *Address) parseHostPort(host, port string) error {
	var err error
	if a.Host, err = parseHost(host); err != nil {
		return err
	}
	a.Port, err = parsePort(a.Network, port)
	return err
}

// parseHost reads a name or an IP address; "*" is all interfaces. Brackets stand
// around an IPv6 address only.
func parseHost(host string) (string, error) {
	switch {
	case host == "":
		return "", errors.New("the host is empty; write localhost, or * for all interfaces")
	case host == "*":
		return "", nil
	case host[0] == '[' && host[len(host)-1] == ']':
		return parseIPv6(host[1 : len(host)-1])
	case strings.ContainsAny(host, ":[]"):
		return parseIPv6(host)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String(), nil
	}
	if fault := nameFault(host); fault != "" {
		return "", fmt.Errorf("%s is not a host name: %s", quote(host), fault)
	}
	return strings.ToLower(host), nil
}

func parseIPv6(s string) (string, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is6() {
		return "", fmt.Errorf("%s is not an IPv6 address; a name or an IPv4 address goes without brackets and colons", quote(s))
	}
	return ip.Unmap().String(), checkZone(ip.Zone())
}

// checkZone refuses what cannot be an interface's name and would not survive
// inside brackets.
func checkZone(zone string) error {
	for _, b := range []byte(zone) {
		if b < ' ' || b >= 0x7f || b == ']' || b == '/' || b == '%' {
			return fmt.Errorf("%s is not the name of an interface; write the name, or its number, after the %%", quote(zone))
		}
	}
	return nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parsePort reads a number or the name of a service.
func parsePort(network, s string) (uint16, error) {
	if s == "" {
		return 0, errors.New("the port is empty; write a number from 0 to 65535 or the name of a service")
	}
	if !isNumber(s) {
		return ServicePort(network, s)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %s is out of range; write a number from 0 to 65535", quote(s))
	}
	return uint16(n), nil
}

// tooManyColons says what was most likely meant: an IPv6 address without its
// brackets, or a scheme without its slashes.
func tooManyColons(s string) error {
	if scheme, rest, _ := strings.Cut(s, ":"); isNetwork(scheme) {
		return fmt.Errorf("it has too many colons; write %s://%s", scheme, escape.String(rest))
	}
	var instead []string
	last := strings.LastIndexByte(s, ':')
	if isIPv6(s[:last]) && s[last+1:] != "" {
		instead = append(instead, "["+escape.String(s[:last])+"]:"+escape.String(s[last+1:]))
	}
	if isIPv6(s) {
		instead = append(instead, "["+escape.String(s)+"]:PORT")
	}
	if instead == nil {
		return errors.New("it has too many colons; write HOST:PORT, with an IPv6 HOST in brackets")
	}
	return fmt.Errorf("an IPv6 address needs brackets; write %s", strings.Join(instead, " or "))
}

func isIPv6(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Is6()
}
