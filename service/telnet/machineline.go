package telnet

// LINEMODE (RFC 1184): the client edits lines and turns keys into commands, while the
// program wants that. It is the client that does so, and we who say when.

const optLine = 34

// What a sub-negotiation about LINEMODE is about (RFC 1184 §2.1).
const (
	lineMode    = 1
	forwardMask = 2
	lineSLC     = 3
)

// A mode is what the client does (RFC 1184 §2.2). The other bits we never ask for.
type mode byte

const (
	modeEdit mode = 1 // it edits lines
	modeTrap mode = 2 // its keys for signals are commands
	modeMask      = modeEdit | modeTrap

	modeAck = 4 // this is an answer
)

// Levels of a special character, and the bit of an answer (RFC 1184 §2.4).
const (
	slcNone    = 0
	slcValue   = 2
	slcDefault = 3
	slcLevel   = 3
	slcAck     = 128
)

// A key is a special character of a terminal, and its number in SLC.
type key byte

const (
	keyInterrupt   key = 3
	keyQuit        key = 7
	keyEOF         key = 8
	keySuspend     key = 9
	keyErase       key = 10
	keyKill        key = 11
	keyWordErase   key = 12
	keyReprint     key = 13
	keyLiteral     key = 14
	keyStart       key = 15
	keyStop        key = 16
	keyEnd         key = 17
	keyOtherEnd    key = 18
	lastKey            = keyOtherEnd
	keysOfTerminal     = 1<<keyInterrupt | 1<<keyQuit | 1<<keyEOF | 1<<keySuspend | 1<<keyErase | 1<<keyKill |
		1<<keyWordErase | 1<<keyReprint | 1<<keyLiteral | 1<<keyStart | 1<<keyStop | 1<<keyEnd | 1<<keyOtherEnd
)

// isOurs reports whether terminals have such a key.
func (k key) isOurs() bool { return k <= lastKey && keysOfTerminal>>k&1 != 0 }

// special has the special characters by their keys; 0: there is none.
type special [lastKey + 1]byte

// firstKeys are those of a terminal that nobody has changed.
var firstKeys = special{
	keyInterrupt: 0x03, keyQuit: 0x1c, keyEOF: 0x04, keySuspend: 0x1a, keyErase: 0x7f, keyKill: 0x15,
	keyWordErase: 0x17, keyReprint: 0x12, keyLiteral: 0x16, keyStart: 0x11, keyStop: 0x13,
}

// lines is what a machine knows of LINEMODE. The zero value refuses it.
type lines struct {
	allowed bool
	said    mode // what we have told the client to do
	keys    special
}

// inLineMode reports whether the client does LINEMODE.
func (m *machine) inLineMode() bool { return m.him[optLine] == active }

// allowLines has LINEMODE accepted, and asks for it.
func (m *machine) allowLines() {
	m.lines = lines{allowed: true, keys: firstKeys}
	m.ask(&m.him, cmdDO, optLine)
}

// setLines tells the client what the program has made of its terminal: whether lines are
// edited and keys are signals, and whether what is typed is shown.
func (m *machine) setLines(want mode, echo bool) {
	if !m.inLineMode() {
		return
	}
	if want != m.lines.said {
		m.lines.said = want
		m.sayLine(lineMode, byte(want))
	}
	m.setEcho(!echo)
}

// setKeys tells the client which special characters have changed.
func (m *machine) setKeys(keys special) {
	if !m.inLineMode() || keys == m.lines.keys {
		return
	}
	var say []byte
	for k := range lastKey + 1 {
		if k.isOurs() && keys[k] != m.lines.keys[k] {
			say = appendKey(say, k, keys[k])
		}
	}
	m.lines.keys = keys
	m.sayLine(lineSLC, say...)
}

// appendKey appends what is said of a key: that there is none, or its value.
func appendKey(dst []byte, k key, c byte) []byte {
	if c == 0 {
		return append(dst, byte(k), slcNone, 0)
	}
	return append(dst, byte(k), slcValue, c)
}

// sayLine says a sub-negotiation about LINEMODE.
func (m *machine) sayLine(what byte, rest ...byte) {
	m.answer = append(m.answer, cmdIAC, cmdSB, optLine, what)
	for _, c := range rest {
		if m.answer = append(m.answer, c); c == cmdIAC {
			m.answer = append(m.answer, c)
		}
	}
	m.answer = append(m.answer, cmdIAC, cmdSE)
}

// endLine takes a sub-negotiation about LINEMODE, without its first byte. What has to be
// answered counts as a command about an option.
func (m *machine) endLine(p []byte) error {
	switch {
	case len(p) == 2 && p[0] == lineMode && mode(p[1])&modeAck == 0:
		if mode(p[1])&modeMask == m.lines.said {
			return nil
		}
		m.sayLine(lineMode, byte(m.lines.said)) // it is ours to say
		return m.count()
	case len(p) >= 2 && p[1] == forwardMask && (p[0] == cmdWILL || p[0] == cmdDO):
		no := map[byte]byte{cmdWILL: cmdDONT, cmdDO: cmdWONT}[p[0]]
		m.sayLine(no, forwardMask)
		return m.count()
	case len(p) >= 1 && p[0] == lineSLC:
		return m.endSLC(p[1:])
	}
	return nil
}

// endSLC takes the special characters that the client has, and makes them those of the
// terminal. At most one answer is given for each key, however often it is told.
func (m *machine) endSLC(p []byte) error {
	var flags, value [lastKey + 1]byte
	var told uint32
	for ; len(p) >= 3; p = p[3:] {
		if k := key(p[0]); k <= lastKey && p[1]&slcAck == 0 {
			flags[k], value[k], told = p[1], p[2], told|1<<k
		}
	}
	var say []byte
	before := m.lines.keys
	for k := range lastKey + 1 {
		if told>>k&1 != 0 {
			say = m.takeKey(say, k, flags[k], value[k])
		}
	}
	if m.lines.keys != before {
		m.emit(event{kind: isKeys, keys: m.lines.keys})
	}
	if len(say) == 0 {
		return nil
	}
	m.sayLine(lineSLC, say...)
	return m.count()
}

// takeKey takes what the client says of a key, and appends what is to be answered.
func (m *machine) takeKey(say []byte, k key, flags, value byte) []byte {
	level := flags & slcLevel
	switch {
	case k == 0: // it wants to know them all
		for k := range lastKey + 1 {
			if k.isOurs() && level != slcNone {
				say = appendKey(say, k, m.lines.keys[k])
			}
		}
		return say
	case !k.isOurs():
		if level != slcNone {
			say = append(say, byte(k), slcNone, 0)
		}
		return say
	case level == slcDefault:
		return appendKey(say, k, m.lines.keys[k])
	case level == slcNone:
		value = 0
	}
	if value == m.lines.keys[k] {
		return say // agreed
	}
	m.lines.keys[k] = value
	return append(say, byte(k), flags|slcAck, value)
}
