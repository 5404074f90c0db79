package telnet

import (
	"encoding/binary"
	"errors"
)

// Commands (RFC 854; EOF to ABORT: RFC 1184).
const (
	cmdEOF   = 236
	cmdSUSP  = 237
	cmdABORT = 238
	cmdSE    = 240 // end of a sub-negotiation
	cmdBRK   = 243
	cmdIP    = 244 // interrupt process
	cmdAO    = 245 // abort output
	cmdAYT   = 246 // are you there
	cmdEC    = 247 // erase character
	cmdEL    = 248 // erase line
	cmdSB    = 250 // begin of a sub-negotiation
	cmdWILL  = 251
	cmdWONT  = 252
	cmdDO    = 253
	cmdDONT  = 254
	cmdIAC   = 255
)

// Options.
const (
	optBinary = 0  // RFC 856
	optEcho   = 1  // RFC 857
	optSGA    = 3  // RFC 858
	optTType  = 24 // RFC 1091
	optNAWS   = 31 // RFC 1073
)

// Of a sub-negotiation about TERMINAL-TYPE.
const (
	ttypeIs   = 0
	ttypeSend = 1
)

// Bounds (F1, F3).
const (
	maxOptions = 100     // WILL, WONT, DO and DONT of one session
	maxSub     = 4 << 10 // bytes of a sub-negotiation
)

// Why a connection is ended.
var (
	errOptions = errors.New("telnet: too many commands about options")
	errSub     = errors.New("telnet: a sub-negotiation is too long")
)

// kind says what an event is.
type kind uint8

const (
	isText      kind = iota + 1 // bytes that were typed
	isWindow                    // the window has this size
	isTerm                      // the terminal is of this type
	isInterrupt                 // IP
	isBreak                     // BRK, ABORT
	isSuspend                   // SUSP
	isEOF                       // EOF
	isErase                     // EC
	isKill                      // EL
	isAYT                       // AYT
	isEcho                      // who echoes has changed
	isLine                      // LINEMODE is on, or off again
	isKeys                      // the special characters have changed
)

// An event is what a peer has said.
type event struct {
	kind       kind
	text       []byte // isText: lent, until receive is called again
	term       string // isTerm
	rows, cols uint16 // isWindow
	on         bool   // isEcho: we do; isLine
	keys       special
}

// side is the state of an option on one side (RFC 1143). Only our ECHO is turned off by
// ourselves; what it is to be when an answer has come is machine.echo.
type side uint8

const (
	off     side = iota
	asked        // we have asked for it, and no answer has come
	active       // it is on
	leaving      // we have turned it off, and no answer has come
)

// A machine is our end of a TELNET connection: it takes what the peer sends apart. The
// zero machine is ready.
type machine struct {
	state   state
	verb    byte // of which the option is to come
	us, him [optLine + 1]side
	echo    bool // we want to echo
	lines   lines
	options int
	sub     []byte
	afterCR bool // the last byte was a CR: a NUL or LF behind it is a part of it

	answer []byte // what must be sent; the caller empties it
	events []event

	saidCR bool // the last byte that was said was a CR
}

type state uint8

const (
	inText state = iota
	commanded
	wantOption
	inSub
	commandedInSub
)

// open asks for what we want: our echo, no go-aheads, the terminal's type and size.
func (m *machine) open() {
	m.setEcho(true)
	m.ask(&m.us, cmdWILL, optSGA)
	m.ask(&m.him, cmdDO, optNAWS)
	m.ask(&m.him, cmdDO, optTType)
}

func (m *machine) ask(sides *[optLine + 1]side, verb, option byte) {
	sides[option] = asked
	m.say(verb, option)
}

func (m *machine) say(verb, option byte) { m.answer = append(m.answer, cmdIAC, verb, option) }

// echoes reports whether we show the peer what it types. Until it has said no, we do.
func (m *machine) echoes() bool { return m.us[optEcho] == asked || m.us[optEcho] == active }

