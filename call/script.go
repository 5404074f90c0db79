package call

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"yodel/rio"
)

const (
	maxScript     = 1 << 20 // bytes of a script
	maxScriptLine = 64 << 10
)

// A Script is a conversation written down: what to send, and what to expect. Each line
// is empty, a comment (# to its end), or a step:
//
//	send STRING       sends it
//	expect PATTERN    waits for PATTERN; what comes before it is skipped
//	next PATTERN      what comes next must be PATTERN
//	close             ends our direction (half-close)
//	timeout DURATION  how long each further step may take: 500ms, 10s; 0: for ever
//
// STRING is a Go string, "in quotes" with the escapes \r \n \t \x00 \u0000 \" \\, or
// `in backquotes` without any; it must not be empty. PATTERN is one of
//
//	STRING            these bytes, wherever lines and packets begin or end
//	/REGEXP/          a whole line that matches REGEXP somewhere (RE2 syntax, as in
//	                  package regexp; ^ and $ are the ends of the line; \/ is a slash)
//	eof               the peer ends its direction
//
// A line for a REGEXP is what comes up to the next newline, or up to the peer's end;
// the newline, and a CR before it, are not part of it. So what a script does depends on
// what the peer sends, never on how that was cut on its way. A line longer than
// 64 KiB is taken in pieces of that length.
//
// For example:
//
//	timeout 5s
//	expect /^220 /
//	send "HELO client.example\r\n"
//	next /^250 /         # any other reply is wrong
//	send "QUIT\r\n"
//	next /^221 /
//	next eof
//
// The zero Script has no steps.
type Script struct {
	steps []step
}

type step struct {
	file    string
	line    int    // from 1
	text    string // the line, without comment
	do      func(*performance) error
	timeout time.Duration // set by a line timeout before; negative: none; 0: the default
}

// ParseScript reads a script of at most 1 MiB. The name stands in errors. Each mistake
// is a [*ScriptError], all of them joined.
func ParseScript(name string, r io.Reader) (*Script, error) {
	lines := rio.NewReader(io.LimitReader(r, maxScript+1), maxScriptLine, rio.RefuseLong)
	p := &parser{file: name, script: &Script{}}
	for size := 0; ; {
		line, err := lines.ReadLine()
		if err == io.EOF {
			break
		}
		p.line++
		size += len(line)
		switch {
		case errors.Is(err, rio.ErrTooLong):
			p.fail("the line has more than %d bytes", maxScriptLine)
			continue
		case err != nil:
			return nil, &InputError{err}
		case size > maxScript:
			p.fail("the script has more than %d bytes", maxScript)
		}
		p.parseLine(string(rio.Trim(line)))
	}
	if err := errors.Join(p.mistakes...); err != nil {
		return nil, err
	}
	return p.script, nil
}

// maxMistakes bounds how many mistakes are told.
const maxMistakes = 20

// A parser reads the lines of a script.
type parser struct {
	file     string
	line     int
	timeout  time.Duration
	script   *Script
	mistakes []error
}

func (p *parser) fail(format string, args ...any) {
	if len(p.mistakes) < maxMistakes {
		p.mistakes = append(p.mistakes, &ScriptError{p.file, p.line, fmt.Sprintf(format, args...)})
	}
}

func (p *parser) parseLine(line string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return
	}
	word, rest := cutWord(line)
	do, rest, err := p.parseStep(word, strings.TrimSpace(rest))
	if err == nil {
		err = checkEnd(rest)
	}
	if err != nil {
		p.fail("%v", err)
		return
	}
	if do != nil {
		text := strings.TrimSpace(strings.TrimSuffix(line, rest))
		p.script.steps = append(p.script.steps, step{p.file, p.line, text, do, p.timeout})
	}
}

// cutWord cuts line behind its first word.
func cutWord(line string) (word, rest string) {
	n := strings.IndexAny(line, " \t#\"`/")
	if n < 0 {
		return line, ""
	}
	return line[:n], line[n:]
}

// checkEnd returns an error if more than a comment follows a step.
func checkEnd(rest string) error {
	rest = strings.TrimSpace(rest)
	if rest == "" || rest[0] == '#' {
		return nil
	}
	return fmt.Errorf("%s is too much here; one step a line", given(rest))
}

