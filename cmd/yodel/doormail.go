package main

import (
	"errors"
	"fmt"

	"yodel/service/mail"
	"yodel/service/mail/spool"
)

func checkMail(p plan, f *serveFlags) error {
	switch format := spool.Format(f.format); {
	case f.spool == "":
		return usagef("mail: say where messages are stored: --spool DIR")
	case format != "" && format != spool.Mbox && format != spool.Maildir:
		return usagef("mail: --format %q: there are %s and %s", f.format, spool.Mbox, spool.Maildir)
	case f.acceptAll && !isLoopback(p.addr):
		return usagef("mail@%v: with --accept-all it takes mail for everybody, so it listens on this host only: leave the address out, or name one of loopback", p.addr)
	}
	return nil
}

func openMail(s *server, p plan, _ *dataBytes) (any, error) {
	f := s.flagsOf(p)
	cfg := &mail.Config{
		Dir: f.spool, Format: spool.Format(f.format), Domains: f.domains, AcceptAll: f.acceptAll,
		MaxSize: f.maxSize, LineMax: f.lineMax, Idle: f.idle, HeaderTimeout: f.header, MinRate: f.minRate, GreetDelay: f.greetDelay,
	}
	if f.tlsCert != "" {
		cert, err := s.certificate(f)
		if err != nil {
			return nil, err
		}
		cfg.TLS = cert.config()
	}
	svc, err := mail.New(cfg)
	if errors.Is(err, spool.ErrInUse) && s.serves(f.spool, f) {
		return nil, usagef("--spool %s: two of the services are to store mail in it with different settings: give each a spool, or both the same settings", f.spool)
	}
	if err != nil {
		return nil, fmt.Errorf("--spool %s: %w%s", f.spool, err, s.mayNotWrite(err))
	}
	return svc, nil
}

// serves reports whether another service of this process has that spool.
func (s *server) serves(dir string, but *serveFlags) bool {
	for key := range s.doors {
		if key.row.name == "mail" && key.flags != but && isBelow(key.flags.spool, dir) {
			return true
		}
	}
	return false
}
