package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	cryptossh "golang.org/x/crypto/ssh"

	"yodel/engine"
	"yodel/internal/privilege"
	"yodel/internal/users"
	"yodel/sock"
)

// server is what one serve command runs.
type server struct {
	io      std
	flags   *serveFlags
	engines engineRows
	gate    *engine.Gate
	guard   *engine.Guard
	certs   []*certificate // of the tls addresses, each pair of files once
	admin   *admin         // nil: none
	logs    *serveLogs
	served  []*served

	doors      map[doorKey]*door
	users      map[string]*users.File // by path
	accessLogs map[string]io.Writer   // by path

	user *privilege.Credentials // whom to run as; nil: as it was started
}

// served is one service at one address.
type served struct {
	plan        plan
	at          sock.Address // what is bound
	engine      string
	passedOver  string // engines that auto would rather have taken, and why not
	fingerprint string
	serve       func() error
	hostKey     cryptossh.Signer // of ssh
	hostKeyAt   string
	complete    func() error // makes what serves, once root is given up; nil: it is made
	stopper

	// Of connections, to make another engine.
	row      *engineRow // nil: datagrams, or inetd
	cfg      *engine.Config
	listener *sock.Listener
}

// stopper is what engines and the datagram loop have in common.
type stopper interface {
	Stats() engine.Stats
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
	s := &server{io: io, flags: f, engines: engines}
	if _, err := prefixes("proxy-from", f.proxyFrom); err != nil {
		return nil, err
	}
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
	for _, d := range s.doors { // one that has no engine yet
		if c, ok := d.service.(io.Closer); ok {
			c.Close()
		}
	}
	if s.admin != nil {
		s.admin.close()
	}
	if err := s.logs.close(); err != nil {
		fmt.Fprintf(s.io.err, "yodel: %v\n", err)
	}
}

// flagsOf returns the flags that hold for p.
func (s *server) flagsOf(p plan) *serveFlags {
	if p.flags != nil {
		return p.flags
	}
	return s.flags
}

func (s *server) options(f *serveFlags, at sock.Address) *sock.Options {
	opts := &sock.Options{
		NotSentLowat: 128 << 10, // what a peer does not read must not fill the kernel (A5)
		Backlog:      f.backlog, Sink: s.logs.file.events(s.flags.eachCall),
		KeepAliveIdle: f.keepAlive, KeepAliveInterval: f.keepAlive, UserTimeout: f.unacked,
	}
	if !strings.HasPrefix(at.Path, "@") { // an abstract name has no permissions
		opts.UnixMode = os.FileMode(f.unixMode)
	}
	return opts
}

func (s *server) config(p plan) *engine.Config {
	f := s.flagsOf(p)
	proxies, _ := prefixes("proxy-from", f.proxyFrom) // they were checked; nil: no PROXY header is expected
	cfg := &engine.Config{
		Service: p.row.name, Idle: p.row.idle, HeaderTimeout: f.header, MinRate: f.minRate,
		RefuseFrom: []uint16{20}, ProxyFrom: proxies, Gate: s.gate, Sink: s.logs.sink,
		MaxInput: max(f.lineMax, 64<<10), // a session must be able to wait for its line
	}
	if f.idleGiven {
		cfg.Idle = f.idle
	}
	if p.row.clock {
		cfg.Idle = -1
	}
	if p.row.typed {
		cfg.MinRate = -1
	}
	return cfg
}

// open listens at p's address and makes the engine that will serve it.
func (s *server) open(ctx context.Context, p plan) error {
	f := s.flagsOf(p)
	if err := f.checkEngine(); err != nil {
		return err
	}
	if p.addr.Network == "udp" {
		return s.openDatagrams(ctx, p)
	}
	if err := s.checkService(p); err != nil {
		return err
	}
	cfg := s.config(p)
	sv := &served{plan: p, cfg: cfg}
	where := p.addr
	if where.Network == "tls" {
		cert, err := s.certificate(f)
		if err != nil {
			return err
		}
		cfg.TLS, where.Network = cert.config(), "tcp" // the engine does the handshakes, in its own time and number
		cfg.TLS.NextProtos = p.row.alpn
		sv.fingerprint = cert.fingerprint()
	}
	c, err := s.engines.open(p, f, cfg)
	if err != nil {
		return err
	}
	if sv.listener, err = s.listen(ctx, p, where); err != nil {
		return err
	}
	sv.at = sv.listener.Address()
	sv.at.Network = p.addr.Network
	sv.engage(c)
	if p.row.isDoor() {
		sv.stopper = pending{sv.listener}
		sv.complete = func() error { return s.complete(sv, cfg) }
		if p.row.early != nil {
			err = p.row.early(s, sv, f)
		}
	}
	s.served = append(s.served, sv)
	return err
}