// given quotes text of the script, the beginning of it if it is long.
func given(s string) string {
	if len(s) > shownBytes {
		s = s[:shownBytes] + "…"
	}
	return "`" + ownText(s) + "`"
}

// parseStep reads what follows the first word of a line and returns what it does, nil
// for nothing, and what follows that.
func (p *parser) parseStep(word, args string) (do func(*performance) error, rest string, err error) {
	switch word {
	case "send":
		return parseSend(args)
	case "expect":
		return parseExpect(args)
	case "next":
		return parseNext(args)
	case "close":
		return (*performance).close, args, nil
	case "timeout":
		rest, err = p.parseTimeout(args)
		return nil, rest, err
	}
	return nil, "", fmt.Errorf("unknown step %s; write send, expect, next, close or timeout", given(word))
}

func parseSend(args string) (func(*performance) error, string, error) {
	s, rest, err := parseString(args)
	if err != nil {
		return nil, "", err
	}
	return func(p *performance) error { return p.send(s) }, rest, nil
}

func parseExpect(args string) (func(*performance) error, string, error) {
	pat, rest, err := parsePattern(args)
	switch {
	case err != nil:
		return nil, "", err
	case pat.eof:
		return (*performance).expectEOF, rest, nil
	case pat.line != nil:
		return func(p *performance) error { return p.expectLine(pat.line) }, rest, nil
	}
	find := newFinder(pat.text)
	return func(p *performance) error { return p.expectText(find) }, rest, nil
}

func parseNext(args string) (func(*performance) error, string, error) {
	pat, rest, err := parsePattern(args)
	switch {
	case err != nil:
		return nil, "", err
	case pat.eof:
		return (*performance).nextEOF, rest, nil
	case pat.line != nil:
		return func(p *performance) error { return p.nextLine(pat.line) }, rest, nil
	}
	return func(p *performance) error { return p.nextText(pat.text) }, rest, nil
}

func (p *parser) parseTimeout(args string) (rest string, err error) {
	word, rest := args, ""
	if n := strings.IndexAny(args, " \t#"); n >= 0 {
		word, rest = args[:n], args[n:]
	}
	d, err := time.ParseDuration(word)
	if err != nil || d < 0 {
		return "", fmt.Errorf("%s is not a duration; write for example 500ms or 10s, or 0 for ever", given(word))
	}
	p.timeout = d
	if d == 0 {
		p.timeout = -1
	}
	return rest, nil
}

// A pattern is one of the three.
type pattern struct {
	text string
	line *regexp.Regexp
	eof  bool
}

func parsePattern(args string) (pat pattern, rest string, err error) {
	switch {
	case strings.HasPrefix(args, "/"):
		pat.line, rest, err = parseRegexp(args)
	case args != "" && strings.ContainsAny(args[:1], "\"`"):
		pat.text, rest, err = parseString(args)
	default:
		var word string
		if word, rest = cutWord(args); word != "eof" {
			err = fmt.Errorf("%s is not a pattern; write a \"string\", a /regexp/ or eof", given(word))
		}
		pat.eof = true
	}
	return pat, rest, err
}

// parseString reads a Go string at the start of args.
func parseString(args string) (s, rest string, err error) {
	if args == "" || args[0] != '"' && args[0] != '`' {
		return "", "", errors.New("here a \"string\" in quotes is needed")
	}
	quoted, err := strconv.QuotedPrefix(args)
	if err != nil {
		return "", "", fmt.Errorf("%s is not a string: its closing quote is missing, or a backslash in it begins no escape (write two)", given(args))
	}
	s, err = strconv.Unquote(quoted)
	if err == nil && s == "" {
		err = errors.New("the string is empty")
	}
	return s, args[len(quoted):], err
}

// parseRegexp reads a regular expression between slashes at the start of args.
func parseRegexp(args string) (*regexp.Regexp, string, error) {
	end := 1
	for end < len(args) && args[end] != '/' {
		if args[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(args) {
		return nil, "", fmt.Errorf("%s has no closing slash", given(args))
	}
	re, err := regexp.Compile(args[1:end]) // to which \/ is a slash, too
	if err != nil {
		return nil, "", fmt.Errorf("%s is not a regular expression: %s", given(args[1:end]), ownText(err.Error()))
	}
	return re, args[end+1:], nil
}
