package main

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// resp returns words as a program sends them.
func resp(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// parsed is what came out of a parser.
type parsed struct {
	commands [][]string
	sizes    []int
	wrong    string // what ended it; "": nothing did
	kept     int    // bytes that were not used
}

// feed gives the pieces to p as an engine does, and overwrites all memory that it lent.
func feed(p *parser, pieces ...string) (got parsed) {
	var left []byte
	for _, piece := range pieces {
		left = append(left, piece...)
		for {
			lent := bytes.Clone(left)
			words, n, err := p.next(lent)
			if err != nil {
				got.wrong = err.Error()
				return got
			}
			if len(words) > 0 {
				got.commands = append(got.commands, copied(words))
				got.sizes = append(got.sizes, p.size)
			}
			p.forget()
			for i := range lent {
				lent[i] = 0xdb
			}
			if n == 0 {
				break
			}
			left = left[n:]
		}
	}
	got.kept = len(left)
	return got
}

func copied(words [][]byte) []string {
	var all []string
	for _, w := range words {
		all = append(all, string(w))
	}
	return all
}

// The parser as it is, and one that gathers all that is not whole.
func parsers(maxValue int) map[string]parser {
	eager := newParser(maxValue)
	eager.gatherOver = 0
	return map[string]parser{"in place": newParser(maxValue), "gathering": eager}
}

func TestParser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     [][]string
	}{
		{"an array", resp("GET", "a"), [][]string{{"GET", "a"}}},
		{"two in one piece", resp("PING") + resp("GET", "a"), [][]string{{"PING"}, {"GET", "a"}}},
		{"an empty word", resp("SET", "a", ""), [][]string{{"SET", "a", ""}}},
		{"any bytes in a word", resp("\r\n\x00*$\xff"), [][]string{{"\r\n\x00*$\xff"}}},
		{"a length of two digits", resp("abcdefghijkl"), [][]string{{"abcdefghijkl"}}},
		{"arrays without words", "*0\r\n*-1\r\n*-7\r\n" + resp("PING"), [][]string{{"PING"}}},
		{"a line", "PING\r\n", [][]string{{"PING"}}},
		{"a line that ends in LF", "PING\n", [][]string{{"PING"}}},
		{"empty lines", "\r\n\n  \r\nPING\r\n", [][]string{{"PING"}}},
		{"spaces", " \tSET   a\t\tb \r\n", [][]string{{"SET", "a", "b"}}},
		{"a line and an array", "PING\r\n" + resp("ECHO", "x"), [][]string{{"PING"}, {"ECHO", "x"}}},
		{"double quotes", `SET "a b" "\"\n\r\t\b\a\x4a\xFf\q\\"` + "\n", [][]string{{"SET", "a b", "\"\n\r\t\b\aJ\xffq\\"}}},
		{"what is no hexadecimal number", `"\xg1\x4"` + "\n", [][]string{{"xg1x4"}}},
		{"single quotes", `SET 'a b' '\'\n"'` + "\n", [][]string{{"SET", "a b", `'\n"`}}},
		{"empty quotes", `SET a ""` + "\n", [][]string{{"SET", "a", ""}}},
		{"quotes within a word", `a"b c" d'e'` + "\n", [][]string{{"ab c", "de"}}},
		{"quotes are nothing special in an array", resp(`"a`), [][]string{{`"a`}}},
		{"half an array", "*2\r\n$3\r\nGET\r\n$1\r\n", nil},
		{"half a line", "PING", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for way, p := range parsers(100) {
				for cut, pieces := range yodeltest.Cuts(tt.in) {
					p := p
					if got := feed(&p, pieces...); !reflect.DeepEqual(got.commands, tt.want) || got.wrong != "" {
						t.Fatalf("%s, %s:\ngot  %q %s\nwant %q", way, cut, got.commands, got.wrong, tt.want)
					}
				}
			}
		})
	}
}

