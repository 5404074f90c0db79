package load

import "encoding/binary"

// A stream is what one connection sends: each byte is a function of the seed, the
// connection and its position. Eight bytes that stand together on a multiple of eight
// are one word, the mixture of a number that names connection and place; and mixing can
// be undone. So bytes that came where they don't belong say where they do.
//
// A line has words of sixteen characters in place of eight bytes.
type stream struct {
	key  uint64 // of the seed
	conn int
	line int64 // the length of a line, whose last byte is a newline; 0: any bytes
	back bool  // as the server returns it: in capitals, if it is lines
}

const (
	placeBits = 38 // words of a connection: 2 TiB
	connBits  = 26
)

// newStream returns the stream of a connection. Its key is of no seed 0, which is mix's own
// fixed point: zeros, the commonest wrong bytes, would be right, or another's.
func newStream(seed uint64, conn int, line int64) stream {
	return stream{key: mix(seed + 0x9e3779b97f4a7c15), conn: conn % maxConns, line: line}
}

// alphabet is what a line is made of, in the way there; and back, where letters are
// capitals. Both are sixteen different characters.
var alphabet = [2]string{"abcdefghIJKLM07~", "ABCDEFGHIJKLM07~"}

// mix is the finishing step of SplitMix64: every bit of x reaches every bit of the
// result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unmix undoes mix: the factors are the inverses of its own, modulo 2^64.
func unmix(x uint64) uint64 {
	x = (x ^ x>>31 ^ x>>62) * 0x319642b2d24d8ec3
	x = (x ^ x>>27 ^ x>>54) * 0x96de1b173f119089
	return x ^ x>>30 ^ x>>60
}

// name returns what word number i of the stream is the mixture of.
func (s stream) name(i int64) uint64 {
	return s.key + (uint64(s.conn)<<placeBits | uint64(i)&(1<<placeBits-1))
}

// unname returns which word of which connection w is. It may be none: then both are
// random.
func (s stream) unname(w uint64) (conn int, i int64) {
	name := unmix(w) - s.key
	return int(name >> placeBits), int64(name & (1<<placeBits - 1))
}

// fill writes the stream's bytes from position at on into p.
func (s stream) fill(p []byte, at int64) {
	if s.line > 0 {
		for i := range p {
			p[i] = s.lineByte(at + int64(i))
		}
		return
	}
	i := at / 8
	if into := at % 8; into > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], mix(s.name(i)))
		p = p[copy(p, word[into:]):]
		i++
	}
	for ; len(p) >= 8; p, i = p[8:], i+1 {
		binary.LittleEndian.PutUint64(p, mix(s.name(i)))
	}
	if len(p) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], mix(s.name(i)))
		copy(p, word[:])
	}
}

func (s stream) lineByte(at int64) byte {
	if (at+1)%s.line == 0 {
		return '\n'
	}
	w := mix(s.name(at / 16))
	return s.letters()[w>>(at%16*4)&15]
}

func (s stream) letters() string {
	if s.back {
		return alphabet[1]
	}
	return alphabet[0]
}

// byteAt returns one byte.
func (s stream) byteAt(at int64) byte {
	var p [1]byte
	s.fill(p[:], at)
	return p[0]
}

// differ returns where p first differs from what stands at position at on, and len(p) if
// it does not.
func (s stream) differ(p []byte, at int64) int {
	done := 0
	if s.line == 0 && at%8 == 0 {
		for i := at / 8; len(p)-done >= 8; i++ {
			if binary.LittleEndian.Uint64(p[done:]) != mix(s.name(i)) {
				break
			}
			done += 8
		}
	}
	var buf [512]byte
	for done < len(p) {
		want := buf[:min(len(p)-done, len(buf))]
		s.fill(want, at+int64(done))
		for i, b := range want {
			if p[done+i] != b {
				return done + i
			}
		}
		done += len(want)
	}
	return done
}

// wordLength is how many bytes of the stream are one word.
func (s stream) wordLength() int {
	if s.line > 0 {
		return 16
	}
	return 8
}

// locate says where the word at the beginning of p belongs, if it is one of a
// connection below conns.
func (s stream) locate(p []byte, conns int) (conn int, at int64, ok bool) {
	var w uint64
	if s.line == 0 {
		w = binary.LittleEndian.Uint64(p)
	} else if w, ok = s.readLetters(p); !ok {
		return 0, 0, false
	}
	conn, i := s.unname(w)
	at = i * int64(s.wordLength())
	return conn, at, conn < conns && at < 1<<40
}

// readLetters undoes lineByte, for sixteen characters of which none is a newline.
func (s stream) readLetters(p []byte) (w uint64, ok bool) {
	letters := s.letters()
	for i, b := range p[:16] {
		at := indexByte(letters, b)
		if at < 0 {
			return 0, false
		}
		w |= uint64(at) << (4 * i)
	}
	return w, true
}

func indexByte(s string, b byte) int {
	for i := range len(s) {
		if s[i] == b {
			return i
		}
	}
	return -1
}
