package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"yodel/engine"
	"yodel/sock"
)

// server is what one serve command runs.
type server struct {
	io     std
	flags  *serveFlags
	gate   *engine.Gate
	guard  *engine.Guard
	tls    *tls.Config // made when the first tls address is opened
	logs   *serveLogs
	served []*served
}

// served is one service at one address.
type served struct {
	plan        plan
	at          sock.Address // what is bound
	engine      string
	fingerprint string
	serve       func() error
	stopper
}

// stopper is what engines and the datagram loop have in common.
type stopper interface {
	Shutdown(context.Context) error
	Close() error
}

func newServer(io std, f *serveFlags) (*server, error) {
	allow, err := prefixes("allow", f.allow)
	if err != nil {
		return nil, err
	}
	deny, err := prefixes("deny", f.deny)
	if err != nil {
		return nil, err
	}
	s := &server{io: io, flags: f}
	s.gate = engine.NewGate(&engine.GateConfig{MaxConns: f.maxConns, MaxPerIP: f.maxPerIP, Allow: allow, Deny: deny})
	s.guard = engine.NewGuard(&engine.GuardConfig{SourceRate: f.udpRate, LoopbackRate: f.udpRate})
	s.logs, err = openLogs(io, f)
	return s, err
}

// close closes what is still open, and the logs last.
func (s *server) close() {
	for _, sv := range s.served {
		sv.Close()
	}
	if err := s.logs.close(); err != nil {
		fmt.Fprintf(s.io.err, "yodel: %v\n", err)
	}
}

func (s *server) options() *sock.Options {
	return &sock.Options{
		Backlog: s.flags.backlog, UnixMode: os.FileMode(s.flags.unixMode), Sink: s.logs.file.events(s.flags.eachCall),
	}
}

func (s *server) config(p plan) *engine.Config {
	cfg := &engine.Config{
		Service: p.row.name, Idle: p.row.idle, HeaderTimeout: s.flags.header, MinRate: s.flags.minRate,
		RefuseFrom: []uint16{20}, Gate: s.gate, Sink: s.logs.sink,
		MaxInput: max(s.flags.lineMax, 64<<10), // a session must be able to wait for its line
	}
	if s.flags.idleGiven {
		cfg.Idle = s.flags.idle
	}
	return cfg
}

// open listens at p's address and makes the engine that will serve it.
func (s *server) open(ctx context.Context, p plan) error {
	if p.addr.Network == "udp" {
		return s.openDatagrams(ctx, p)
	}
	row, err := engineFor(s.flags.engine, p)
	if err != nil {
		return err
	}
	cfg := s.config(p)
	sv := &served{plan: p, engine: row.name}
	where := p.addr
	if where.Network == "tls" {
		if err := s.certificate(); err != nil {
			return err
		}
		cfg.TLS, where.Network = s.tls, "tcp" // the engine does the handshakes, in its own time and number
		sv.fingerprint = sock.Fingerprint(s.tls.Certificates[0].Certificate[0])
	}
	eng, err := row.make(p.row.make(s.flags), cfg)
	if err != nil {
		return usageError{err}
	}
	l, err := sock.Listen(ctx, where, s.options())
	if err != nil {
		return err
	}
	sv.at = l.Address()
	sv.at.Network = p.addr.Network
	sv.stopper, sv.serve = eng, func() error { return eng.Serve(l.Plain()) }
	s.served = append(s.served, sv)
	return nil
}

func (s *server) openDatagrams(ctx context.Context, p plan) error {
	svc, err := replier(p, s.flags)
	if err != nil {
		return err
	}
	pc, err := sock.ListenPacket(ctx, p.addr, s.options())
	if err != nil {
		return err
	}
	loop := engine.NewDatagrams(svc, &engine.DatagramConfig{
		Service: p.row.name, Gate: s.gate, Guard: s.guard, Amplify: s.flags.amplify, Sink: s.logs.sink,
	})
	at := p.addr
	at.Host, at.Port = splitUDP(pc.LocalAddr())
	s.served = append(s.served, &served{
		plan: p, at: at, engine: "datagrams",
		stopper: loop, serve: func() error { return loop.Serve(pc) },
	})
	return nil
}

