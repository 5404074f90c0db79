package mail

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"yodel/rio"
	"yodel/service/mail/spool"
)

// Config is what a mail server's user may set. Zero is the documented default, negative
// is off.
type Config struct {
	// Dir is the spool's folder. It must be set.
	Dir string

	// Format is how the spool keeps mailboxes. If empty, as the folder has it already,
	// and spool.Mbox in a new one.
	Format spool.Format

	// MaxBoxes is how many mailboxes there may be. If zero, 10,000.
	MaxBoxes int

	// Hostname is our name in the greeting and in Received lines. If empty, that of
	// this host.
	Hostname string

	// Domains are those whose mail is taken; letters A to Z and a to z are the same, and so
	// are both forms of an international name. If empty, Hostname and "localhost".
	Domains []string

	// AcceptAll takes mail for every domain, and stores it: for testing what sends
	// mail. Then only peers on this host are served.
	AcceptAll bool

	// MaxSize is the longest message in bytes (RFC 1870). If zero, 10 MiB; if negative,
	// there is no bound.
	MaxSize int64

	// MaxRecipients is how many recipients a message may have, at most 5,000. If zero,
	// 100, which RFC 5321 (4.5.3.1.8) wants at least.
	MaxRecipients int

	// MaxErrors is how many commands of a peer may fail before it has delivered a message,
	// and between two messages. If zero, 20.
	MaxErrors int

	// MaxCommands is how many commands a peer may give before and between messages. If
	// zero, 1,000.
	MaxCommands int

	// LineMax is the longest command, and the longest line of a message, in bytes, with its
	// CR LF. If zero, 8,192. RFC 5321 (4.5.3.1.6) wants 1,000 at least.
	LineMax int

	// Idle is how long a peer may say nothing. If zero, 5 minutes, as RFC 5321
	// (4.5.3.2.7) has it.
	Idle time.Duration

	// HeaderTimeout is how long one command may take from its first byte to its last. If
	// zero, 10 s.
	HeaderTimeout time.Duration

	// MinRate is the least number of bytes a second at which a message must come. The
	// package comment has the rule. If zero, 500.
	MinRate int

	// GreetDelay holds the greeting back. Who talks meanwhile is no mail client, and is
	// refused. If zero, the greeting is sent at once.
	GreetDelay time.Duration

	// TLS, if set, is what STARTTLS offers. It must hold a certificate.
	TLS *tls.Config

	// HandshakeTimeout bounds the handshake after STARTTLS. If zero, 10 s.
	HandshakeTimeout time.Duration

	// MaxHandshakes is how many of those may be under way at once. If zero, 64.
	MaxHandshakes int

	// Log takes what an operator must know. If nil, slog.Default().
	Log *slog.Logger
}

func orOff[T int | int64 | time.Duration](v, byDefault T) T { return max(cmp.Or(v, byDefault), 0) }

func (c *Config) idle() time.Duration          { return orOff(c.Idle, 5*time.Minute) }
func (c *Config) headerTimeout() time.Duration { return orOff(c.HeaderTimeout, 10*time.Second) }
func (c *Config) minRate() int                 { return orOff(c.MinRate, 500) }
func (c *Config) lineMax() int                 { return cmp.Or(max(c.LineMax, 0), rio.MaxLine) }
func (c *Config) maxSize() int64               { return orOff(c.MaxSize, 10<<20) }

func (c *Config) handshakeTimeout() time.Duration { return orOff(c.HandshakeTimeout, 10*time.Second) }

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}

func (c *Config) hostname() string {
	if c.Hostname != "" {
		return c.Hostname
	}
	name, err := os.Hostname()
	if err != nil || !isHost(name) {
		return "localhost"
	}
	return name
}

// mostRecipients is what the spool can keep of one message.
const mostRecipients = 5000

// policy returns what sessions go by.
func (c *Config) policy() (*policy, error) {
	p := &policy{
		hostname: c.hostname(), domains: make(map[string]bool), acceptAll: c.AcceptAll,
		maxSize: c.maxSize(), maxRecipients: orOff(c.MaxRecipients, 100),
		maxErrors: orOff(c.MaxErrors, 20), maxCommands: orOff(c.MaxCommands, 1000),
		offersTLS: c.TLS != nil,
	}
	if !isHost(p.hostname) {
		return nil, fmt.Errorf("the host name %q is none: write it as mail.example.org", p.hostname)
	}
	if p.maxRecipients == 0 || p.maxRecipients > mostRecipients {
		p.maxRecipients = mostRecipients
	}
	domains := c.Domains
	if len(domains) == 0 {
		domains = []string{p.hostname, "localhost"}
	}
	for _, d := range domains {
		ascii, err := asciiDomain(strings.TrimSuffix(d, "."))
		if err != nil {
			return nil, fmt.Errorf("the domain %q is none: write it as example.org", d)
		}
		p.domains[ascii] = true
	}
	return p, nil
}

// isHost reports whether s can stand in a greeting.
func isHost(s string) bool {
	rest, err := parseDomain([]byte(s), false)
	return err == nil && len(rest) == 0
}

// asciiDomain returns the form of a domain by which it is compared (RFC 5891, 5.5).
func asciiDomain(d string) (string, error) {
	if !isDomain(d) {
		return "", errPath
	}
	return idna.Lookup.ToASCII(d)
}
