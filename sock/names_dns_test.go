package sock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer is a small DNS server. Its records have a type and a name as key,
// "A www.example." or "PTR 192.0.2.1", and their data as values. Two values are
// special: "SERVFAIL" fails, and "SILENT" does not answer. What is not there does
// not exist.
type nameServer struct {
	records map[string][]string
	hold    chan struct{} // if not nil, answers wait until it is closed

	mu    sync.Mutex
	asked map[string]int
}

// count returns how often the server was asked for a key.
func (s *nameServer) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[key]
}

// countAll returns for how many different keys of a type the server was asked.
func (s *nameServer) countAll(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.asked {
		if strings.HasPrefix(key, prefix) {
			n++
		}
	}
	return n
}

// overUDP starts the server on a socket and returns a resolver that asks it.
func (s *nameServer) overUDP(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := s.answer(buf[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// overPipe returns a resolver that asks the server through memory, so that time
// may be a synctest bubble's.
func (s *nameServer) overPipe() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go s.serveStream(there)
		return here, nil
	}}
}

// serveStream answers as over TCP: a length stands before each message (RFC 1035
// §4.2.2).
func (s *nameServer) serveStream(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		if answer := s.answer(request); answer != nil {
			conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		}
	}
}

func (s *nameServer) answer(request []byte) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(request)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	values := s.take(q)
	if s.hold != nil {
		<-s.hold
	}
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case values == nil:
		answer.RCode = dnsmessage.RCodeNameError
	case values[0] == "SILENT":
		return nil
	case values[0] == "SERVFAIL":
		answer.RCode = dnsmessage.RCodeServerFailure
	default:
		for _, v := range values {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
				Body:   body(q.Type, v),
			})
		}
	}
	packed, err := answer.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// take counts a question and returns its values.
func (s *nameServer) take(q dnsmessage.Question) []string {
	key := strings.TrimPrefix(q.Type.String(), "Type") + " " + strings.ToLower(q.Name.String())
	for known := range s.records {
		if ip, ok := strings.CutPrefix(known, "PTR "); ok && key == "PTR "+arpa(netip.MustParseAddr(ip)) {
			key = known
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = make(map[string]int)
	}
	s.asked[key]++
	return s.records[key]
}

func body(kind dnsmessage.Type, value string) dnsmessage.ResourceBody {
	switch kind {
	case dnsmessage.TypeA:
		return &dnsmessage.AResource{A: netip.MustParseAddr(value).As4()}
	case dnsmessage.TypeAAAA:
		return &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(value).As16()}
	}
	return &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(value)}
}

// arpa returns the name under which the name of an address is found (RFC 1035
// §3.5, RFC 3596 §2.5).
func arpa(a netip.Addr) string {
	var labels []string
	for _, b := range a.AsSlice() {
		if a.Is4() {
			labels = append(labels, fmt.Sprint(b))
		} else {
			labels = append(labels, fmt.Sprintf("%x", b>>4), fmt.Sprintf("%x", b&15))
		}
	}
	slices.Reverse(labels)
	if a.Is4() {
		return strings.Join(labels, ".") + ".in-addr.arpa."
	}
	return strings.Join(labels, ".") + ".ip6.arpa."
}

// bubble runs f where time is synctest's. Package net reads its configuration once
// for the whole process; that must happen outside.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	outside := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("nobody is asked")
	}}
	outside.LookupHost(t.Context(), "configuration.invalid.")
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(time.Minute) // package net waits on for answers that nobody wants any more
	})
}