func splitUDP(a net.Addr) (host string, port uint16) {
	ap := a.(*net.UDPAddr).AddrPort()
	if ap.Addr().IsUnspecified() {
		return "", ap.Port()
	}
	return ap.Addr().Unmap().String(), ap.Port()
}

// certificate loads the certificate for tls addresses, or makes one.
func (s *server) certificate() error {
	if s.tls != nil {
		return nil
	}
	cert, err := s.loadCertificate()
	if err == nil {
		s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	return err
}

func (s *server) loadCertificate() (tls.Certificate, error) {
	f := s.flags
	switch {
	case f.tlsCert == "" && f.tlsKey == "":
		cert, _, err := sock.SelfSigned(nil)
		return cert, err
	case f.tlsCert == "" || f.tlsKey == "":
		return tls.Certificate{}, usagef("--tls-cert and --tls-key go together")
	}
	cert, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
	if err != nil {
		return cert, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", f.tlsCert, f.tlsKey, err)
	}
	return cert, nil
}

// listening is the JSON line that says what is bound.
type listening struct {
	Type        string `json:"type"`
	Time        string `json:"time"`
	Service     string `json:"service"`
	Network     string `json:"network"`
	Address     string `json:"address"`
	Port        uint16 `json:"port,omitempty"`
	Path        string `json:"path,omitempty"`
	Engine      string `json:"engine"`
	Fingerprint string `json:"fingerprint,omitempty"`
	PID         int    `json:"pid"`
}

// announce says what is bound.
func (s *server) announce(byDefault bool) {
	for _, sv := range s.served {
		if s.flags.json {
			json.NewEncoder(s.io.out).Encode(listening{
				Type: "listening", Time: time.Now().UTC().Format(time.RFC3339Nano), Service: sv.plan.row.name,
				Network: sv.at.Network, Address: sv.at.HostPort(), Port: sv.at.Port, Path: sv.at.Path,
				Engine: sv.engine, Fingerprint: sv.fingerprint, PID: os.Getpid(),
			})
			continue
		}
		fmt.Fprintf(s.io.out, "%s listening on %s, engine %s\n", sv.plan.row.name, sv.at, sv.engine)
		if sv.fingerprint != "" {
			fmt.Fprintf(s.io.out, "  try: yodel call --pin %s %s\n", sv.fingerprint, reachable(sv.at))
		}
	}
	if byDefault && !s.flags.json {
		fmt.Fprintf(s.io.out, "next, in another terminal: yodel call localhost %d\n", s.served[0].at.Port)
	}
}

// reachable is a as a client on this host may write it.
func reachable(a sock.Address) sock.Address {
	if a.All() {
		a.Host = "localhost"
	}
	return a
}

// run serves until a signal comes or a listener fails.
func (s *server) run(ctx context.Context, stop <-chan os.Signal) error {
	failed := make(chan error, len(s.served))
	for _, sv := range s.served {
		go func() { failed <- sv.serve() }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	case <-stop:
	}
	return s.drain(stop)
}

// drain lets connections finish for the time of grace; a second signal cuts it
// short.
func (s *server) drain(stop <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.flags.grace)
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	errs := make([]error, len(s.served))
	var wg sync.WaitGroup
	for i, sv := range s.served {
		wg.Go(func() { errs[i] = sv.Shutdown(ctx) })
	}
	wg.Wait()
	if errors.Join(errs...) == nil {
		return nil
	}
	left := s.gate.Conns()
	for _, sv := range s.served {
		sv.Close()
	}
	return fmt.Errorf("%d connections had not finished within %v (--grace) and were cut", left, s.flags.grace)
}
