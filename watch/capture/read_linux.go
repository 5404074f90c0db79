package capture

import (
	"net"

	"golang.org/x/sys/unix"
)

// Next waits for packets and returns those that came together, in the order in which
// they came: at least one. They are lent: their Data, and the slice, are valid until
// the next call of Next, and [Packet.Clone] keeps one for longer.
//
// It returns io.EOF after Stop, when all that was captured has been returned, and
// net.ErrClosed after Close, at once. After any error but these the capture is of no
// more use.
func (c *Capture) Next() ([]Packet, error) {
	if !c.enter() {
		return nil, net.ErrClosed
	}
	defer c.leave()
	for {
		c.ring.takeBack()
		if err := c.read(); err != nil {
			return nil, err
		}
		if len(c.packets) > 0 {
			return c.packets, nil
		}
	}
}

// enter takes back what was lent.
func (c *Capture) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.ring.free()
	}
	c.reading = !c.closed
	return c.reading
}

func (c *Capture) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	if c.closed && c.ring.lent == 0 {
		c.ring.free()
	}
}

// read takes the packets of a block, or of some, that may be shown, and wipes the
// others.
func (c *Capture) read() error {
	c.sights, c.packets = c.sights[:0], c.packets[:0]
	for more := true; more; {
		block, err := c.ring.next()
		if err == nil {
			more, err = c.take(block)
		}
		if err != nil {
			c.wipe()
			return err
		}
	}
	return nil
}

// take judges the packets of a block. It asks for more of them if that can't be done yet.
func (c *Capture) take(block []byte) (more bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		clear(block)
		return false, net.ErrClosed
	}
	if c.gate != nil {
		c.gate.begin()
	}
	if err := c.ring.each(block, c.add); err != nil {
		clear(block)
		return false, err
	}
	if c.ports != nil {
		if more, err = c.ports.begin(c.sights, c.ring); more || err != nil {
			return more, err
		}
		c.keep(c.ports.admit)
	}
	if c.picker != nil {
		c.picker.begin()
		c.keep(c.picker.admit)
	}
	c.stats.Delivered += uint64(len(c.packets))
	return false, nil
}

// add takes one packet. Where each can be judged by itself that is done at once.
func (c *Capture) add(f frame) {
	c.packets = append(c.packets, Packet{})
	p := &c.packets[len(c.packets)-1]
	network := c.packet(f, p)
	if c.info.Method == Everyone && c.picker == nil {
		return
	}
	s := &c.sight // one for all: each of its own would be garbage
	*s = sight{}
	s.look(p, network)
	if c.gate != nil {
		proof, ok := c.gate.admit(s)
		if !ok {
			c.refuse(p)
			c.packets = c.packets[:len(c.packets)-1]
			return
		}
		p.Proof = proof
	}
	if c.ports != nil || c.picker != nil {
		c.sights = append(c.sights, *s)
	}
}

// refuse wipes a packet that can't be shown to be the owner's.
func (c *Capture) refuse(p *Packet) {
	c.stats.Unproved++
	c.stats.UnprovedBytes += uint64(p.Length)
	clear(p.Data)
}

// A verdict is what becomes of a packet.
type verdict uint8

const (
	shown verdict = iota
	unproved
	unwanted
)

// keep keeps the packets, and the sights of them, that are to be shown.
func (c *Capture) keep(judge func(i int, s *sight, p *Packet) verdict) {
	kept := 0
	for i := range c.packets {
		switch judge(i, &c.sights[i], &c.packets[i]) {
		case unproved:
			c.refuse(&c.packets[i])
			continue
		case unwanted:
			c.stats.OtherProcess++
			clear(c.packets[i].Data)
			continue
		}
		c.packets[kept], c.sights[kept] = c.packets[i], c.sights[i]
		kept++
	}
	c.packets, c.sights = c.packets[:kept], c.sights[:kept]
}

// wipe clears all packets, which nobody has judged.
func (c *Capture) wipe() {
	for _, p := range c.packets {
		clear(p.Data)
	}
	c.packets = c.packets[:0]
}

// packet fills in p, and returns how many bytes come before the network header.
func (c *Capture) packet(f frame, p *Packet) (network int) {
	p.Data, network = f.data()
	p.Time = int64(f.hdr.Sec)*1e9 + int64(f.hdr.Nsec)
	p.Interface = int(f.addr.Ifindex)
	p.Unsummed = f.hdr.Status&unix.TP_STATUS_CSUMNOTREADY != 0
	p.Length = int(f.hdr.Len) + len(p.Data) - int(f.hdr.Snaplen) // with the tag
	switch {
	case f.addr.Hatype == unix.ARPHRD_LOOPBACK:
		p.Direction = Both
	case f.addr.Pkttype == outgoing:
		p.Direction = Out
	default:
		p.Direction = In
	}
	if p.Interface != c.last.Index {
		c.last = c.links[p.Interface]
	}
	p.Name, p.LinkType = c.last.Name, c.last.LinkType
	if p.LinkType != Ethernet {
		skip := min(network, len(p.Data))
		p.LinkType, p.Data, p.Length, network = RawIP, p.Data[skip:], p.Length-skip, 0
	}
	return network
}

// look fills in s.
func (s *sight) look(p *Packet, network int) {
	s.direction, s.index, s.time, s.network = p.Direction, uint32(p.Interface), p.Time, min(network, len(p.Data))
	s.transport = s.parse(p.Data[s.network:])
	if s.key.Family == 6 {
		s.key.scoped(s.index)
	}
}
