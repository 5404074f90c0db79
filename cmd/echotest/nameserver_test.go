package echotest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"yodel/yodeltest/netns"
)

// A nameServer is a DNS server on a host. It knows one name for all addresses, and no
// address for any name.
type nameServer struct {
	name  string        // "" does not answer
	asked chan struct{} // closed at the first question for a name
	hold  chan struct{} // no answer before it is closed; nil: at once
}

// serveNames starts the server on h, for the programs on user, which know no name from
// their hosts file.
func (s *nameServer) serveNames(t *testing.T, h, user *netns.Host) {
	t.Helper()
	s.asked = make(chan struct{})
	user.Etc("hosts", "127.0.0.1 localhost\n")
	var socket *net.UDPConn
	err := h.Inside(func() (err error) {
		socket, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.V4, 53)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	user.Etc("resolv.conf", "nameserver "+h.V4.String()+"\n")
	go s.loop(socket)
}

// awaitQuestion waits until somebody has asked for a name.
func (s *nameServer) awaitQuestion(t *testing.T) {
	t.Helper()
	select {
	case <-s.asked:
	case <-time.After(patience):
		t.Fatalf("nobody has asked for a name in %v", patience)
	}
}

func (s *nameServer) loop(socket *net.UDPConn) {
	buf := make([]byte, 1500)
	for first := true; ; {
		n, from, err := socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(buf[:n]) != nil || len(question.Questions) != 1 {
			continue
		}
		if first && question.Questions[0].Type == dnsmessage.TypePTR {
			close(s.asked)
			first = false
		}
		if s.name != "" {
			go s.answer(socket, from, question)
		}
	}
}

func (s *nameServer) answer(socket *net.UDPConn, to netip.AddrPort, m dnsmessage.Message) {
	if s.hold != nil {
		<-s.hold
	}
	q := m.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true, RCode: dnsmessage.RCodeNameError},
		Questions: m.Questions,
	}
	if q.Type == dnsmessage.TypePTR {
		answer.RCode = dnsmessage.RCodeSuccess
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
			Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(s.name + ".")},
		}}
	}
	if packed, err := answer.Pack(); err == nil {
		socket.WriteToUDPAddrPort(packed, to)
	}
}
