package main

import (
	"errors"
	"time"

	"yodel/service/small"
)

// serviceRow is one service that serve offers.
type serviceRow struct {
	name  string
	port  uint16 // where it is without an address, on loopback
	about string
	flags []string // the flags of serve that only it, and others like it, know
	idle  time.Duration
	make  func(*serveFlags) any // of a service that does its own I/O: its form

	// What follows is of services that do their own I/O: see doors.go.
	open   func(*server, plan, *dataBytes) (any, error) // makes it
	check  func(plan, *serveFlags) error                // what is wrong with its flags; nil: nothing can be
	runs   bool                                         // it runs programs, which must not be root's
	writes bool                                         // with --allow-write its clients may change files
	clock  bool                                         // it ends connections that say nothing itself
	alpn   []string                                     // what it speaks over TLS
	single error                                        // why it can't serve with --inetd
	typed  bool                                         // a person sits there, who may stop its output for long

	early func(*server, *served, *serveFlags) error // opens what root must; nil: nothing
}

const smallIdle = 10 * time.Minute

// services are all that serve offers. Their ports are 10000 and the well-known one;
// upper's is the lecture's.
var services = []serviceRow{
	{
		name: "upper", port: 15213, about: "each line in upper case, as the lecture's server does",
		flags: []string{"line-max"}, idle: smallIdle,
		make: func(f *serveFlags) any { return small.Upper{LineMax: f.lineMax} },
	},
	{
		name: "echo", port: 10007, about: "each byte as it comes (RFC 862)", idle: smallIdle,
		make: func(*serveFlags) any { return small.Echo{} },
	},
	{
		name: "discard", port: 10009, about: "nothing, whatever comes (RFC 863)", idle: smallIdle,
		make: func(*serveFlags) any { return small.Discard{} },
	},
	{
		name: "daytime", port: 10013, about: "the time for people (RFC 867)", idle: smallIdle,
		make: func(*serveFlags) any { return small.Daytime{} },
	},
	{
		name: "qotd", port: 10017, about: "a quote (RFC 865)", idle: smallIdle,
		make: func(*serveFlags) any { return small.QOTD{} },
	},
	{
		name: "chargen", port: 10019, about: "characters without end (RFC 864)", idle: smallIdle,
		make: func(*serveFlags) any { return small.Chargen{} },
	},
	{
		name: "time", port: 10037, about: "the time in four bytes (RFC 868)", idle: smallIdle,
		make: func(*serveFlags) any { return small.Time{} },
	},
	{
		name: "web", port: 10080, about: "files, CGI programs, or who the caller is (HTTP/1.1, and 2 over TLS)",
		flags: []string{"root", "cgi", "access-log", "hidden", "no-listing", "cgi-timeout", "cgi-max", "body-max"},
		make:  doorFormOf, open: openWeb, check: checkWeb, early: (*server).openAccessLog, runs: true, clock: true, alpn: []string{"h2", "http/1.1"},
	},
	{
		name: "ftp", port: 10021, about: "files, to and fro (RFC 959)",
		flags: []string{
			"root", "users", "anonymous", "allow-write", "plain-text-is-fine", "fsync", "max-sessions",
			"passive-ports", "passive-address", "require-tls-reuse", "line-max",
		},
		make: doorFormOf, open: openFTP, check: checkFTP, writes: true, clock: true,
	},
	{
		name: "mail", port: 10025, about: "takes messages and keeps them (RFC 5321)",
		flags: []string{"spool", "domain", "format", "accept-all", "max-size", "greet-delay", "line-max"},
		make:  doorFormOf, open: openMail, check: checkMail, clock: true,
		single: errors.New("a spool is one process's"),
	},
	{
		name: "telnet", port: 10023, about: "a terminal of this machine, for who logs in (RFC 854)",
		flags: []string{"users", "shell", "root", "max-sessions", "linemode", "plain-text-is-fine"},
		idle:  -1, make: doorFormOf, open: openTelnet, check: checkTelnet, runs: true, typed: true,
	},
	{
		name: "ssh", port: 10022, about: "the same, as one should (RFC 4251)",
		flags: []string{"users", "authorized-keys", "host-key", "shell", "root", "max-sessions"},
		idle:  -1, make: doorFormOf, open: openSSH, check: checkSSH, early: (*server).openHostKey, runs: true, typed: true,
	},
	{
		name: "command", port: 10514, about: "a program for each connection: command@ADDRESS -- PROGRAM ARGUMENT...",
		flags: []string{"program", "stderr", "root", "max-sessions"},
		idle:  -1, make: doorFormOf, open: openCommand, check: checkCommand, runs: true,
		single: errors.New("who has accepted can start the program as well"),
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