// engage gives sv the engine that serves it.
func (sv *served) engage(c *choice) {
	sv.row, sv.engine, sv.passedOver = c.row, c.row.name, c.passedOver
	sv.stopper, sv.serve = c, func() error { return c.Serve(sv.listener.Plain()) }
}

// loopStats returns the sums of each event loop; none if the engine has none.
func (sv *served) loopStats() []engine.Stats {
	c, ok := sv.stopper.(*choice)
	if !ok {
		return nil
	}
	e, ok := c.Engine.(interface{ LoopStats() []engine.Stats })
	if !ok {
		return nil
	}
	return e.LoopStats()
}

// engineText says how sv is served.
func (sv *served) engineText() string {
	if sv.passedOver == "" {
		return "engine " + sv.engine
	}
	return fmt.Sprintf("engine %s (%s)", sv.engine, sv.passedOver)
}

// listen returns the socket that was passed for p, or opens one.
func (s *server) listen(ctx context.Context, p plan, where sock.Address) (*sock.Listener, error) {
	opts := s.options(s.flagsOf(p), where)
	if p.row.typed && opts.UserTimeout == 0 {
		opts.UserTimeout = -1 // a closed window may be a person's who wants to read
	}
	if p.passed.Listener == nil {
		return sock.Listen(ctx, where, opts)
	}
	return p.passed.Listener, p.passed.Listener.Adopt(opts)
}