func TestParserRefuses(t *testing.T) {
	t.Parallel()
	var hundred []string
	for range 101 {
		hundred = append(hundred, strings.Repeat("x", 1000))
	}
	for _, tt := range []struct {
		name, in string
		want     protocolError
	}{
		{"a count that is no number", "*x\r\n", errBadCount},
		{"no count", "*\r\n", errBadCount},
		{"a count without CR", "*1\n", errBadCount},
		{"nothing but LF", "*\n", errBadCount},
		{"a sign", "*+1\r\n", errBadCount},
		{"a zero in front", "*01\r\n", errBadCount},
		{"minus zero", "*-0\r\n", errBadCount},
		{"a space", "* 1\r\n", errBadCount},
		{"too many words", "*1025\r\n", errBadCount},
		{"a count of 20 digits", "*10000000000000000000\r\n", errBadCount},
		{"a count beyond 63 bits", "*9223372036854775808\r\n", errBadCount},
		{"a count that does not end", "*" + strings.Repeat("1", 31), errLongCount},
		{"no dollar", "*1\r\n:1\r\n", `expected '$', got ":"`},
		{"a control byte in place of a dollar", "*1\r\n\x1b", `expected '$', got "\x1b"`},
		{"a length that is no number", "*1\r\n$x\r\n", errBadLength},
		{"a negative length", "*1\r\n$-1\r\n", errBadLength},
		{"a length beyond the bound", "*1\r\n$1001\r\n", errBadLength},
		{"Redis's greatest value", "*1\r\n$536870912\r\n", errBadLength},
		{"a length that does not end", "*1\r\n$" + strings.Repeat("0", 31), errLongLength},
		{"a word longer than it says", "*1\r\n$3\r\nGETS\r\n", errNoNewline},
		{"a word without CR", "*1\r\n$3\r\nGET\n\n", errNoNewline},
		{"a double quote alone", "SET \"a\r\n", errQuotes},
		{"a single quote alone", "SET 'a\r\n", errQuotes},
		{"a backslash in front of the last quote", `SET 'a\'` + "\n", errQuotes},
		{"no space behind a quote", `SET "a"b` + "\n", errQuotes},
		{"a double quote at the end", "SET a\"\n", errQuotes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for way, p := range parsers(1000) {
				for cut, pieces := range yodeltest.Cuts(resp("PING") + tt.in) {
					p := p
					got := feed(&p, pieces...)
					if want := tt.want.Error(); got.wrong != want {
						t.Fatalf("%s, %s:\ngot  %q\nwant %q", way, cut, got.wrong, want)
					}
					if !reflect.DeepEqual(got.commands, [][]string{{"PING"}}) {
						t.Fatalf("%s, %s: the command before it came out as %q", way, cut, got.commands)
					}
				}
			}
		})
	}
	t.Run("more bytes than a command may have", func(t *testing.T) {
		t.Parallel()
		for way, p := range parsers(1000) {
			q := p
			if got := feed(&p, resp(hundred[:66]...)); len(got.commands) != 1 {
				t.Errorf("%s: 66,000 bytes: %q", way, got.wrong)
			}
			if got := feed(&q, resp(hundred[:67]...)); got.wrong != errLongCommand.Error() {
				t.Errorf("%s: 67,000 bytes: %q", way, got.wrong)
			}
		}
	})
}

func TestParserInlineBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxInline-1)
	for _, tt := range []struct {
		name string
		in   []string
		want string // what is wrong
	}{
		{"the longest line", []string{long + "\n"}, ""},
		{"in two pieces", []string{long, "\n"}, ""},
		{"a byte longer", []string{long + "x\n"}, errLongInline.Error()},
		{"longer, and without an end", []string{long, "x"}, errLongInline.Error()},
		{"1,024 words", []string{strings.Repeat("x ", maxWords) + "\n"}, ""},
		{"1,025 words", []string{strings.Repeat("x ", maxWords+1) + "\n"}, errManyWords.Error()},
	} {
		p := newParser(maxInline)
		if got := feed(&p, tt.in...); got.wrong != tt.want || tt.want == "" && len(got.commands) != 1 {
			t.Errorf("%s: %d commands, %q; want %q", tt.name, len(got.commands), got.wrong, tt.want)
		}
	}
}

