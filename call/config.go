package call

import (
	"cmp"
	"time"
)

// Config says how to talk. The zero Config, and a nil *Config, are the defaults
// written here.
type Config struct {
	// Timeout ends a conversation in which no byte has moved, in either direction,
	// for so long: with a [*TimeoutError]. It does not ask who was to speak: a
	// person who thinks and an input that is silent count as much as the peer.
	// In Expect it bounds each step instead, until the script says otherwise.
	//
	// If zero, 10 seconds in Verify and Expect, and no bound in the others. If
	// negative, no bound.
	Timeout time.Duration

	// Wait is how long to wait for another datagram when there is no more input, and
	// in Verify how long to wait for each answer. If zero, one second. If negative,
	// until Timeout. It has no meaning for connections.
	Wait time.Duration

	// CRLF sends each newline as CR LF, see the type [CRLF]. Not in Expect, whose
	// script says what is sent.
	CRLF bool

	// Upper makes Verify expect a to z as A to Z, byte by byte.
	Upper bool
}

const (
	checkTimeout = 10 * time.Second
	defaultWait  = time.Second
)

// clone returns a copy; nil becomes the defaults.
func (c *Config) clone() Config {
	if c == nil {
		return Config{}
	}
	return *c
}

// timeout returns the bound, where zero stands for def; 0: none.
func (c *Config) timeout(def time.Duration) time.Duration {
	return max(cmp.Or(c.Timeout, def), 0)
}

// wait returns the bound; 0: none.
func (c *Config) wait() time.Duration { return max(cmp.Or(c.Wait, defaultWait), 0) }
