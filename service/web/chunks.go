package web

// chunks follows a chunked body, RFC 9112 §7.1, to find its end, and takes nothing that
// another program might read in another way.
type chunks struct {
	state chunkState
	left  int64 // of the chunk's data
	size  int   // digits of the size so far
	extra int   // bytes of this extension, or of all trailers
	last  bool  // the chunk of size 0 has come
}

// Bounds of what is no data.
const (
	sizeDigits  = 15      // of a chunk's size: it stays below 2^60
	extMax      = 256     // bytes of an extension
	trailersMax = 4 << 10 // bytes of all trailers
)

type chunkState uint8

const (
	inSize chunkState = iota
	inExt
	atSizeLF
	inData
	atDataCR
	atDataLF
	atTrailer // where a line begins
	inTrailerName
	inTrailerValue
	atTrailerLF
	atLastLF
	ended
)

// feed looks at p, which follows what it was fed before. It returns how many bytes belong
// to the body; fewer than all only if the body has ended there.
func (c *chunks) feed(p []byte) (n int, why *refusal) {
	for n < len(p) && c.state != ended {
		if c.state == inData {
			n += c.skip(len(p) - n)
			continue
		}
		if why := c.step(p[n]); why != nil {
			return n, why
		}
		n++
	}
	return n, nil
}

// skip passes at most n bytes of data.
func (c *chunks) skip(n int) int {
	n = int(min(int64(n), c.left))
	if c.left -= int64(n); c.left == 0 {
		c.state = atDataCR
	}
	return n
}

// step takes one byte that is no data.
func (c *chunks) step(b byte) *refusal {
	switch c.state {
	case inSize:
		return c.sizeByte(b)
	case inExt:
		return c.extByte(b)
	case atSizeLF:
		c.state = inData
		if c.last = c.left == 0; c.last {
			c.state, c.extra = atTrailer, 0
		}
		return want(b, '\n')
	case atDataCR:
		c.state = atDataLF
		return want(b, '\r')
	case atDataLF:
		c.state, c.size, c.extra = inSize, 0, 0
		return want(b, '\n')
	case atTrailerLF:
		c.state = atTrailer
		return want(b, '\n')
	case atLastLF:
		c.state = ended
		return want(b, '\n')
	}
	return c.trailerByte(b)
}

func want(b, wanted byte) *refusal {
	if b != wanted {
		return bad("a chunk does not end where it should")
	}
	return nil
}

func (c *chunks) sizeByte(b byte) *refusal {
	digit, ok := hexDigit(b)
	switch {
	case ok && c.size < sizeDigits:
		c.left, c.size = c.left<<4|int64(digit), c.size+1
	case c.size == 0 || ok:
		return bad("a chunk's size is no number")
	case b == '\r':
		c.state = atSizeLF
	case b == ';':
		c.state = inExt
	default:
		return bad("a chunk's size is no number")
	}
	return nil
}

func hexDigit(b byte) (byte, bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b|0x20 && b|0x20 <= 'f':
		return b | 0x20 - 'a' + 10, true
	}
	return 0, false
}

func (c *chunks) extByte(b byte) *refusal {
	c.extra++
	switch {
	case b == '\r':
		c.state = atSizeLF
	case c.extra > extMax || classes[b]&visibleByte == 0 && b != ' ' && b != '\t':
		return bad("a chunk's extension is too long or has control bytes")
	}
	return nil
}

// trailerByte takes a byte of the fields behind the last chunk.
func (c *chunks) trailerByte(b byte) *refusal {
	if c.extra++; c.extra > trailersMax {
		return bad("the trailers are too long")
	}
	switch {
	case b == '\r' && c.state == atTrailer:
		c.state = atLastLF
	case b == '\r' && c.state == inTrailerValue:
		c.state = atTrailerLF
	case c.state == inTrailerValue && classes[b]&fieldByte != 0:
	case b == ':' && c.state == inTrailerName:
		c.state = inTrailerValue
	case c.state != inTrailerValue && classes[b]&tokenByte != 0:
		c.state = inTrailerName
	default:
		return bad("a trailer is not NAME: VALUE")
	}
	return nil
}
