package mail

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"yodel/internal/await"
	"yodel/internal/lograte"
	"yodel/service/mail/spool"
)

// A Server takes messages and stores them. It is a service for the connection door:
// an engine gives it connections by ServeConn, and ends it by Shutdown and Close. One
// Server may serve on several listeners at once, and must where they share a spool.
type Server struct {
	cfg    Config
	policy *policy
	spool  *spool.Spool
	shakes chan struct{} // one element for each handshake under way; nil: no bound

	stats    counters
	troubles lograte.Lines // of storing
	limits   lograte.Lines // of peers that were cut

	mu       sync.Mutex
	stopping bool
	conns    map[*conn]bool
	idle     sync.WaitGroup // one for each of conns
	closed   bool
}

// Stats are sums over all connections so far.
type Stats struct {
	Messages   int64 // stored
	Recipients int64 // of those
	Bytes      int64 // of those, as stored
	Refused    int64 // messages that were not taken: too large, not well-formed, in circles
	Unstored   int64 // messages that could not be stored
	Cut        int64 // connections that were ended for a limit
}

type counters struct{ messages, recipients, bytes, refused, unstored, cut atomic.Int64 }

// New opens the spool and returns a server for it. The caller closes it, or lets an
// engine do that.
func New(cfg *Config) (*Server, error) {
	s := &Server{cfg: *cfg, conns: make(map[*conn]bool)}
	var err error
	if s.policy, err = cfg.policy(); err != nil {
		return nil, err
	}
	s.spool, err = spool.Open(&spool.Config{Dir: cfg.Dir, Format: cfg.Format, MaxBoxes: cfg.MaxBoxes, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	s.policy.check, s.policy.hasRoom = s.spool.Check, s.hasRoom
	if n := orOff(cfg.MaxHandshakes, 64); n > 0 {
		s.shakes = make(chan struct{}, n)
	}
	return s, nil
}

// Stats returns the sums so far.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{
		Messages: c.messages.Load(), Recipients: c.recipients.Load(), Bytes: c.bytes.Load(),
		Refused: c.refused.Load(), Unstored: c.unstored.Load(), Cut: c.cut.Load(),
	}
}

// hasRoom reports whether there is room for one and a half of the largest message.
func (s *Server) hasRoom() bool {
	free, err := s.spool.Free()
	return err != nil || free >= max(s.policy.maxSize, 1<<20)/2*3
}

// ServeConn holds the conversation with one peer. It returns when that is over; the
// caller closes nc.
func (s *Server) ServeConn(nc net.Conn) {
	c := newConn(s, nc)
	if s.add(c) {
		defer s.remove(c)
		c.serve()
	}
}

// add takes c in, and returns false if the server is closed.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = true
	s.idle.Add(1)
	c.stopping = s.stopping
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.idle.Done()
}

// stop tells all peers that are not about to send a message that it is over.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.conns {
		c.stop()
	}
}

// Shutdown tells the peers that the server is being stopped (421), each when it has no
// message under way, and returns when the last one has been told. If ctx ends first,
// its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	return await.Done(ctx, s.idle.Wait)
}

// Close cuts all connections, waits for what is being stored, and closes the spool. It
// may be called again.
func (s *Server) Close() error {
	s.stop()
	s.mu.Lock()
	for c := range s.conns {
		c.raw.Close()
	}
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.idle.Wait()
	return s.spool.Close()
}

// count counts a message, or why there is none.
func (s *Server) count(size int64, recipients int, err error, no reply) {
	switch {
	case err != nil:
		s.stats.unstored.Add(1)
		if n, ok := s.troubles.Take(time.Now()); ok {
			s.cfg.log().Error("mail can't be stored", "error", err, "messages", n)
		}
	case no.code != 0:
		s.stats.refused.Add(1)
	default:
		s.stats.messages.Add(1)
		s.stats.recipients.Add(int64(recipients))
		s.stats.bytes.Add(size)
	}
}

// cut counts a peer that is cut for a limit.
func (s *Server) cut(why string, peer net.Addr) {
	s.stats.cut.Add(1)
	if n, ok := s.limits.Take(time.Now()); ok {
		s.cfg.log().Warn("mail peer cut", "why", why, "peer", peer.String(), "times", n)
	}
}
