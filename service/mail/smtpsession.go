package mail

import (
	"net/netip"
	"strconv"
	"strings"

	"yodel/service/mail/spool"
)

// policy is what sessions go by. It is never written to after New.
type policy struct {
	hostname      string
	domains       map[string]bool // in ASCII
	acceptAll     bool
	maxSize       int64 // 0: no bound
	maxRecipients int
	maxErrors     int // 0: no bound
	maxCommands   int // 0: no bound
	offersTLS     bool

	hasRoom func() bool            // for the largest message
	check   func(box string) error // whether there may be such a mailbox
}

// state is where a session stands (RFC 5321, 4.1.4). They are bits, so that a verb can
// say in which of them it may come.
type state uint8

const (
	fresh   state = 1 << iota // nothing was said yet
	greeted                   // HELO or EHLO
	inMail                    // MAIL
	inRcpt                    // MAIL and at least one RCPT

	anyTime = fresh | greeted | inMail | inRcpt
)

// action is what a command makes the connection do when its reply is on the way.
type action uint8

const (
	goOn        action = iota
	readMessage        // DATA: what comes is a message
	startTLS
	hangUp // the conversation is over
)

// session is what a peer has said so far. It does no I/O.
type session struct {
	*policy
	here netip.Addr // our address, as the peer called it; not valid if there is none
	tls  string     // version and cipher suite; empty without TLS

	state    state
	helo     string
	extended bool // by EHLO
	errors   int  // since the last message
	commands int

	from  path
	utf8  bool // SMTPUTF8 was asked for
	to    path // the last recipient
	boxes []string
}

// verb is a command, and when it may come.
type verb struct {
	name string
	in   state
	do   func(*session, []byte) (reply, action)
}

// verbs returns all commands.
func verbs() []verb {
	return []verb{
		{"HELO", anyTime, (*session).doHelo},
		{"EHLO", anyTime, (*session).doEhlo},
		{"MAIL", greeted, (*session).doMail},
		{"RCPT", inMail | inRcpt, (*session).doRcpt},
		{"DATA", inRcpt, (*session).doData},
		{"RSET", anyTime, (*session).doRset},
		{"NOOP", anyTime, (*session).doNoop},
		{"QUIT", anyTime, (*session).doQuit},
		{"HELP", anyTime, (*session).doHelp},
		{"VRFY", anyTime, (*session).doVrfy},
		{"EXPN", anyTime, (*session).doExpn},
		{"STARTTLS", greeted, (*session).doStartTLS},
		{"BDAT", anyTime, (*session).doBdat},
	}
}

var verbTable = verbs() // never written to

func findVerb(name string) *verb {
	for i := range verbTable {
		if verbTable[i].name == name {
			return &verbTable[i]
		}
	}
	return nil
}

// hear answers one command line, without its newline.
func (s *session) hear(line []byte) (reply, action) {
	name, args := parseCommand(line)
	if isWeb(name) {
		return replyForeign, hangUp
	}
	v := findVerb(name)
	switch {
	case v == nil:
		return s.count(replyUnknown, goOn)
	case v.in&s.state == 0:
		return s.count(s.outOfTurn(), goOn)
	}
	return s.count(v.do(s, args))
}

// count counts a command, and ends the session if there were too many, or too many that
// failed.
func (s *session) count(r reply, a action) (reply, action) {
	s.commands++
	if r.failed() && r.class != tooManyRecipients.class { // those are to be tried again, RFC 5321, 4.5.3.1.10
		s.errors++
	}
	switch {
	case s.maxErrors > 0 && s.errors >= s.maxErrors:
		return replyNoMore, hangUp
	case s.maxCommands > 0 && s.commands > s.maxCommands+len(s.boxes):
		return replyTalkative, hangUp
	}
	return r, a
}

// outOfTurn returns the reply to a command that does not come now.
func (s *session) outOfTurn() reply {
	r := reply{code: 503, class: "5.5.1"}
	switch s.state {
	case fresh:
		r.text = "say EHLO first"
	case greeted:
		r.text = "say MAIL first, then RCPT"
	default:
		r.text = "say RCPT first; RSET begins anew"
	}
	return r
}

// forget drops the message that was begun, if there is one.
func (s *session) forget() {
	if s.state > greeted {
		s.state = greeted
	}
	s.from, s.to, s.boxes, s.utf8 = path{}, path{}, nil, false
}

// taken is called when a message was stored.
func (s *session) taken() {
	s.forget()
	s.errors, s.commands = 0, 0
}

// secured starts the session over after STARTTLS (RFC 3207, 4.2).
func (s *session) secured(how string) {
	s.forget()
	s.state, s.helo, s.extended, s.tls = fresh, "", false, how
}

func (s *session) doHelo(args []byte) (reply, action) {
	if !s.introduce(args) {
		return replyNoName, goOn
	}
	s.extended = false
	return reply{code: 250, text: s.hostname}, goOn
}

func (s *session) doEhlo(args []byte) (reply, action) {
	if !s.introduce(args) {
		return replyNoName, goOn
	}
	s.extended = true
	text := s.hostname + "\nPIPELINING\nSIZE " + strconv.FormatInt(s.maxSize, 10) + "\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\n"
	if s.offersTLS && s.tls == "" {
		text += "STARTTLS\n"
	}
	return reply{code: 250, text: text + "HELP"}, goOn
}

var replyNoName = reply{code: 501, class: "5.5.4", text: "say who you are: a name such as mail.example.org, or an address in [ ]"}