func TestParserTellsSizes(t *testing.T) {
	t.Parallel()
	big := resp("SET", "a", strings.Repeat("x", 5000))
	in := "PING\r\n" + resp("GET", "a") + big
	p := newParser(10_000)
	got := feed(&p, in[:40], in[40:2000], in[2000:])
	if want := []int{6, len(resp("GET", "a")), len(big)}; !slices.Equal(got.sizes, want) {
		t.Errorf("sizes %v, want %v", got.sizes, want)
	}
}

// What an engine has to keep is little, and the parser keeps what has come and not what
// was promised.
func TestParserKeepsLittle(t *testing.T) {
	t.Parallel()
	const maxValue = 1 << 20
	in := resp("SET", "key", strings.Repeat("v", maxValue))
	p := newParser(maxValue)
	for sent := 0; sent < len(in); {
		piece := in[sent:min(sent+1500, len(in))]
		sent += len(piece)
		if got := feed(&p, piece); got.kept > gatherOver {
			t.Fatalf("after %d bytes %d are left with the engine", sent, got.kept)
		}
		if cap(p.part) > gatherGrowth*sent {
			t.Fatalf("after %d bytes %d are held", sent, cap(p.part))
		}
	}
	if p.left != 0 || p.part != nil || p.whole != nil {
		t.Errorf("after the command %d bytes are still held", cap(p.part))
	}
	feed(&p, strings.Repeat("PING ", 1000)+"\n")
	if cap(p.words) > 64 || p.text != nil {
		t.Errorf("after a long line %d words and %d bytes are still held", cap(p.words), cap(p.text))
	}
}

