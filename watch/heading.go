package watch

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"yodel/internal/escape"
	"yodel/watch/capture"
	"yodel/watch/flow"
)

// A Heading says what a live watch is: whose connections, which, where, and how they are
// told from those of others. All that shows or keeps packets says it, too.
type Heading struct {
	Time       time.Time
	User       string // by name; hostile text
	UID        uint32
	AllUsers   bool
	Filter     string   // what was asked for, in words; "" is all
	Processes  []string // likewise
	Interfaces []string
	Method     capture.Method // Best: nothing is captured
	Ports      []uint16       // of ByPort
	Reason     string         // why not a better method, or why nothing is captured; "": none
}

// String returns it as one line, without what only some need to know.
func (h *Heading) String() string {
	whose := fmt.Sprintf("connections of user %s (%d)", escape.StringN(h.User, 64), h.UID)
	if h.AllUsers {
		whose = "connections of ALL USERS, as root has asked for"
	}
	parts := []string{whose}
	if h.Filter != "" {
		parts = append(parts, h.Filter)
	}
	for _, p := range h.Processes {
		if p != "the command" {
			p = "process " + p
		}
		parts = append(parts, p)
	}
	switch h.Method {
	case capture.Best:
		return strings.Join(append(parts, "not captured"), ", ")
	case capture.ByPort:
		parts = append(parts, "of these ports only: "+portsText(h.Ports))
	}
	return strings.Join(append(parts, "on "+h.interfaces()), ", ")
}

func (h *Heading) interfaces() string {
	names := make([]string, len(h.Interfaces))
	for i, name := range h.Interfaces {
		names[i] = escape.StringN(name, 20)
	}
	if n := len(names); n > 5 {
		names = append(names[:4], fmt.Sprintf("%d more interfaces", n-4))
	}
	return strings.Join(names, " ")
}

func portsText(ports []uint16) string {
	if len(ports) == 0 {
		return "none"
	}
	var words []string
	for _, p := range ports[:min(len(ports), 10)] {
		words = append(words, strconv.Itoa(int(p)))
	}
	if n := len(ports) - len(words); n > 0 {
		words = append(words, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(words, " ")
}

// Ends returns the sockets of a list between which a flow goes: the client's, then the
// server's; where that is not connected, the one that waits there.
func Ends(list *capture.Connections, f *flow.Flow) []capture.Connection {
	var ends []capture.Connection
	for _, key := range [][2]int{{0, 1}, {1, 0}} {
		sockets := socketsOf(f)
		local, remote := sockets[key[0]], sockets[key[1]]
		var waits, found *capture.Connection
		for i := range list.Own {
			c := &list.Own[i]
			at := plain(c.Local)
			switch {
			case c.Network != f.Network || at.Port() != local.Port():
			case at == local && plain(c.Remote) == remote:
				found = c
			case c.Remote.Port() == 0 && (at == local || at.Addr().IsUnspecified()):
				waits = c
			}
		}
		if found == nil {
			found = waits
		}
		if found != nil {
			ends = append(ends, *found)
		}
	}
	return ends
}
