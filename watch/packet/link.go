package packet

import "encoding/binary"

var be = binary.BigEndian

// Values of the type field of Ethernet and of Linux cooked headers.
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100 // IEEE 802.1Q
	etherQinQ  = 0x88a8 // IEEE 802.1ad
	etherQinQ1 = 0x9100 // the same, before it was standardised
)

const maxVLANs = 4

// link reads what stands before IP.
func (p *Packet) link(link LinkType, c *cursor) error {
	switch link {
	case Ethernet:
		return p.ethernet(c)
	case LinuxSLL:
		return p.cooked(c, 16, 14, 1)
	case LinuxSLL2:
		return p.cooked(c, 20, 0, 10)
	case Null:
		return p.loopback(c, true)
	case Loop:
		return p.loopback(c, false)
	case Raw, RawBSD, RawOld, RawIPv4, RawIPv6:
		return p.ip(c)
	}
	return ErrLinkType
}

func (p *Packet) ethernet(c *cursor) error {
	head, err := c.take(14)
	if err != nil {
		return err
	}
	return p.ether(be.Uint16(head[12:]), c)
}

// ether goes on by the type of what follows, over VLAN tags.
func (p *Packet) ether(typ uint16, c *cursor) error {
	for typ == etherVLAN || typ == etherQinQ || typ == etherQinQ1 {
		tag, err := c.take(4)
		if err != nil {
			return err
		}
		if p.VLANs == maxVLANs {
			return errVLANs
		}
		if int(p.VLANs) < len(p.VLAN) {
			p.VLAN[p.VLANs] = be.Uint16(tag) & 0x0fff
		}
		p.VLANs++
		typ = be.Uint16(tag[2:])
	}
	if typ == etherIPv4 || typ == etherIPv6 {
		return p.ip(c)
	}
	return nil // ARP and others
}

// cooked reads a header of Linux's "any" device, which has the type of what follows
// and the way it went at the given places.
func (p *Packet) cooked(c *cursor, size, typeAt, wayAt int) error {
	head, err := c.take(size)
	if err != nil {
		return err
	}
	switch head[wayAt] {
	case 0, 1, 2: // to us, to all, to a group
		p.Direction = Inbound
	case 4: // from us
		p.Direction = Outbound
	}
	return p.ether(be.Uint16(head[typeAt:]), c)
}

// loopback reads a BSD loopback header: an address family, in four bytes.
func (p *Packet) loopback(c *cursor, hostOrder bool) error {
	head, err := c.take(4)
	if err != nil {
		return err
	}
	family := be.Uint32(head)
	if hostOrder && family > 0xffff { // families are small numbers: this is little-endian
		family = binary.LittleEndian.Uint32(head)
	}
	switch family {
	case 2, 10, 24, 28, 30: // AF_INET; AF_INET6 of Linux, NetBSD, FreeBSD, Darwin
		return p.ip(c)
	}
	return nil
}
