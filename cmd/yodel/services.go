package main

import (
	"time"

	"yodel"
	"yodel/service/small"
)

// serviceRow is one service that serve offers.
type serviceRow struct {
	name  string
	port  uint16 // where it is without an address, on loopback
	about string
	flags []string // the flags of serve that only it, and others like it, know
	idle  time.Duration
	make  func(*serveFlags) yodel.Service
}

const smallIdle = 10 * time.Minute

// services are all that serve offers. Their ports are 10000 and the well-known one;
// upper's is the lecture's.
var services = []serviceRow{
	{
		name: "upper", port: 15213, about: "each line in upper case, as the lecture's server does",
		flags: []string{"line-max"}, idle: smallIdle,
		make: func(f *serveFlags) yodel.Service { return small.Upper{LineMax: f.lineMax} },
	},
	{
		name: "echo", port: 10007, about: "each byte as it comes (RFC 862)", idle: smallIdle,
		make: func(*serveFlags) yodel.Service { return small.Echo{} },
	},
	{
		name: "discard", port: 10009, about: "nothing, whatever comes (RFC 863)", idle: smallIdle,
		make: func(*serveFlags) yodel.Service { return small.Discard{} },
	},
	{
		name: "daytime", port: 10013, about: "the time for people (RFC 867)", idle: smallIdle,
		make: func(*serveFlags) yodel.Service { return small.Daytime{} },
	},
	{
		name: "qotd", port: 10017, about: "a quote (RFC 865)", idle: smallIdle,
		make: func(*serveFlags) yodel.Service { return small.QOTD{} },
	},
	{
		name: "chargen", port: 10019, about: "characters without end (RFC 864)", idle: smallIdle,
		make: func(*serveFlags) yodel.Service { return small.Chargen{} },
	},
	{
		name: "time", port: 10037, about: "the time in four bytes (RFC 868)", idle: smallIdle,
		make: func(*serveFlags) yodel.Service { return small.Time{} },
	},
}

// serviceNamed returns the row of name, nil if there is none.
func serviceNamed(name string) *serviceRow {
	for i := range services {
		if services[i].name == name {
			return &services[i]
		}
	}
	return nil
}
