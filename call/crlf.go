package call

import "bytes"

// CRLF turns newlines into CR LF, the end of a line in the protocols of the Internet
// (RFC 854 "The NVT printer and keyboard", RFC 5321 §2.3.8). A CR LF that is there
// already stays as it is. How the text is cut into pieces makes no difference. The
// zero value is ready for the start of a text.
type CRLF struct {
	cr bool // the text so far ends in CR
}

// Append appends the translation of src, which follows what earlier calls were given,
// to dst and returns the result. It is at most twice as long as src.
func (c *CRLF) Append(dst, src []byte) []byte {
	for len(src) > 0 {
		n := bytes.IndexByte(src, '\n')
		if n < 0 {
			c.cr = src[len(src)-1] == '\r'
			return append(dst, src...)
		}
		bare := n == 0 && !c.cr || n > 0 && src[n-1] != '\r'
		dst = append(dst, src[:n]...)
		if bare {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		src, c.cr = src[n+1:], false
	}
	return dst
}

// DefaultCRLF reports whether a service on this port is one to which a person's lines
// go with CR LF: FTP (21), telnet (23), SMTP (25), HTTP (80).
func DefaultCRLF(port uint16) bool {
	switch port {
	case 21, 23, 25, 80:
		return true
	}
	return false
}
