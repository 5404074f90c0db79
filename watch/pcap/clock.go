package pcap

import (
	"math/bits"
	"time"
)

// clock is how an interface writes times: in units of 10^-exp or 2^-exp seconds, from
// offset seconds after 1970.
type clock struct {
	binary bool
	exp    uint8
	offset int64
}

var micros, nanos = clock{exp: 6}, clock{exp: 9}

// clockOf reads the option if_tsresol.
func clockOf(resolution byte) clock {
	return clock{binary: resolution&0x80 != 0, exp: resolution & 0x7f}
}

// Times outside are not believed: no RFC 3339 text has them.
const (
	firstSecond = 0
	lastSecond  = 253402300799 // the end of the year 9999
)

// time returns the time that so many units stand for, the zero time if there is none.
func (c clock) time(units uint64) time.Time {
	sec, nsec := c.split(units)
	if sec > lastSecond || c.offset > lastSecond || c.offset < -lastSecond {
		return time.Time{}
	}
	s := int64(sec) + c.offset
	if s < firstSecond || s > lastSecond {
		return time.Time{}
	}
	return time.Unix(s, int64(nsec)).UTC()
}

// split returns whole seconds, and nanoseconds.
func (c clock) split(units uint64) (sec, nsec uint64) {
	if c.binary {
		return c.splitBinary(units)
	}
	switch {
	case c.exp <= 9:
		one := pow10(c.exp)
		return units / one, units % one * pow10(9-c.exp)
	case c.exp <= 19: // the most that 64 bits can count
		one := pow10(c.exp)
		return units / one, units % one / pow10(c.exp-9)
	case c.exp <= 28:
		return 0, units / pow10(c.exp-9)
	}
	return 0, 0
}

func (c clock) splitBinary(units uint64) (sec, nsec uint64) {
	if c.exp >= 64 {
		high, _ := bits.Mul64(units, 1e9)
		return 0, high >> (c.exp - 64)
	}
	sec = units >> c.exp
	high, low := bits.Mul64(units-sec<<c.exp, 1e9)
	return sec, high<<(64-c.exp) | low>>c.exp
}

func pow10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