// setEcho turns our echo on or off, once the peer has answered what was said of it before.
func (m *machine) setEcho(on bool) {
	m.echo = on
	switch state := m.us[optEcho]; {
	case on && state == off:
		m.ask(&m.us, cmdWILL, optEcho)
	case !on && state == active:
		m.us[optEcho] = leaving
		m.say(cmdWONT, optEcho)
	}
}

// answered takes the answer to what LINEMODE has made of our echo, and reports whether
// this is one: those do not count as commands about options.
func (m *machine) answered(o byte) bool {
	if o != optEcho || m.verb != cmdDO && m.verb != cmdDONT {
		return false
	}
	switch state := m.us[o]; {
	case state == leaving:
		m.us[o] = off
	case state == asked && m.inLineMode() && m.verb == cmdDO:
		m.us[o] = active
	case state == asked && m.inLineMode(): // as it likes: it is asked again once the program changes that
		m.us[o], m.echo = off, false
	default:
		return false
	}
	m.setEcho(m.echo)
	return true
}

// count counts a command about an option.
func (m *machine) count() error {
	if m.options++; m.options > maxOptions {
		return errOptions
	}
	return nil
}

// isUnfinished reports whether a command has begun and not ended.
func (m *machine) isUnfinished() bool { return m.state != inText }

// receive takes what the peer has sent, and returns what that means; the text in it is
// p's memory. After an error the connection has to be ended.
func (m *machine) receive(p []byte) ([]event, error) {
	m.events = m.events[:0]
	from, to := 0, 0 // p[from:to] is text that is no event yet
	for _, c := range p {
		if m.state == inText && c != cmdIAC {
			if m.isText(c) {
				p[to] = c
				to++
			}
			continue
		}
		if m.state == commanded && c == cmdIAC { // a byte of text after all (RFC 854)
			m.state, m.afterCR, p[to] = inText, false, c
			to++
			continue
		}
		if from < to && m.state != inText {
			m.emit(event{kind: isText, text: p[from:to]})
			from = to
		}
		if err := m.command(c); err != nil {
			return m.events, err
		}
	}
	if from < to {
		m.emit(event{kind: isText, text: p[from:to]})
	}
	return m.events, nil
}

func (m *machine) emit(e event) { m.events = append(m.events, e) }

// isText reports whether a byte counts: not the NUL or LF behind a CR, which is the key
// Enter (RFC 854, 1123 §3.3.1), unless bytes are told as they are (BINARY).
func (m *machine) isText(c byte) bool {
	after := m.afterCR
	m.afterCR = c == '\r' && m.him[optBinary] != active
	return !after || c != 0 && c != '\n'
}

// command takes a byte of a command.
func (m *machine) command(c byte) error {
	switch m.state {
	case inText: // it is IAC
		m.state = commanded
	case commanded:
		m.begin(c)
	case wantOption:
		m.state = inText
		return m.option(c)
	case inSub:
		if c == cmdIAC {
			m.state = commandedInSub
			return nil
		}
		return m.inSub(c)
	case commandedInSub:
		if c == cmdIAC {
			m.state = inSub
			return m.inSub(c)
		}
		m.state = inText
		if c == cmdSE {
			return m.endSub()
		}
	}
	return nil
}

// singles are the commands that stand alone. Those that are not there mean nothing to us.
var singles = [256]kind{
	cmdEOF: isEOF, cmdSUSP: isSuspend, cmdABORT: isBreak, cmdBRK: isBreak,
	cmdIP: isInterrupt, cmdAYT: isAYT, cmdEC: isErase, cmdEL: isKill,
}

func (m *machine) begin(c byte) {
	m.state = inText
	switch c {
	case cmdWILL, cmdWONT, cmdDO, cmdDONT:
		m.state, m.verb = wantOption, c
	case cmdSB:
		m.state, m.sub = inSub, m.sub[:0]
	default:
		if k := singles[c]; k != 0 {
			m.emit(event{kind: k})
		}
	}
}

