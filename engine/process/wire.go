package process

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"yodel/engine"
	"yodel/trace"
)

// What goes over the control pipe is lines of JSON: down one order, then perhaps
// the words; up reports.

const (
	wordDrain = "drain" // end at rest
	wordCut   = "cut"   // end at once
)

// maxReport bounds one report, in bytes.
const maxReport = 256 << 10

// order is what the child is to do. Zero times mean the defaults, as in
// engine.Config.
type order struct {
	Service  string
	Settings []byte

	Idle, HeaderTimeout, MinRateAfter, Linger, Quiet, HandshakeTimeout time.Duration

	MinRate, Mark, MaxInput int
	PoisonLent              bool

	TLS *tlsOrder

	Events, EachCall bool // the parent wants events; each read and write
	ID               trace.ConnID

	// The client's socket pair, which is not the socket's if it came by a proxy. Not
	// valid for Unix sockets.
	Local, Remote netip.AddrPort
}

// tlsOrder is the part of a tls.Config that the child gets, keys in PEM.
type tlsOrder struct {
	Certificates []keyPair
	NextProtos   []string
	MinVersion   uint16
}

type keyPair struct{ Cert, Key []byte }

// order returns what the child of one connection is told, as a line.
func (p *parent) order(h *engine.Handed) ([]byte, error) {
	cfg := p.cfg
	o := order{
		Service: cfg.Service, Settings: p.settings,
		Idle: cfg.Idle, HeaderTimeout: cfg.HeaderTimeout, MinRateAfter: cfg.MinRateAfter,
		Linger: cfg.Linger, Quiet: cfg.Quiet, HandshakeTimeout: cfg.HandshakeTimeout,
		MinRate: cfg.MinRate, Mark: cfg.Mark, MaxInput: cfg.MaxInput, PoisonLent: cfg.PoisonLent,
		Events: cfg.Sink != nil, EachCall: trace.WantsEach(cfg.Sink),
		ID: h.ID, Local: h.Peer.Local, Remote: h.Peer.Remote,
	}
	if cfg.TLS != nil {
		var err error
		if o.TLS, err = newTLSOrder(cfg.TLS); err != nil {
			return nil, err
		}
	}
	line, err := json.Marshal(o)
	return append(line, '\n'), err
}

func newTLSOrder(cfg *tls.Config) (*tlsOrder, error) {
	o := &tlsOrder{NextProtos: cfg.NextProtos, MinVersion: cfg.MinVersion}
	certificates := cfg.Certificates
	if cfg.GetCertificate != nil {
		c, err := cfg.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			return nil, err
		}
		certificates = []tls.Certificate{*c}
	}
	for _, c := range certificates {
		pair, err := marshalPair(c)
		if err != nil {
			return nil, err
		}
		o.Certificates = append(o.Certificates, pair)
	}
	return o, nil
}

func marshalPair(c tls.Certificate) (keyPair, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return keyPair{}, err
	}
	var p keyPair
	for _, der := range c.Certificate {
		p.Cert = append(p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	p.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return p, nil
}

// config is order's inverse, in the child.
func (o *order) config() (*engine.Config, error) {
	cfg := &engine.Config{
		Service: o.Service,
		Idle:    o.Idle, HeaderTimeout: o.HeaderTimeout, MinRateAfter: o.MinRateAfter,
		Linger: o.Linger, Quiet: o.Quiet, HandshakeTimeout: o.HandshakeTimeout,
		MinRate: o.MinRate, Mark: o.Mark, MaxInput: o.MaxInput, PoisonLent: o.PoisonLent,
		Gate: engine.NewGate(&engine.GateConfig{MaxConns: -1, MaxPerIP: -1, MaxHandshakes: -1}), // the parent's has admitted it
	}
	if o.TLS == nil {
		return cfg, nil
	}
	cfg.TLS = &tls.Config{NextProtos: o.TLS.NextProtos, MinVersion: o.TLS.MinVersion}
	for _, p := range o.TLS.Certificates {
		c, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, err
		}
		cfg.TLS.Certificates = append(cfg.TLS.Certificates, c)
	}
	return cfg, nil
}

// report is one line of the child's: of its fields one is set.
type report struct {
	Event *event        `json:",omitempty"`
	Stats *engine.Stats `json:",omitempty"`
	Log   *logLine      `json:",omitempty"`
}

// event is a trace.Event whose error has become text.
type event struct {
	trace.Event
	Err string `json:",omitempty"`
}

func toWire(e *trace.Event) *event {
	w := &event{Event: *e}
	if e.Err != nil {
		w.Err = e.Err.Error()
	}
	w.Event.Err = nil
	if !e.Time.IsZero() {
		w.Mono = trace.Mono(e.Time) // JSON has the wall clock only, which may be set meanwhile
	}
	return w
}

func (w *event) event() trace.Event {
	e := w.Event
	if w.Err != "" {
		e.Err = errors.New(w.Err)
	}
	return e
}

// logLine is what the child's log said.
type logLine struct {
	Level   slog.Level
	Message string
	Attrs   []string // key, value, key, value …
}

// decode reads one line of the other's. A line that is none is an error of ours.
func decode[T any](line []byte) (v T, err error) {
	err = json.Unmarshal(line, &v)
	return v, err
}
