package ftp

import "errors"

// TELNET commands (RFC 854) that have to be known.
const (
	se   = 240 // end of a sub-negotiation
	sb   = 250 // its begin
	will = 251
	wont = 252
	do   = 253
	dont = 254
	iac  = 255
)

// maxOptions is how many options of TELNET one connection may ask for.
const maxOptions = 100

var errOptions = errors.New("ftp: too many TELNET options")

// A telnet takes TELNET commands out of what a control connection brings (RFC 959 §3.1,
// RFC 1123 §4.1.2.12). No option is ever agreed to. The zero telnet is ready.
type telnet struct {
	state   telnetState
	verb    byte // asked: WILL, WONT, DO or DONT
	options int
}

type telnetState uint8

const (
	inText telnetState = iota
	commanded
	asked
	inSub
	commandedInSub
)

// filter removes TELNET commands from p, in place, and returns what is left. What must be
// answered is appended to answer. After an error the connection has to be ended.
func (t *telnet) filter(p, answer []byte) (text, reply []byte, err error) {
	text = p[:0]
	for _, c := range p {
		switch t.state {
		case inText:
			if c == iac {
				t.state = commanded
				continue
			}
			text = append(text, c)
		case commanded:
			if c == iac {
				text = append(text, c)
			}
			t.command(c)
		case asked:
			t.state = inText
			if answer, err = t.refuse(c, answer); err != nil {
				return text, answer, err
			}
		case inSub:
			if c == iac {
				t.state = commandedInSub
			}
		case commandedInSub:
			t.state = inSub
			if c == se {
				t.state = inText
			}
		}
	}
	return text, answer, nil
}

func (t *telnet) command(c byte) {
	switch c {
	case will, wont, do, dont:
		t.state, t.verb = asked, c
	case sb:
		t.state = inSub
	default: // IP, DM, NOP and the like: the command that follows says what is meant
		t.state = inText
	}
}

// refuse answers an offer or a request. All options are off, so that the others ask for
// nothing (RFC 1143).
func (t *telnet) refuse(option byte, answer []byte) ([]byte, error) {
	if t.options++; t.options > maxOptions {
		return answer, errOptions
	}
	switch t.verb {
	case will:
		return append(answer, iac, dont, option), nil
	case do:
		return append(answer, iac, wont, option), nil
	}
	return answer, nil
}
