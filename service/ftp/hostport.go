package ftp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Errors of what PORT, EPRT and EPSV say.
var (
	errHostPort = errors.New("ftp: not an address and a port")
	errProtocol = errors.New("ftp: not a version of IP that is known")
)

// parsePort reads the argument of PORT: h1,h2,h3,h4,p1,p2 (RFC 959 §5.3.2).
func parsePort(arg string) (netip.AddrPort, error) {
	words := strings.Split(arg, ",")
	if len(words) != 6 {
		return netip.AddrPort{}, errHostPort
	}
	var b [6]byte
	for i, w := range words {
		n, err := parseNumber(w, 3, 255)
		if err != nil {
			return netip.AddrPort{}, err
		}
		b[i] = byte(n)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), nil
}

// parseNumber reads a decimal number of digits only.
func parseNumber(s string, maxDigits, most int) (int, error) {
	if s == "" || len(s) > maxDigits || strings.Trim(s, "0123456789") != "" {
		return 0, errHostPort
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > most {
		return 0, errHostPort
	}
	return n, nil
}

// parseEPRT reads the argument of EPRT: a delimiter, and between delimiters a version of
// IP, an address and a port (RFC 2428 §2).
func parseEPRT(arg string) (netip.AddrPort, error) {
	if arg == "" || arg[0] < 33 || arg[0] > 126 {
		return netip.AddrPort{}, errHostPort
	}
	words := strings.Split(arg, arg[:1])
	if len(words) != 5 || words[0] != "" || words[4] != "" {
		return netip.AddrPort{}, errHostPort
	}
	version, host := words[1], words[2]
	if version != "1" && version != "2" {
		return netip.AddrPort{}, errProtocol
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || addr.Is4() != (version == "1") {
		return netip.AddrPort{}, errHostPort
	}
	port, err := parseNumber(words[3], 5, 65535)
	return netip.AddrPortFrom(addr, uint16(port)), err
}

// formatPASV returns what 227 says: h1,h2,h3,h4,p1,p2. ap has an IPv4 address.
func formatPASV(ap netip.AddrPort) string {
	a, p := ap.Addr().As4(), ap.Port()
	return fmt.Sprintf("%d,%d,%d,%d,%d,%d", a[0], a[1], a[2], a[3], p>>8, p&0xff)
}

// leastPort is the first port that is not a server's own. An FTP server calls no other
// (RFC 2577 §3).
const leastPort = 1024

// checkActive returns why a data connection to that address is refused to peer, and the
// zero reply if it is not (RFC 2577).
func checkActive(to, peer netip.AddrPort) reply {
	switch {
	case !samePlace(to.Addr(), peer.Addr()):
		return say(501, "A data connection goes to your own address only.")
	case to.Port() < leastPort:
		return sayf(504, "A data connection goes to ports from %d on only.", leastPort)
	}
	return reply{}
}

// samePlace reports whether two addresses are one host's.
func samePlace(a, b netip.Addr) bool {
	return a.IsValid() && a.Unmap().WithZone("") == b.Unmap().WithZone("")
}