func (m *machine) inSub(c byte) error {
	if len(m.sub) == maxSub {
		return errSub
	}
	m.sub = append(m.sub, c)
	return nil
}

// option takes a command about an option.
func (m *machine) option(o byte) error {
	if m.answered(o) {
		return nil
	}
	if err := m.count(); err != nil {
		return err
	}
	switch m.verb {
	case cmdDO:
		m.turn(&m.us, o, o == optEcho && m.mayEcho() || o == optSGA || o == optBinary, cmdWILL, cmdWONT)
	case cmdDONT:
		m.end(&m.us, o, cmdWONT)
	case cmdWILL:
		wanted := o == optNAWS || o == optTType || o == optSGA || o == optBinary || o == optLine && m.lines.allowed
		if m.turn(&m.him, o, wanted, cmdDO, cmdDONT) {
			m.turnedOn(o)
		}
	case cmdWONT:
		m.end(&m.him, o, cmdDONT)
	}
	return nil
}

// mayEcho reports whether the peer may have us echo: in LINEMODE that is the program's
// to say.
func (m *machine) mayEcho() bool { return !m.inLineMode() || m.echo }

// turnedOn does what an option of the peer's needs once it is on.
func (m *machine) turnedOn(o byte) {
	switch o {
	case optTType:
		m.answer = append(m.answer, cmdIAC, cmdSB, optTType, ttypeSend, cmdIAC, cmdSE)
	case optLine:
		m.lines.said = 0
		m.emit(event{kind: isLine, on: true})
	}
}

// turn turns an option on, if we may have it, and answers where we have not asked for it.
// It reports whether that has changed anything.
func (m *machine) turn(sides *[optLine + 1]side, o byte, wanted bool, yes, no byte) bool {
	if !wanted {
		m.say(no, o)
		return false
	}
	before := sides[o]
	sides[o] = active
	if before == off {
		m.say(yes, o)
		if o == optEcho {
			m.emit(event{kind: isEcho, on: true})
		}
	}
	return before != active
}

// end turns an option off.
func (m *machine) end(sides *[optLine + 1]side, o byte, no byte) {
	if int(o) >= len(sides) || sides[o] == off {
		return // it is off already: there is nothing to say
	}
	if sides[o] == active {
		m.say(no, o)
	}
	wasOn := sides[o] == active
	sides[o] = off
	switch {
	case o == optEcho && no == cmdWONT:
		m.echo = false
		m.emit(event{kind: isEcho})
	case o == optLine && no == cmdDONT && wasOn:
		m.emit(event{kind: isLine})
		m.setEcho(true)
	}
}

// endSub takes a whole sub-negotiation, of those that we have agreed to.
func (m *machine) endSub() error {
	switch {
	case len(m.sub) == 5 && m.sub[0] == optNAWS && m.him[optNAWS] == active:
		m.emit(event{kind: isWindow, cols: binary.BigEndian.Uint16(m.sub[1:]), rows: binary.BigEndian.Uint16(m.sub[3:])})
	case len(m.sub) >= 2 && m.sub[0] == optTType && m.sub[1] == ttypeIs && m.him[optTType] == active:
		m.emit(event{kind: isTerm, term: string(m.sub[2:])})
	case len(m.sub) >= 1 && m.sub[0] == optLine && m.inLineMode():
		return m.endLine(m.sub[1:])
	}
	return nil
}

// appendText appends text for the peer: IAC is doubled, and behind a CR that no LF
// follows there is a NUL (RFC 854), unless bytes are told as they are (BINARY).
func (m *machine) appendText(dst, text []byte) []byte {
	for _, c := range text {
		if m.saidCR && c != '\n' {
			dst = append(dst, 0)
		}
		m.saidCR = c == '\r' && m.us[optBinary] != active
		dst = append(dst, c)
		if c == cmdIAC {
			dst = append(dst, c)
		}
	}
	return dst
}
