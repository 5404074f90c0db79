package mail

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pathMax is the longest path in bytes, its < and > included (RFC 5321, 4.5.3.1.3);
// domainMax the longest domain, labelMax the longest part of one (RFC 1035, 2.3.4).
const (
	pathMax   = 256
	domainMax = 255
	labelMax  = 63
)

// errPath reports what is no path. It says how to write one.
var errPath = errors.New("write the address as <name@example.org>")

// A path is the address in MAIL or RCPT (RFC 5321, 4.1.2). Neither local nor domain is
// set for <>; a path without a domain, such as <Postmaster>, has only local.
type path struct {
	local   string     // without quotes; any byte but CR, LF, NUL and other controls
	domain  string     // as it was written; empty with literal
	literal netip.Addr // of [192.0.2.1] and [IPv6:2001:db8::1]
	quoted  bool       // local needs quotes
}

// isNull reports whether p is <>, from which bounces come.
func (p path) isNull() bool {
	return p.local == "" && p.domain == "" && !p.literal.IsValid() && !p.quoted
}

// String returns p as it is written between < and >, without a source route.
func (p path) String() string {
	local := p.local
	if p.quoted {
		local = quote(local)
	}
	switch {
	case p.literal.Is6():
		return local + "@[IPv6:" + p.literal.String() + "]"
	case p.literal.IsValid():
		return local + "@[" + p.literal.String() + "]"
	case p.domain != "":
		return local + "@" + p.domain
	}
	return local
}

func quote(local string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

// isASCII reports whether p can be used without SMTPUTF8.
func (p path) isASCII() bool { return isASCII(p.local) && isASCII(p.domain) }

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// parsePath reads a path at the beginning of in, and returns what follows it. A source
// route is read and thrown away (RFC 5321, appendix F.2).
func parsePath(in []byte) (p path, rest []byte, err error) {
	rest, ok := bytes.CutPrefix(in, []byte("<"))
	if !ok || !utf8.Valid(in) {
		return path{}, nil, errPath
	}
	if rest, err = skipRoute(rest); err != nil {
		return path{}, nil, err
	}
	if after, ok := bytes.CutPrefix(rest, []byte(">")); ok && len(in)-len(after) == len("<>") {
		return path{}, after, nil
	}
	if rest, err = p.parseMailbox(rest); err != nil {
		return path{}, nil, err
	}
	rest, ok = bytes.CutPrefix(rest, []byte(">"))
	if !ok || len(in)-len(rest) > pathMax {
		return path{}, nil, errPath
	}
	return p, rest, nil
}

// skipRoute skips "@one,@two:".
func skipRoute(in []byte) (rest []byte, err error) {
	if !bytes.HasPrefix(in, []byte("@")) {
		return in, nil
	}
	for {
		rest, ok := bytes.CutPrefix(in, []byte("@"))
		if !ok {
			return nil, errPath
		}
		if rest, err = parseHost(rest); err != nil {
			return nil, err
		}
		if after, ok := bytes.CutPrefix(rest, []byte(":")); ok {
			return after, nil
		}
		if in, ok = bytes.CutPrefix(rest, []byte(",")); !ok {
			return nil, errPath
		}
	}
}

// parseMailbox reads local@domain, or local alone.
func (p *path) parseMailbox(in []byte) (rest []byte, err error) {
	if bytes.HasPrefix(in, []byte(`"`)) {
		rest, err = p.parseQuoted(in[1:])
	} else {
		rest, err = p.parseDotString(in)
	}
	if err != nil {
		return nil, err
	}
	after, ok := bytes.CutPrefix(rest, []byte("@"))
	if !ok {
		return rest, nil
	}
	if bytes.HasPrefix(after, []byte("[")) {
		p.literal, rest, err = parseLiteral(after[1:])
		return rest, err
	}
	rest, err = parseDomain(after, true)
	p.domain = string(after[:len(after)-len(rest)])
	return rest, err
}

// parseDotString reads atoms with dots between them.
func (p *path) parseDotString(in []byte) (rest []byte, err error) {
	n := 0
	for n < len(in) {
		size := atext(in[n:])
		if size == 0 {
			break
		}
		n += size
	}
	p.local = string(in[:n])
	if !isDotString(p.local) {
		return nil, errPath
	}
	return in[n:], nil
}

// isDotString reports whether dots stand only between other characters.
func isDotString(s string) bool {
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

// atext returns the length of the character at the beginning of in, if it may stand in an
// atom or is a dot; else 0.
func atext(in []byte) int {
	c := in[0]
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return 1
	case strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0:
		return 1
	}
	return beyondASCII(in)
}

// beyondASCII returns the length of the character at the beginning of in, if it is not
// ASCII and may stand in an address (RFC 6531, 3.3); else 0. Controls and what reorders
// text may not.
func beyondASCII(in []byte) int {
	r, size := utf8.DecodeRune(in)
	if r < utf8.RuneSelf || r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
		return 0
	}
	return size
}

