package mail

import (
	"strconv"
	"strings"
)

// A reply is what a command is answered with. The zero reply is none.
type reply struct {
	code  int
	class string // enhanced status code (RFC 3463); empty: none
	text  string // lines, with "\n" between them
}

// appendTo appends the reply as it is sent.
func (r reply) appendTo(dst []byte) []byte {
	if r.code == 0 {
		return dst
	}
	rest, more := r.text, true
	for more {
		var line string
		line, rest, more = strings.Cut(rest, "\n")
		dst = r.appendLine(dst, line, more)
	}
	return dst
}

func (r reply) appendLine(dst []byte, text string, more bool) []byte {
	dst = strconv.AppendInt(dst, int64(r.code), 10)
	if more {
		dst = append(dst, '-')
	} else {
		dst = append(dst, ' ')
	}
	if r.class != "" {
		dst = append(append(dst, r.class...), ' ')
	}
	return append(append(dst, text...), "\r\n"...)
}

func (r reply) failed() bool { return r.code >= 400 }

// Replies that are given in more than one place. None of them repeats what a peer has
// said.
var (
	replyOK        = reply{code: 250, class: "2.0.0", text: "ok"}
	replySyntax    = reply{code: 501, class: "5.5.4", text: "that is not how this command is written"}
	replyUnknown   = reply{code: 500, class: "5.5.2", text: "there is no such command; HELP lists them"}
	replyBareLF    = reply{code: 500, class: "5.5.2", text: "a line ends in CR LF, not in LF alone"}
	replyLong      = reply{code: 500, class: "5.5.2", text: "that line is too long"}
	replyNoMore    = reply{code: 421, class: "4.7.0", text: "too many errors; closing"}
	replyTalkative = reply{code: 421, class: "4.7.0", text: "too many commands without a message; closing"}
	replyIdle      = reply{code: 421, class: "4.4.2", text: "nothing has come for too long; closing"}
	replySlow      = reply{code: 421, class: "4.4.2", text: "that comes too slowly; closing"}
	replyStopping  = reply{code: 421, class: "4.3.2", text: "the server is being stopped; closing"}
	replyForeign   = reply{code: 421, class: "4.7.0", text: "this is a mail server; closing"}
	replyBusy      = reply{code: 454, class: "4.7.0", text: "too many others begin TLS now; try again later"}
	replyEarly     = reply{code: 554, class: "5.5.0", text: "wait for the greeting; closing"}
	replyOnlyHere  = reply{code: 554, class: "5.7.1", text: "only programs on this host are served; closing"}
	replyFull      = reply{code: 452, class: "4.3.1", text: "there is not enough room for the message; try again later"}
	replyBroken    = reply{code: 451, class: "4.3.0", text: "the message can't be stored now; try again later"}
	replyTooLarge  = reply{code: 552, class: "5.3.4", text: "the message is longer than what EHLO says"}
	replyDisarray  = reply{code: 550, class: "5.6.0", text: "the message has a CR or LF that stands alone, or a NUL"}
	replyLongLine  = reply{code: 554, class: "5.6.0", text: "the message has a line that is too long"}
	replyLoop      = reply{code: 554, class: "5.4.6", text: "the message goes in circles: it has more than 50 Received lines"}
	replyNoRelay   = reply{code: 550, class: "5.7.1", text: "mail for that domain is not taken here"}
	replyNeedsUTF8 = reply{code: 553, class: "5.6.7", text: "that address needs SMTPUTF8 in the MAIL command"}
)
