// Package escape makes text from a peer safe to show. Every such text goes
// through it before it reaches a terminal or a log: payloads, names, paths,
// PTR records, reply texts, errors that quote any of them.
//
// What a reader could not see, or a terminal would obey, becomes an escape as Go
// and C write them; everything else stays as it is. Escaped are
//
//   - control characters, C0 (ESC, CR, LF, NUL …), DEL and C1: \n, \x1b, \u009b;
//   - format characters (Unicode category Cf), among them the bidirectional
//     controls, zero-width characters, the byte order mark and the soft hyphen;
//   - line and paragraph separators, spaces other than U+0020, variation
//     selectors, fillers, private use and unassigned code points: \u2028, \u00a0;
//   - each byte that is not part of valid UTF-8: \xff;
//   - the backslash: \\.
//
// So every backslash in the result begins an escape, and the escapes give the
// original bytes back. \x stands for a byte, \u and \U for a code point. Quotes
// are not escaped: the result is not a quoted string.
package escape

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// ellipsis stands where StringN has cut.
const ellipsis = "…"

// String returns s with all that is unsafe to show escaped. It returns s itself,
// and allocates nothing, when there is nothing to escape.
func String(s string) string {
	if safe([]byte(s)) == len(s) {
		return s
	}
	return string(Append(make([]byte, 0, len(s)+16), []byte(s)))
}

// StringN is String for text of any length: it returns at most max bytes of the
// escaped form, no character or escape cut in two, and "…" behind them if that is
// not all. It looks at no more of s than that takes, and copies no more.
func StringN(s string, max int) string {
	if len(s) <= max && safe([]byte(s)) == len(s) {
		return s
	}
	var out []byte
	for i := 0; i < len(s); {
		end := len(out)
		var n int
		out, n = appendNext(out, []byte(s[i:]))
		if len(out) > max {
			return string(append(out[:end], ellipsis...))
		}
		i += n
	}
	return string(out)
}

// Append appends the escaped form of src to dst and returns the result. An
// escape is at most ten bytes, and at most four times as long as what it stands
// for. src is not changed; it must not overlap the free capacity of dst.
func Append(dst, src []byte) []byte {
	for len(src) > 0 {
		n := safe(src)
		dst = append(dst, src[:n]...)
		if src = src[n:]; len(src) > 0 {
			dst, n = appendNext(dst, src)
			src = src[n:]
		}
	}
	return dst
}

// safe returns how many bytes at the start of src may be shown as they are.
func safe(src []byte) int {
	for i := 0; i < len(src); {
		if c := src[i]; c < utf8.RuneSelf {
			if c < ' ' || c == '\\' || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(src[i:])
		if !visible(r, n) {
			return i
		}
		i += n
	}
	return len(src)
}

// visible reports whether r, decoded from n bytes, shows as itself. It answers
// for non-ASCII only.
func visible(r rune, n int) bool {
	if r == utf8.RuneError && n == 1 { // U+FFFD itself has three bytes
		return false
	}
	// IsPrint admits some marks and letters that have no shape of their own.
	return strconv.IsPrint(r) &&
		!unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// appendNext appends the first character, or invalid byte, of src, escaped if
// need be, and returns its length in src, which must not be empty.
func appendNext(dst, src []byte) ([]byte, int) {
	r, n := utf8.DecodeRune(src)
	switch {
	case safe(src[:n]) == n:
		return append(dst, src[:n]...), n
	case n == 1: // ASCII, or a byte that is no UTF-8
		return appendByte(dst, src[0]), n
	case r <= 0xffff:
		return appendHex(append(dst, `\u`...), uint32(r), 4), n
	}
	return appendHex(append(dst, `\U`...), uint32(r), 8), n
}

// short holds the letter of each one-letter escape.
var short = [...]byte{
	'\a': 'a', '\b': 'b', '\t': 't', '\n': 'n', '\v': 'v', '\f': 'f', '\r': 'r', '\\': '\\',
}

func appendByte(dst []byte, c byte) []byte {
	if int(c) < len(short) && short[c] != 0 {
		return append(dst, '\\', short[c])
	}
	return appendHex(append(dst, `\x`...), uint32(c), 2)
}

// appendHex appends v as that many hexadecimal digits.
func appendHex(dst []byte, v uint32, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[v>>shift&0xf])
	}
	return dst
}