// parseQuoted reads up to the closing quote.
func (p *path) parseQuoted(in []byte) (rest []byte, err error) {
	var local []byte
	for len(in) > 0 {
		size := qtext(in)
		switch {
		case in[0] == '"':
			p.local = string(local)
			p.quoted = !isDotString(p.local) || strings.ContainsFunc(p.local, isSpecial)
			return in[1:], nil
		case in[0] == '\\' && len(in) > 1 && ' ' <= in[1] && in[1] <= '~':
			in, size = in[1:], 1
		case size == 0:
			return nil, errPath
		}
		local = append(local, in[:size]...)
		in = in[size:]
	}
	return nil, errPath
}

// qtext returns the length of the character at the beginning of in, if it may stand in
// quotes as it is; else 0.
func qtext(in []byte) int {
	if c := in[0]; c < utf8.RuneSelf {
		if ' ' <= c && c <= '~' && c != '"' && c != '\\' {
			return 1
		}
		return 0
	}
	return beyondASCII(in)
}

// isSpecial reports whether r can't stand in an atom.
func isSpecial(r rune) bool { return r < utf8.RuneSelf && atext([]byte{byte(r)}) == 0 }

// parseHost reads a domain or an address literal.
func parseHost(in []byte) (rest []byte, err error) {
	if bytes.HasPrefix(in, []byte("[")) {
		_, rest, err = parseLiteral(in[1:])
		return rest, err
	}
	return parseDomain(in, true)
}

// parseDomain reads a domain: labels of letters, digits, and within them "-" and "_",
// which the RFCs do not have and the world does; with beyond also of characters beyond ASCII.
func parseDomain(in []byte, beyond bool) (rest []byte, err error) {
	n := 0
	for n < len(in) {
		size := ldh(in[n:], beyond)
		if size == 0 {
			break
		}
		n += size
	}
	if n > domainMax || !areLabels(in[:n]) {
		return nil, errPath
	}
	return in[n:], nil
}

func ldh(in []byte, beyond bool) int {
	c := in[0]
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		return 1
	case beyond:
		return beyondASCII(in)
	}
	return 0
}

func areLabels(domain []byte) bool {
	for label := range bytes.SplitSeq(domain, []byte(".")) {
		if len(label) == 0 || len(label) > labelMax || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// isDomain reports whether s is a domain, of any characters.
func isDomain(s string) bool {
	rest, err := parseDomain([]byte(s), true)
	return err == nil && len(rest) == 0
}

// parseLiteral reads an address literal behind its "[" (RFC 5321, 4.1.3).
func parseLiteral(in []byte) (addr netip.Addr, rest []byte, err error) {
	text, rest, ok := bytes.Cut(in, []byte("]"))
	if !ok {
		return netip.Addr{}, nil, errPath
	}
	const tag = "IPv6:"
	six := len(text) > len(tag) && bytes.EqualFold(text[:len(tag)], []byte(tag))
	if six {
		text = text[len(tag):]
	}
	addr, err = netip.ParseAddr(string(text))
	if err != nil || addr.Is6() != six || addr.Zone() != "" {
		return netip.Addr{}, nil, errPath
	}
	return addr, rest, nil
}
