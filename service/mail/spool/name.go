package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// nameMax is the longest name of a mailbox in bytes. File systems allow 255; the
// rest is for what lock files append.
const nameMax = 160

// Name returns the name of the mailbox of the recipient local@domain; an empty
// domain leaves out that part, for those who are at home here. local is without
// quotes and may hold any bytes.
//
// The name is one element of a path on every system, and stays the same: letters
// A to Z become small, and all bytes but small letters, digits and "_-+=." are
// written as "%" and two hex digits. So are a "-" in front, a "." in front, at the end or
// before a final "lock", and the first letter of what Windows takes for a device. A
// name of more than 160 bytes is cut and ends in "~" and a hash of the whole of it.
// Different recipients have different names, unless they differ in case alone.
func Name(local, domain string) string {
	b := appendName(make([]byte, 0, nameMax), local)
	if len(b) == 0 {
		b = append(b, '%') // the local part ""; no other name is this one
	}
	if domain != "" {
		b = append(b, '@')
		b = appendName(b, domain)
	}
	return shorten(guardEnds(b))
}

func appendName(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("_-+=.", c) >= 0 {
			dst = append(dst, c)
		} else {
			dst = appendEscaped(dst, c)
		}
	}
	return dst
}

func appendEscaped(dst []byte, c byte) []byte {
	return hex.AppendEncode(append(dst, '%'), []byte{c})
}

// guardEnds escapes what has a meaning only where it stands.
func guardEnds(b []byte) []byte {
	if first, _, _ := strings.Cut(string(b), "."); b[0] == '.' || b[0] == '-' || isDevice(first) {
		b = slices.Concat(appendEscaped(nil, b[0]), b[1:])
	}
	if n := len(b) - 1; b[n] == '.' {
		b = appendEscaped(b[:n], '.')
	}
	if rest, ok := strings.CutSuffix(string(b), ".lock"); ok {
		b = append(appendEscaped([]byte(rest), '.'), "lock"...)
	}
	return b
}

// isDevice reports whether Windows takes a file of that name, whatever comes behind a
// dot, for a device.
func isDevice(s string) bool {
	switch s {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(s) == 4 && (s[:3] == "com" || s[:3] == "lpt") && '0' <= s[3] && s[3] <= '9'
}

func shorten(b []byte) string {
	if len(b) <= nameMax {
		return string(b)
	}
	const digits = 32
	sum := sha256.Sum256(b)
	cut := nameMax - 1 - digits
	for i := range 2 { // not within an escape
		if b[cut-1-i] == '%' {
			cut -= 1 + i
			break
		}
	}
	return string(b[:cut]) + "~" + hex.EncodeToString(sum[:])[:digits]
}

// Address returns the recipient that the name of a mailbox stands for, as Name was
// given it, or name itself if Name has not made it or has cut it. It is the peer's text:
// escape it before showing.
func Address(name string) string {
	if name == "" || strings.Contains(name, "~") {
		return name
	}
	local, domain, has := strings.Cut(name, "@")
	if local == "%" {
		local = ""
	}
	l, okLocal := unescape(local)
	d, okDomain := unescape(domain)
	switch {
	case !okLocal || !okDomain:
		return name
	case has:
		return l + "@" + d
	}
	return l
}

func unescape(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		b, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", false
		}
		out = append(out, b[0])
		i += 2
	}
	return string(out), true
}
