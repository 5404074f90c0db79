package main

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"

	runner "yodel/service/command"
	"yodel/service/ssh"
	"yodel/service/telnet"
	"yodel/sock"
)

func checkTelnet(p plan, f *serveFlags) error {
	switch {
	case f.users == "":
		return usagef("telnet: say who may log in: --users FILE, which yodel passwd writes")
	case p.addr.Network != "tls" && !isLoopback(p.addr) && !f.plainText:
		return usagef("telnet@%v: passwords, and all else, could be read on the way: use telnet@tls://%s, or ssh, or say --plain-text-is-fine", p.addr, p.addr.HostPort())
	}
	return nil
}

func openTelnet(s *server, p plan, _ *dataBytes) (any, error) {
	f := s.flagsOf(p)
	file, err := s.usersFile(f.users)
	if err != nil {
		return nil, err
	}
	return telnet.New(&telnet.Config{
		Users: file, Shell: strings.Fields(f.shell), Root: f.root, MaxSessions: f.sessions, LineMode: f.linemode, HeaderTimeout: f.header,
	})
}

func checkSSH(_ plan, f *serveFlags) error {
	if f.users == "" && f.authorizedKeys == "" {
		return usagef("ssh: say who may log in: --authorized-keys FILE, or --users FILE, which yodel passwd writes")
	}
	return nil
}

// openHostKey reads the host key, or makes it, while that can still be done as root.
func (s *server) openHostKey(sv *served, f *serveFlags) error {
	path := f.hostKey
	if path == "" {
		dir, err := stateDir()
		if err != nil {
			return err
		}
		path = filepath.Join(dir, "ssh_host_ed25519_key")
	}
	key, made, err := ssh.HostKey(path)
	if err != nil {
		return err
	}
	sv.hostKey, sv.hostKeyAt = key, path
	if made {
		sv.hostKeyAt += " (new)"
	}
	return nil
}

func openSSH(s *server, p plan, _ *dataBytes) (any, error) {
	f := s.flagsOf(p)
	file, err := s.usersFile(f.users)
	if err != nil {
		return nil, err
	}
	cfg := &ssh.Config{
		Users: file, AuthorizedKeys: f.authorizedKeys, Shell: strings.Fields(f.shell), Root: f.root, MaxSessions: f.sessions,
	}
	for _, sv := range s.served {
		if sv.plan.row == p.row && s.flagsOf(sv.plan) == f && sv.hostKey != nil {
			cfg.HostKey = sv.hostKey
		}
	}
	if cfg.HostKey == nil { // with --inetd nothing listens
		one := &served{}
		if err := s.openHostKey(one, f); err != nil {
			return nil, err
		}
		cfg.HostKey = one.hostKey
	}
	return ssh.New(cfg)
}

func checkCommand(_ plan, f *serveFlags) error {
	if len(f.program) == 0 {
		return usagef("command: say which program: yodel serve command@ADDRESS -- PROGRAM ARGUMENT...")
	}
	if !filepath.IsAbs(f.program[0]) {
		return usagef("command: %s: write the whole path of the program, from / on", f.program[0])
	}
	return nil
}

func openCommand(s *server, p plan, _ *dataBytes) (any, error) {
	f := s.flagsOf(p)
	cfg := &runner.Config{Path: f.program[0], Args: f.program[1:], Dir: f.root, Stderr: f.stderr, MaxPrograms: f.sessions}
	if f.names {
		name := confirmedName(&sock.Resolver{})
		cfg.Lookup = func(ctx context.Context, a netip.Addr) string { return name(ctx, a) }
	}
	return runner.New(cfg)
}
