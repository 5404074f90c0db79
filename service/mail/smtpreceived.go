package mail

import (
	"net/netip"
	"strings"
	"time"
)

// trace returns the lines that go in front of a message (RFC 5321, 4.4): where bounces
// go, and whence it came. All that a peer has said is of a grammar without ends of
// lines, and short. from is not valid where the peer has no address.
func (s *session) trace(from netip.Addr, id string, now time.Time) string {
	var b strings.Builder
	b.WriteString("Return-Path: <" + s.from.String() + ">\n")
	b.WriteString("Received: from " + s.helo)
	if from.IsValid() {
		b.WriteString(" (" + literal(from) + ")")
	}
	b.WriteString("\n\tby " + s.hostname + " with " + s.protocol())
	if s.tls != "" {
		b.WriteString(" (" + s.tls + ")")
	}
	b.WriteString("\n\tid " + id)
	if len(s.boxes) == 1 { // more than one would tell each of the others
		b.WriteString("\n\tfor <" + s.to.String() + ">")
	}
	b.WriteString(";\n\t" + now.UTC().Format(time.RFC1123Z) + "\n")
	return b.String()
}

func literal(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.String() + "]"
}

// protocol returns the keyword for how the message came (RFC 3848; RFC 6531, 4.3).
func (s *session) protocol() string {
	name := "SMTP"
	switch {
	case s.utf8:
		name = "UTF8SMTP"
	case s.extended:
		name = "ESMTP"
	}
	if s.tls != "" && s.extended {
		name += "S"
	}
	return name
}
