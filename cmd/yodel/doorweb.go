package main

import (
	"fmt"
	"io"
	"os"

	"yodel/service/web"
	"yodel/sock"
)

func checkWeb(_ plan, f *serveFlags) error {
	if f.accessLog == "-" && f.json {
		return usagef("--access-log -: with --json standard output has lines of JSON and nothing else: name a file")
	}
	return nil
}

func openWeb(s *server, p plan, _ *dataBytes) (any, error) {
	f := s.flagsOf(p)
	writable, err := s.checkPrograms(f)
	if err != nil {
		return nil, err
	}
	cfg := &web.Config{
		Root: f.root, CGI: f.cgi, Writable: writable, NoListing: f.noListing, Hidden: f.hidden,
		Idle: f.idle, HeaderTimeout: f.header, MinRate: f.minRate, BodyMax: f.bodyMax,
		CGITimeout: f.cgiTimeout, CGIMax: f.cgiMax,
	}
	if f.names {
		cfg.Names = &sock.Resolver{}
	}
	if w := s.accessLogs[f.accessLog]; w != nil {
		cfg.AccessLog = w
	}
	return web.New(cfg)
}

// checkPrograms reports whether clients of some service may write to the files of a web
// service, and refuses to run programs that they could write.
func (s *server) checkPrograms(f *serveFlags) (writable bool, err error) {
	for _, sv := range s.served {
		other := s.flagsOf(sv.plan)
		if !other.allowWrite || other.root == "" || !sv.plan.row.writes {
			continue
		}
		if f.cgi != "" && isBelow(f.cgi, other.root) {
			return false, usagef("clients of %s may write to --root %s, and the programs, --cgi %s, are in it: give them a folder elsewhere",
				sv.plan.row.name, other.root, f.cgi)
		}
		writable = writable || f.root != "" && (isBelow(f.root, other.root) || isBelow(other.root, f.root))
	}
	return writable, nil
}

// openAccessLog opens the file of --access-log, once for all who name it, while that can
// still be done as root.
func (s *server) openAccessLog(_ *served, f *serveFlags) error {
	path := f.accessLog
	if path == "" || s.accessLogs[path] != nil {
		return nil
	}
	if s.accessLogs == nil {
		s.accessLogs = make(map[string]io.Writer)
	}
	if path == "-" {
		s.accessLogs[path] = s.io.out
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("--access-log: %w", err)
	}
	s.accessLogs[path] = file
	s.logs.closers = append(s.logs.closers, file.Close)
	return nil
}

// checkRoot refuses a service of files without files.
func checkRoot(name string, f *serveFlags) error {
	if f.root == "" {
		return usagef("%s: say which folder to serve: --root DIR", name)
	}
	info, err := os.Stat(f.root)
	switch {
	case err != nil:
		return fmt.Errorf("%s: --root: %w", name, err)
	case !info.IsDir():
		return usagef("%s: --root %s: not a folder", name, f.root)
	}
	return nil
}
