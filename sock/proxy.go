package sock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"
)

// The PROXY protocol tells a server behind a proxy who the client is: the proxy sends
// a header in front of all else (haproxy.org, "The PROXY protocol", versions 1 and 2).
// Whoever can connect can send such a header, so a server believes it only where it
// was told to, and only from proxies it knows.

// Bounds of a header in bytes.
const (
	maxProxyV1 = 107       // the specification's §2.1, CR LF included
	maxProxyV2 = 16 + 4080 // of the 65,551 that the length field allows
)

var (
	proxyV1 = []byte("PROXY ")
	proxyV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// ErrNoProxyHeader reports that what came is no header of the PROXY protocol.
var ErrNoProxyHeader = errors.New("no PROXY header")

// ReadProxyHeader reads a header of version 1 or 2 from r, and not one byte more. It
// returns the socket pair of the connection between client and proxy. The pair is not
// valid if the header names none: the proxy speaks for itself (LOCAL, UNKNOWN), or the
// client came by something else than TCP.
//
// The error wraps ErrNoProxyHeader for what is no header, and is r's if reading
// failed; where r then stands is not defined. How long it may take is for a deadline
// of r's to say.
func ReadProxyHeader(r io.Reader) (Pair, error) {
	head := make([]byte, len(proxyV2), maxProxyV1) // no header is shorter
	if _, err := io.ReadFull(r, head); err != nil {
		return Pair{}, err
	}
	var err error
	switch {
	case bytes.Equal(head, proxyV2):
		head, err = restOfV2(r, head)
	case bytes.HasPrefix(head, proxyV1):
		head, err = restOfV1(r, head)
	default:
		return Pair{}, fmt.Errorf("%w: it begins with %q", ErrNoProxyHeader, head)
	}
	if err != nil {
		return Pair{}, err
	}
	return parseProxyHeader(head)
}

// restOfV1 reads up to the end of the line, byte by byte: what follows it is not ours.
func restOfV1(r io.Reader, head []byte) ([]byte, error) {
	for !bytes.HasSuffix(head, []byte("\r\n")) {
		if len(head) == maxProxyV1 || head[len(head)-1] == '\n' {
			return nil, fmt.Errorf("%w: a line of version 1 ends with CR LF within %d bytes", ErrNoProxyHeader, maxProxyV1)
		}
		head = head[:len(head)+1]
		if _, err := io.ReadFull(r, head[len(head)-1:]); err != nil {
			return nil, err
		}
	}
	return head, nil
}

// restOfV2 reads what the length field says, if that is within the bound.
func restOfV2(r io.Reader, head []byte) ([]byte, error) {
	head = append(head, 0, 0, 0, 0)
	if _, err := io.ReadFull(r, head[12:]); err != nil {
		return nil, err
	}
	n := int(head[14])<<8 | int(head[15])
	if 16+n > maxProxyV2 {
		return nil, fmt.Errorf("%w: its length field says %d bytes, at most %d are taken", ErrNoProxyHeader, n, maxProxyV2-16)
	}
	head = append(head, make([]byte, n)...)
	_, err := io.ReadFull(r, head[16:])
	return head, err
}

func parseProxyHeader(head []byte) (Pair, error) {
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return Pair{}, fmt.Errorf("%w: %w", ErrNoProxyHeader, err)
	}
	client, server, ok := h.TCPAddrs()
	if !ok || h.Command.IsLocal() {
		return Pair{}, nil
	}
	return Pair{Client: unmapped(client.AddrPort()), Server: unmapped(server.AddrPort())}, nil
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// ProxyHeader returns the header of a version, 1 or 2, that tells a server of the
// connection of pair. A pair that is not valid makes a header that says so.
func ProxyHeader(version int, pair Pair) ([]byte, error) {
	if version != 1 && version != 2 {
		return nil, fmt.Errorf("the PROXY protocol has versions 1 and 2, not %d", version)
	}
	h := &proxyproto.Header{Version: byte(version), Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	if pair.IsValid() {
		h = proxyproto.HeaderProxyFromAddrs(byte(version), net.TCPAddrFromAddrPort(pair.Client), net.TCPAddrFromAddrPort(pair.Server))
	}
	return h.Format()
}