func (s *server) openDatagrams(ctx context.Context, p plan) error {
	f := s.flagsOf(p)
	svc, err := replier(p, f)
	if err != nil {
		return err
	}
	pc := p.passed.PacketConn
	if pc == nil {
		if pc, err = sock.ListenPacket(ctx, p.addr, s.options(f, p.addr)); err != nil {
			return err
		}
	}
	loop := engine.NewDatagrams(svc, &engine.DatagramConfig{
		Service: p.row.name, Gate: s.gate, Guard: s.guard, Amplify: f.amplify, Sink: s.logs.sink,
	})
	at := p.addr
	at.Host, at.Port = splitUDP(pc.LocalAddr())
	s.served = append(s.served, &served{
		plan: p, at: at, engine: datagrams,
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

// certificate returns the certificate that f asks for: one for all who name the same
// files, and one for all who name none.
func (s *server) certificate(f *serveFlags) (*certificate, error) {
	for _, c := range s.certs {
		if c.certFile == f.tlsCert && c.keyFile == f.tlsKey {
			return c, nil
		}
	}
	c, err := newCertificate(f.tlsCert, f.tlsKey)
	if err == nil {
		s.certs = append(s.certs, c)
	}
	return c, err
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
	Engine      string `json:"engine,omitempty"`
	PassedOver  string `json:"passed_over,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	HostKey     string `json:"host_key,omitempty"`
	Passed      bool   `json:"passed,omitempty"`
	User        string `json:"user,omitempty"`
	PID         int    `json:"pid,omitempty"`
}

var passedText = map[bool]string{true: ", on a socket that was passed"}

// line returns the JSON line for what sv listens on, or would.
func (sv *served) line(typ string) listening {
	l := listening{
		Type: typ, Time: time.Now().UTC().Format(time.RFC3339Nano), Service: sv.plan.row.name,
		Network: sv.at.Network, Address: sv.at.HostPort(), Port: sv.at.Port, Path: sv.at.Path,
		Engine: sv.engine, PassedOver: sv.passedOver, Fingerprint: sv.fingerprint,
	}
	if sv.hostKey != nil {
		l.HostKey = cryptossh.FingerprintSHA256(sv.hostKey.PublicKey())
	}
	return l
}

// announce says what is bound.
func (s *server) announce(byDefault bool) {
	for _, sv := range s.served {
		if s.flags.json {
			line := sv.line("listening")
			line.Passed, line.User, line.PID = sv.plan.isPassed(), s.userName(), os.Getpid()
			json.NewEncoder(s.io.out).Encode(line)
			continue
		}
		fmt.Fprintf(s.io.out, "%s listening on %s, %s%s\n", sv.plan.row.name, sv.at, sv.engineText(), passedText[sv.plan.isPassed()])
		if sv.hostKey != nil {
			fmt.Fprintf(s.io.out, "  host key %s, in %s\n", cryptossh.FingerprintSHA256(sv.hostKey.PublicKey()), sv.hostKeyAt)
		}
		if sv.fingerprint != "" {
			fmt.Fprintf(s.io.out, "  try: yodel call --pin %s %s\n", sv.fingerprint, reachable(sv.at))
		}
	}
	s.announceAdmin()
	if s.user != nil && !s.flags.json {
		fmt.Fprintf(s.io.out, "running as %v\n", s.user)
	}
	if byDefault && !s.flags.json {
		fmt.Fprintf(s.io.out, "next, in another terminal: yodel call localhost %d\n", s.served[0].at.Port)
	}
}

func (s *server) announceAdmin() {
	if s.admin == nil {
		return
	}
	at := s.admin.listener.Address()
	if !s.flags.json {
		fmt.Fprintf(s.io.out, "admin listening on %s\n", at)
		return
	}
	json.NewEncoder(s.io.out).Encode(listening{
		Type: "listening", Time: time.Now().UTC().Format(time.RFC3339Nano), Service: "admin",
		Network: at.Network, Address: at.HostPort(), Port: at.Port, Path: at.Path, User: s.userName(), PID: os.Getpid(),
	})
}

// reachable is a as a client on this host may write it.
func reachable(a sock.Address) sock.Address {
	if a.All() {
		a.Host = "localhost"
	}
	return a
}

// openAdmin listens for whoever runs the server, if that is asked for.
func (s *server) openAdmin(ctx context.Context) (err error) {
	if s.flags.admin == "" {
		return nil
	}
	s.admin, err = newAdmin(ctx, s.flags.admin, serverMetrics{s.served})
	return err
}

// run serves until a signal comes or a listener fails.
func (s *server) run(ctx context.Context, sig signals) error {
	failed := make(chan error, len(s.served)+1)
	for _, sv := range s.served {
		go func() { failed <- sv.serve() }()
	}
	if s.admin != nil {
		go func() {
			if err := s.admin.serve(); err != nil {
				failed <- err
			}
		}()
	}
	s.isReady(true)
	for {
		select {
		case err := <-failed:
			return err
		case <-sig.reload:
			s.reload()
			continue
		case <-ctx.Done():
		case <-sig.stop:
		}
		s.isReady(false)
		return s.drain(sig.stop)
	}
}

// isReady tells whoever watches whether new connections are welcome: /readyz, and
// systemd (sd_notify(3)) where it has started us.
func (s *server) isReady(ready bool) {
	if s.admin != nil {
		s.admin.ready.Store(ready)
	}
	state := daemon.SdNotifyReady
	if !ready {
		state = daemon.SdNotifyStopping
	}
	daemon.SdNotify(false, state) // nobody listens where systemd is not
}

// reload reads the certificates again, and says so.
func (s *server) reload() {
	daemon.SdNotify(false, daemon.SdNotifyReloading)
	defer daemon.SdNotify(false, daemon.SdNotifyReady)
	for _, c := range s.certs {
		if c.certFile == "" {
			fmt.Fprintln(s.io.err, "yodel: nothing to reload: the certificate was made for this run")
			continue
		}
		if err := c.reload(); err != nil {
			fmt.Fprintf(s.io.err, "yodel: not reloaded, the old one stays: %v%s\n", err, s.mayNotRead(err))
			continue
		}
		fmt.Fprintf(s.io.err, "yodel: certificate reloaded: %s\n", c.fingerprint())
	}
}

// drain lets connections finish for the time of grace; a second signal cuts it
// short.
func (s *server) drain(stop <-chan os.Signal) error {
	ctx, cut := context.WithCancelCause(context.Background())
	defer cut(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, s.flags.grace, fmt.Errorf("not finished within %v (--grace)", s.flags.grace))
	defer cancel()
	if n := s.gate.Conns(); n > 0 {
		fmt.Fprintf(s.io.err, "yodel: stopping; waiting at most %v (--grace) for %s; a second signal cuts\n", s.flags.grace, connections(n))
	}
	go func() {
		select {
		case <-stop:
			cut(errors.New("a second signal came"))
		case <-ctx.Done():
		}
	}()
	if err := s.shutdown(ctx); err == nil {
		return nil
	}
	left := s.gate.Conns()
	for _, sv := range s.served {
		sv.Close()
	}
	return fmt.Errorf("%s cut: %w", connections(left), context.Cause(ctx))
}

// shutdown shuts all services down at once.
func (s *server) shutdown(ctx context.Context) error {
	errs := make([]error, len(s.served))
	var wg sync.WaitGroup
	for i, sv := range s.served {
		wg.Go(func() { errs[i] = sv.Shutdown(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return strconv.Itoa(n) + " connections"
}
