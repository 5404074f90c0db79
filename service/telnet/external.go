package telnet

import (
	"bytes"
	"time"

	"yodel/internal/child"
)

// sitExternal makes ready a terminal at which the client edits the lines, or no longer
// does. A change that a program makes of its terminal at the same moment may be lost;
// before it is started there is none.
func (s *session) sitExternal(t *child.Terminal, on bool) {
	if on {
		t.Echo(true) // it may be off because the client has echoed without LINEMODE
		t.SetKeys(terminalKeys(s.keys()))
	}
	t.SetExternal(on)
	s.follow(t)
}

// keys returns the special characters that the client has.
func (s *session) keys() special {
	s.write.Lock()
	defer s.write.Unlock()
	return s.m.lines.keys
}

// inLineMode reports whether the client does LINEMODE.
func (s *session) inLineMode() bool {
	s.write.Lock()
	defer s.write.Unlock()
	return s.m.inLineMode()
}

// follow tells a client in LINEMODE what the program has made of its terminal. One that is
// not external any more does all by itself, and wants each key as it is pressed.
func (s *session) follow(t *child.Terminal) error {
	s.write.Lock() // so that two of us say what they have found in the order in which they have
	modes, err := t.Modes()
	if err == nil {
		s.setLines(&modes)
	}
	s.write.Unlock()
	if err != nil {
		return err
	}
	return s.send(nil)
}

// setLines is for who holds the lock.
func (s *session) setLines(modes *child.Modes) {
	var want mode
	if modes.External && modes.Lines {
		want |= modeEdit
	}
	if modes.External && modes.Signals {
		want |= modeTrap
	}
	s.m.setKeys(specialOf(modes.Keys))
	s.m.setLines(want, modes.External && modes.Echo)
}

// terminalKey says where a terminal has the character of a key; nil: it has no such key.
func terminalKey(k *child.Keys) [lastKey + 1]*byte {
	return [...]*byte{
		keyInterrupt: &k.Interrupt, keyQuit: &k.Quit, keyEOF: &k.EOF, keySuspend: &k.Suspend, keyErase: &k.Erase, keyKill: &k.Kill,
		keyWordErase: &k.WordErase, keyReprint: &k.Reprint, keyLiteral: &k.Literal, keyStart: &k.Start, keyStop: &k.Stop,
		keyEnd: &k.End, keyOtherEnd: &k.OtherEnd,
	}
}

// specialOf and terminalKeys are each other's inverse.
func specialOf(k child.Keys) (s special) {
	for key, c := range terminalKey(&k) {
		if c != nil {
			s[key] = *c
		}
	}
	return s
}

func terminalKeys(s special) (k child.Keys) {
	for key, c := range terminalKey(&k) {
		if c != nil {
			*c = s[key]
		}
	}
	return k
}

// writeExternal writes to a terminal that neither edits lines nor knows their ends: so a
// program that reads lines is given one at a time, and an end of file by itself.
func (k *keys) writeExternal(t *child.Terminal, modes *child.Modes, p []byte, end bool) error {
	p = translate(modes, p)
	for rest := p; len(rest) > 0; {
		n := len(rest)
		if modes.Lines {
			if !k.waitUntilRead(t) {
				return nil
			}
			n = lineOf(rest)
		}
		if _, err := t.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	// Behind a part of a line an end of file only has that part read (termios(3)).
	if !end || modes.Keys.EOF == 0 || modes.Lines && (len(p) > 0 && p[len(p)-1] != '\n' || !k.waitUntilRead(t)) {
		return nil
	}
	_, err := t.Write([]byte{modes.Keys.EOF})
	return err
}

// lineOf returns how long the first line of p is.
func lineOf(p []byte) int {
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return i + 1
	}
	return len(p)
}

// waitUntilRead waits until the program has read what was written. It reports false if
// what is to be written next is not wanted any more. No event tells of that: it looks
// again and again, less and less often.
func (k *keys) waitUntilRead(t *child.Terminal) bool {
	for wait := time.Millisecond; !k.isStale(); wait = min(2*wait, 50*time.Millisecond) {
		if n, err := t.Unread(); n == 0 || err != nil {
			return true
		}
		time.Sleep(wait)
	}
	return false
}

// translate does to input what the terminal would do (termios(3), ICRNL and its kin); it
// may change p.
func translate(modes *child.Modes, p []byte) []byte {
	out := p[:0]
	for _, c := range p {
		switch {
		case c == '\r' && modes.IgnoreReturn:
			continue
		case c == '\r' && modes.ReturnIsNewline:
			c = '\n'
		case c == '\n' && modes.NewlineIsReturn:
			c = '\r'
		}
		out = append(out, c)
	}
	return out
}
