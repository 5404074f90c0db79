package web

import "sync/atomic"

// counts are the sums of a Server. They are safe for concurrent use.
type counts struct {
	requests, refused, kept atomic.Int64
	status                  [6]atomic.Int64

	cgiStarted, cgiRunning, cgiBusy, cgiTimedOut, cgiFailed atomic.Int64
}

// Stats is a reading of a Server's sums.
type Stats struct {
	Requests int64    // answered, those that Refused counts too
	Refused  int64    // refused before they reached a handler: not sound, too long, too slow
	Kept     int64    // answered with a file from memory by the guard alone
	Status   [6]int64 // by the first digit of the status

	CacheFiles int   // that are kept
	CacheBytes int64 // of memory for them

	CGIStarted  int64 // programs
	CGIRunning  int64 // now
	CGIBusy     int64 // requests refused because there was no room for one more
	CGITimedOut int64 // programs ended for their silence
	CGIFailed   int64 // that could not be started, or gave no sound answer
}

// Stats returns the sums so far.
func (s *Server) Stats() Stats {
	c := &s.counts
	st := Stats{
		Requests: c.requests.Load(), Refused: c.refused.Load(), Kept: c.kept.Load(),
		CGIStarted: c.cgiStarted.Load(), CGIRunning: c.cgiRunning.Load(), CGIBusy: c.cgiBusy.Load(),
		CGITimedOut: c.cgiTimedOut.Load(), CGIFailed: c.cgiFailed.Load(),
	}
	for i := range st.Status {
		st.Status[i] = c.status[i].Load()
	}
	if s.files != nil {
		st.CacheFiles, st.CacheBytes = s.files.cache.size()
	}
	return st
}
