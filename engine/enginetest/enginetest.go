// Package enginetest is the conformance kit: it holds every engine to the same
// behaviour, in real conversations over real sockets. An engine's test is
//
//	func TestConformance(t *testing.T) {
//		enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
//			return New(svc, cfg)
//		}, enginetest.Traits{})
//	}
//
// The rows of rows.go say what is tried. A row that begins with a letter and a number
// is one of the project's list of hostile behaviour (A1: slow peers, A2: no
// descriptors left, …). After each row the books are checked: every connection that
// was accepted has its first and its last event, and every byte is accounted for.
//
// The services that are run are those of [Services]; what they do depends on nothing
// but what their peer says, so that an engine may run them in another process.
package enginetest

import (
	"os"
	"strings"
	"testing"

	"yodel/engine"
)

// Make returns an engine for svc, which is one of Services: the one that is named by
// cfg.Service.
type Make func(svc any, cfg *engine.Config) (engine.Engine, error)

// Traits says what an engine can't do: the rows that need it are left out. The zero
// value is an engine that can do everything.
type Traits struct {
	OneAtATime  bool // it serves one connection at a time
	SocketsOnly bool // it serves sockets of the kernel, and no other net.Listener
	NoUnix      bool // it does not serve Unix sockets
	NoTLS       bool // it does not serve TLS
	NoDoor      bool // it runs no ConnServer and no ListenerServer
	EchoOnly    bool // it runs echo and no other service

	// ShortConns is how many connections come and go in the row that looks for what
	// they leave behind; RaceConns is the same under the race detector. If zero,
	// 10,000 and 3,000.
	ShortConns, RaceConns int
}

// kit is one engine under test.
type kit struct {
	mk     Make
	traits Traits
	test   string // name of the test that called Run
}

// Run tries all rows that the engine has the traits for. It must be called by a test
// that does nothing else: some rows run that test again in a process of its own, where
// Run is a server.
func Run(t *testing.T, mk Make, traits Traits) {
	k := &kit{mk: mk, traits: traits, test: t.Name()}
	if service := os.Getenv(childService); service != "" {
		k.beServer(t, service)
		return
	}
	for _, r := range rows {
		if k.lacks(r.needs) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			if r.needs&alone == 0 {
				t.Parallel()
			}
			r.try(k, t)
		})
	}
}

// need is a set of what a row needs.
type need uint8

const (
	many        need = 1 << iota // several connections served at once
	anyListener                  // a listener that is not a socket
	overTLS                      // TLS
	door                         // the connection door
	alone                        // it counts what is the process's, so no other row may run
	services                     // services other than echo
)

// line is a service that answers what it is sent: upper, or echo where there is no other.
// What it answers is says of that.
func (k *kit) line() string {
	if k.traits.EchoOnly {
		return "echo"
	}
	return "upper"
}

func (k *kit) says(text string) string {
	if k.traits.EchoOnly {
		return text
	}
	return strings.ToUpper(text)
}

// change is says for a part of a pattern; nil: nothing is changed.
func (k *kit) change() func([]byte) {
	if k.traits.EchoOnly {
		return nil
	}
	return toUpper
}

func (k *kit) lacks(n need) bool {
	t := k.traits
	return n&many != 0 && t.OneAtATime ||
		n&anyListener != 0 && t.SocketsOnly ||
		n&overTLS != 0 && t.NoTLS ||
		n&door != 0 && t.NoDoor ||
		n&services != 0 && t.EchoOnly
}

// A row is one thing that every engine must do.
type row struct {
	name  string
	needs need
	try   func(*kit, *testing.T)
}
