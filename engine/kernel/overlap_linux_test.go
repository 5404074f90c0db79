package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"yodel/engine/kernel"
	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// A segment that begins with what has come before is echoed from where it is new, by
// whichever hand: the kernel gives a program all of it.
func TestOverlap(t *testing.T) {
	yodeltest.NeedRoot(t)
	host, _ := netns.Two(t)
	wire := newWire(t, host)
	s := serveOn(t, wire.listen(t, host), nil, nil)
	c := &handmade{wire: wire, port: s.addr.(*net.TCPAddr).Port, next: 1}
	if err := c.connect(); err != nil {
		t.Fatal(err)
	}
	segments := []struct{ from, to int }{
		{0, 100},
		{100, 200},
		{150, 250},
		{0, 251},
		{251, 20_000},
		{10_000, 30_000},
		{0, 45_000},
		{44_999, 45_001},
		{45_001, 45_500},
	}
	for _, seg := range segments {
		if err := c.exchange(seg.from, seg.to); err != nil {
			t.Fatalf("bytes %d to %d: %v", seg.from, seg.to, err)
		}
	}
	if n := kernel.Stripped(s.Engine); n != 5 {
		t.Errorf("%d segments were stripped, want 5", n)
	}
	if st := s.Stats(); st.BytesIn != 45_500 || s.Relayed() == 0 {
		t.Errorf("%d bytes came in, %d were relayed", st.BytesIn, s.Relayed())
	}
}

// wire is an interface whose other end is this test.
type wire struct{ *os.File }

const here, there = "10.9.0.1", "10.9.0.2"

func newWire(t *testing.T, host *netns.Host) wire {
	t.Helper()
	var fd int
	err := host.Inside(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		req, err := unix.NewIfreq("byhand")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	})
	if err != nil {
		t.Fatal("a TUN interface:", err)
	}
	f := os.NewFile(uintptr(fd), "tun")
	t.Cleanup(func() { f.Close() })
	host.Run("ip", "link", "set", "byhand", "mtu", "65000", "up")
	host.Run("ip", "addr", "add", here+"/24", "dev", "byhand")
	return wire{f}
}

func (wire) listen(t *testing.T, host *netns.Host) (l net.Listener) {
	t.Helper()
	err := host.Inside(func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", here+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// handmade is a client whose segments are written by hand.
type handmade struct {
	wire
	port int
	next uint32 // the sequence number of the first byte that we send
	peer uint32 // and of the first byte that the server sends
	back []byte // what came back, in order
}

func (c *handmade) send(seq uint32, tcp layers.TCP, payload []byte) error {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.ParseIP(there), DstIP: net.ParseIP(here)}
	tcp.SrcPort, tcp.DstPort, tcp.Seq, tcp.Window = 4000, layers.TCPPort(c.port), seq, 65_000
	if tcp.ACK {
		tcp.Ack = c.peer + uint32(len(c.back))
	}
	tcp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, &tcp, gopacket.Payload(payload))
	if err != nil {
		return err
	}
	_, err = c.Write(buf.Bytes())
	return err
}

func (c *handmade) connect() error {
	if err := c.send(c.next-1, layers.TCP{SYN: true}, nil); err != nil {
		return err
	}
	answer, err := c.receive()
	if err != nil {
		return err
	}
	if !answer.SYN || !answer.ACK {
		return errors.New("no SYN-ACK")
	}
	c.peer = answer.Seq + 1
	return c.send(c.next, layers.TCP{ACK: true}, nil)
}

// receive returns the next segment that the server sends.
func (c *handmade) receive() (*layers.TCP, error) {
	buf := make([]byte, 65<<10)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		p := gopacket.NewPacket(buf[:n], layers.LayerTypeIPv4, gopacket.NoCopy)
		if tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
			return tcp, nil
		}
	}
}

// exchange sends the bytes from one place of the pattern to another, and returns when all
// up to there came back.
func (c *handmade) exchange(from, to int) error {
	all := make([]byte, to)
	fill(all, 0)
	if err := c.send(c.next+uint32(from), layers.TCP{ACK: true, PSH: true}, all[from:]); err != nil {
		return err
	}
	for len(c.back) < to {
		tcp, err := c.receive()
		if err != nil {
			return fmt.Errorf("%w after %d bytes", err, len(c.back))
		}
		if tcp.RST {
			return errors.New("a reset")
		}
		if old := int(c.peer + uint32(len(c.back)) - tcp.Seq); old >= 0 && old < len(tcp.Payload) {
			c.back = append(c.back, tcp.Payload[old:]...)
			if err := c.send(c.next+uint32(to), layers.TCP{ACK: true}, nil); err != nil {
				return err
			}
		}
	}
	if !bytes.Equal(c.back, all) {
		return fmt.Errorf("%d bytes came back, and they differ", len(c.back))
	}
	return nil
}
