package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"yodel/service/ftp"
	"yodel/sock"
)

func checkFTP(p plan, f *serveFlags) error {
	if err := checkRoot("ftp", f); err != nil {
		return err
	}
	if f.users == "" && !f.anonymous {
		return usagef("ftp: say who may log in: --users FILE, which yodel passwd writes, or --anonymous")
	}
	if f.requireReuse && p.addr.Network == "tls" {
		return usagef("ftp@%v: --require-tls-reuse is for clients that begin TLS themselves (AUTH TLS), and no data connection can resume a session that began with the connection: leave tls:// out, or the flag", p.addr)
	}
	if _, err := portRange(f.passivePorts); err != nil {
		return err
	}
	_, err := f.passiveIP()
	return err
}

func openFTP(s *server, p plan, m *dataBytes) (any, error) {
	f := s.flagsOf(p)
	file, err := s.usersFile(f.users)
	if err != nil {
		return nil, err
	}
	cert, err := s.certificate(f)
	if err != nil {
		return nil, err
	}
	ports, err := portRange(f.passivePorts)
	if err != nil {
		return nil, err
	}
	cfg := &ftp.Config{
		Root: f.root, AllowWrite: f.allowWrite, Users: file, Anonymous: f.anonymous, PlainTextIsFine: f.plainText,
		TLS: cert.config(), RequireReuse: f.requireReuse, Sync: f.fsync, PassivePorts: ports,
		MaxSessions: f.sessions, LineMax: f.lineMax, Idle: f.idle, HeaderTimeout: f.header, MinRate: f.minRate,
		Listen: s.listenData, Admit: s.admitData, Moved: m.add, Sink: s.logs.sink,
	}
	if cfg.PassiveAddress, err = f.passiveIP(); err != nil {
		return nil, err
	}
	return ftp.New(cfg)
}

// listenData opens a socket for one passive data connection. Its own events are for the
// trace alone: the log tells of the connection.
func (s *server) listenData(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	return sock.Listen(ctx, sock.Address{Network: "tcp", Host: at.Addr().String(), Port: at.Port()},
		&sock.Options{Backlog: 1, Sink: s.logs.file.events(s.flags.eachCall)})
}

// portRange reads FIRST-LAST; empty is the zero range.
func portRange(s string) (ftp.PortRange, error) {
	if s == "" {
		return ftp.PortRange{}, nil
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if errA != nil || errB != nil || a == 0 || a > b {
		return ftp.PortRange{}, usagef("--passive-ports %q: write two ports, the lower one first, as 50000-50099", s)
	}
	return ftp.PortRange{First: uint16(a), Last: uint16(b)}, nil
}

func (f *serveFlags) passiveIP() (netip.Addr, error) {
	if f.passiveAddress == "" {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(f.passiveAddress)
	if err == nil && !ip.Is4() {
		err = fmt.Errorf("PASV has room for an IPv4 address only")
	}
	if err != nil {
		return netip.Addr{}, usagef("--passive-address: %w", err)
	}
	return ip, nil
}