func TestParseInt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "7": 7, "-7": -7, "10": 10,
		"9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63,
	} {
		if n, ok := parseInt([]byte(text)); n != want || !ok {
			t.Errorf("%q: %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{
		"", "-", "--1", "+1", " 1", "1 ", "1.0", "0x1", "01", "-0", "-01", "a", "1a",
		"9223372036854775808", "-9223372036854775809", "9999999999999999999", "10000000000000000000",
	} {
		if n, ok := parseInt([]byte(text)); ok {
			t.Errorf("%q is taken for %d", text, n)
		}
	}
}

// naive is the parser again in the plainest way, for input that is there as a whole.
func naive(in string, maxValue int) (commands [][]string, wrong string) {
	for in != "" {
		parse := naiveLine
		if in[0] == '*' {
			parse = naiveArray
		}
		words, rest, err := parse(in, maxValue)
		if err == errMore {
			return commands, ""
		}
		if err != nil {
			return commands, err.Error()
		}
		if len(words) > 0 {
			commands = append(commands, words)
		}
		in = rest
	}
	return commands, ""
}

const errMore = protocolError("more must come")

func naiveArray(in string, maxValue int) (words []string, rest string, err error) {
	count, rest, err := naiveHeader(in, errLongCount, errBadCount)
	if err != nil {
		return nil, "", err
	}
	if count > maxWords {
		return nil, "", errBadCount
	}
	sum := 0
	for len(words) < count {
		if rest != "" && rest[0] != '$' {
			return nil, "", protocolError("expected '$', got " + strconv.QuoteToASCII(rest[:1]))
		}
		var length int
		if length, rest, err = naiveHeader(rest, errLongLength, errBadLength); err != nil {
			return nil, "", err
		}
		sum += length
		switch {
		case length < 0 || length > maxValue:
			return nil, "", errBadLength
		case sum > maxValue+maxOverhead:
			return nil, "", errLongCommand
		case len(rest) < length+2:
			return nil, "", errMore
		case rest[length:length+2] != "\r\n":
			return nil, "", errNoNewline
		}
		words = append(words, rest[:length])
		rest = rest[length+2:]
	}
	return words, rest, nil
}

var numberPattern = regexp.MustCompile(`^.(0|-?[1-9][0-9]*)\r$`)

func naiveHeader(in string, long, bad protocolError) (n int, rest string, err error) {
	line, rest, whole := strings.Cut(in, "\n")
	switch {
	case len(line) >= maxHeader:
		return 0, "", long
	case !whole:
		return 0, "", errMore
	}
	match := numberPattern.FindStringSubmatch(line)
	if match == nil {
		return 0, "", bad
	}
	if n, err = strconv.Atoi(match[1]); err != nil {
		return 0, "", bad
	}
	return n, rest, nil
}

func naiveLine(in string, maxValue int) (words []string, rest string, err error) {
	line, rest, whole := strings.Cut(in, "\n")
	switch {
	case len(line) >= maxInline:
		return nil, "", errLongInline
	case !whole:
		return nil, "", errMore
	}
	const spaces = " \t\r\v\f"
	line = strings.Trim(line, spaces)
	for line != "" {
		if len(words) == maxWords {
			return nil, "", errManyWords
		}
		end := strings.IndexAny(line+" ", spaces+`"'`)
		word := line[:end]
		if line = line[end:]; strings.IndexAny(line, `"'`) == 0 {
			quoted, n := naiveQuoted(line)
			if n == 0 || n < len(line) && !strings.ContainsRune(spaces, rune(line[n])) {
				return nil, "", errQuotes
			}
			word += quoted
			line = line[n:]
		}
		if len(word) > maxValue {
			return nil, "", errLongInline
		}
		words = append(words, word)
		line = strings.TrimLeft(line, spaces)
	}
	return words, rest, nil
}

var escapePattern = regexp.MustCompile(`(?s)^\\(x[0-9a-fA-F]{2}|.)`)

// naiveQuoted returns what is quoted at the beginning of line and where it ends; 0: it
// does not.
func naiveQuoted(line string) (text string, end int) {
	for i := 1; i < len(line); {
		rest := line[i:]
		escape := escapePattern.FindString(toLatin1(rest))
		switch {
		case rest[0] == line[0]:
			return text, i + 1
		case line[0] == '\'' && strings.HasPrefix(rest, `\'`):
			text += "'"
			i += 2
		case line[0] == '"' && escape != "":
			n := len([]rune(escape))
			text += naiveEscape(rest[:n])
			i += n
		default:
			text += rest[:1]
			i++
		}
	}
	return "", 0
}

func naiveEscape(escape string) string {
	plain := map[string]string{`\n`: "\n", `\r`: "\r", `\t`: "\t", `\b`: "\b", `\a`: "\a"}
	if b, err := strconv.ParseUint(escape[2:], 16, 8); err == nil && len(escape) == 4 {
		return string([]byte{byte(b)})
	}
	if text, ok := plain[escape]; ok {
		return text
	}
	return escape[1:]
}

// toLatin1 makes each byte a rune, for regular expressions.
func toLatin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func FuzzParser(f *testing.F) {
	for _, in := range []string{
		resp("SET", "key:1", "value") + resp("GET", "key:1"), "*0\r\n*-1\r\n*2\r\n$0\r\n\r\n$1\r\nx\r\n",
		"PING\r\n\r\nSET \"a\\x41\\n\" 'b\\'c'\r\n", "*1\r\n$-1\r\n", "*1025\r\n", "*1\r\n:5\r\n",
		"*1\r\n$3\r\nGETxx", "$5\r\nhello\r\n", "\"a\"b\n", "a\"b c\" d\n", "*1\r\n$12\r\n",
		resp("SET", "a", strings.Repeat("x", 300)), "*" + strings.Repeat("1", 40),
		"SET a \"\\x4\"\n\"\\\xff\"\n", "*1\r\n$1\r\na\r\n\x00\xff\r\n", `"\`,
	} {
		f.Add([]byte(in), uint16(7), uint16(20), uint16(30))
	}
	f.Fuzz(func(t *testing.T, in []byte, first, second, over uint16) {
		const maxValue = 200
		want, wrong := naive(string(in), maxValue)
		a := int(first) % (len(in) + 1)
		b := a + int(second)%(len(in)-a+1)
		p := newParser(maxValue)
		p.gatherOver = int(over)
		got := feed(&p, string(in[:a]), string(in[a:b]), string(in[b:]))
		if got.wrong != wrong || !reflect.DeepEqual(got.commands, want) {
			t.Errorf("%q cut at %d and %d, gathered over %d:\ngot  %q %s\nwant %q %s", in, a, b, over, got.commands, got.wrong, want, wrong)
		}
		if got.kept > max(int(over), maxInline) {
			t.Errorf("%d bytes are left with the engine", got.kept)
		}
	})
}