// introduce takes the name of HELO and EHLO. It goes into the Received line, so it must be
// a host's; whether it is the peer's nobody knows.
func (s *session) introduce(args []byte) bool {
	name := strings.TrimSuffix(string(args), ".")
	if rest, err := parseHost([]byte(name)); err != nil || len(rest) > 0 || !isASCII(name) {
		return false
	}
	s.forget()
	s.state, s.helo = greeted, name
	return true
}

func (s *session) doMail(args []byte) (reply, action) {
	from, params, no := parseMail(args)
	switch {
	case no.code != 0:
		return no, goOn
	case !params.utf8 && !from.isASCII():
		return replyNeedsUTF8, goOn
	case s.maxSize > 0 && params.size > s.maxSize:
		return replyTooLarge, goOn
	case !s.hasRoom():
		return replyFull, goOn
	}
	s.state, s.from, s.utf8 = inMail, from, params.utf8
	return reply{code: 250, class: "2.1.0", text: "ok"}, goOn
}

var tooManyRecipients = reply{code: 452, class: "4.5.3", text: "too many recipients; send the message to the others again"}

func (s *session) doRcpt(args []byte) (reply, action) {
	to, no := parseRcpt(args)
	if no.code != 0 {
		return no, goOn
	}
	box, no := s.boxOf(to)
	if no.code != 0 {
		return no, goOn
	}
	if len(s.boxes) >= s.maxRecipients {
		return tooManyRecipients, goOn
	}
	if s.check(box) != nil {
		return reply{code: 452, class: "4.2.1", text: "there may be no more mailboxes here"}, goOn
	}
	s.state, s.to = inRcpt, to
	s.boxes = append(s.boxes, box)
	return reply{code: 250, class: "2.1.5", text: "ok"}, goOn
}

// boxOf returns the mailbox of a recipient, or why there is none.
func (s *session) boxOf(to path) (string, reply) {
	if !s.utf8 && !to.isASCII() {
		return "", replyNeedsUTF8
	}
	ours := s.isOurs(to)
	switch {
	case ours && s.acceptAll:
		return spool.Name(to.local, ""), reply{}
	case s.acceptAll:
		return spool.Name(to.local, foreignPart(to)), reply{}
	case !ours || isRelayed(to.local):
		return "", replyNoRelay
	case to.domain == "" && !to.literal.IsValid() && !strings.EqualFold(to.local, "postmaster"):
		return "", reply{code: 501, class: "5.1.3", text: errPath.Error()}
	}
	return spool.Name(to.local, ""), reply{}
}

// isOurs reports whether a recipient is at home here: by a domain of ours, by the address
// that the peer has called, or without any (RFC 5321, 2.3.5, which has it for the
// postmaster).
func (s *session) isOurs(to path) bool {
	if to.literal.IsValid() {
		return to.literal.Unmap() == s.here
	}
	if to.domain == "" {
		return true
	}
	ascii, err := asciiDomain(to.domain)
	return err == nil && s.domains[ascii]
}

// isRelayed reports whether a local part asks to be sent elsewhere: other servers know
// user%elsewhere, elsewhere!user and "user@elsewhere".
func isRelayed(local string) bool { return strings.ContainsAny(local, "%!@") }

func foreignPart(to path) string {
	if to.literal.IsValid() {
		return "[" + to.literal.String() + "]"
	}
	if ascii, err := asciiDomain(to.domain); err == nil {
		return ascii
	}
	return to.domain
}

func (s *session) doData(args []byte) (reply, action) {
	if len(args) > 0 {
		return replySyntax, goOn
	}
	return reply{code: 354, text: "go on, and end with a line that has only a dot"}, readMessage
}

func (s *session) doRset(args []byte) (reply, action) {
	if len(args) > 0 {
		return replySyntax, goOn
	}
	s.forget()
	return replyOK, goOn
}

func (s *session) doNoop([]byte) (reply, action) { return replyOK, goOn }

func (s *session) doQuit(args []byte) (reply, action) {
	if len(args) > 0 {
		return replySyntax, goOn
	}
	return reply{code: 221, class: "2.0.0", text: "goodbye"}, hangUp
}

const helpText = `This is yodel. Say EHLO, MAIL FROM:<you@there>, RCPT TO:<name@here>, DATA,
the message, a line that has only a dot, and QUIT. There are also HELO, RSET,
NOOP, VRFY and STARTTLS. RFC 5321 has it all.`

func (s *session) doHelp([]byte) (reply, action) {
	return reply{code: 214, class: "2.0.0", text: helpText}, goOn
}

// doVrfy tells nothing about mailboxes (RFC 5321, 7.3).
func (s *session) doVrfy(args []byte) (reply, action) {
	if len(args) == 0 {
		return replySyntax, goOn
	}
	return reply{code: 252, class: "2.5.2", text: "that is not told; send a message and see"}, goOn
}

func (s *session) doExpn([]byte) (reply, action) {
	return reply{code: 502, class: "5.5.1", text: "there are no lists here"}, goOn
}

func (s *session) doStartTLS(args []byte) (reply, action) {
	switch {
	case len(args) > 0:
		return replySyntax, goOn
	case s.tls != "":
		return reply{code: 503, class: "5.5.1", text: "TLS is there already"}, goOn
	case !s.offersTLS:
		return reply{code: 502, class: "5.5.1", text: "TLS is not offered here"}, goOn
	}
	return reply{code: 220, class: "2.0.0", text: "begin TLS"}, startTLS
}

// doBdat ends the session: it was not offered, and what comes next is no command.
func (s *session) doBdat([]byte) (reply, action) {
	return reply{code: 502, class: "5.5.1", text: "there is no CHUNKING here; closing"}, hangUp
}
