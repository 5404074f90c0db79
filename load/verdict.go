package load

import (
	"fmt"
	"time"
)

// A Limit is what kept a run from going faster, or its answers from coming sooner.
type Limit string

// The limits.
const (
	LimitServer  Limit = "server"  // the figures are the server's
	LimitNetwork Limit = "network" // they are the way's to it
	LimitClient  Limit = "client"  // they are this tool's, or its machine's
	LimitUnknown Limit = "cannot tell"
)

// A Verdict says whose figures the report has.
type Verdict struct {
	Limit   Limit
	Text    string   // in a line
	Reasons []string // what it rests on, and what else should be known
}

const (
	saturated   = 0.9                    // a loop that waits less than the rest is the limit
	hungry      = 0.2                    // of the time of a run, waiting for a processor
	tolerable   = time.Millisecond       // of lateness
	negligible  = 10                     // times the lateness, in the latency
	kept        = 0.99                   // of the rate that was asked for
	lossy       = 0.001                  // of the messages, segments sent again
	mostlyOnWay = 0.5                    // of the median, the shortest round trip
	longPause   = 2 * time.Millisecond   // of the garbage collector
	aBlink      = 100 * time.Millisecond // a run of less tells little
)

// judge says whose the figures are. It is a function of the report alone.
func judge(r *Report) Verdict {
	v := Verdict{}
	switch {
	case r.Errors[NoPort] > 0:
		v.client(r, fmt.Sprintf("%d connections found no free port here, or an address that is not this host's: spread them with more source addresses, of its own", r.Errors[NoPort]))
	case r.Errors[NoFile] > 0:
		v.client(r, fmt.Sprintf("%d connections found no free descriptor here: raise the limit (ulimit -n)", r.Errors[NoFile]))
	case r.Latency.TotalCount() == 0:
		v.Limit, v.Text = LimitUnknown, "cannot tell: nothing was answered"
	case r.Open() && r.lateness() > tolerable && r.lateness()*negligible > r.Quantile(99):
		v.client(r, fmt.Sprintf("it was itself more than %v late with 1 %% of the messages", Round(r.lateness())))
	case r.occupied() >= saturated:
		v.client(r, fmt.Sprintf("%s was at work, or waited for a processor, %.0f %% of the time", r.worker("its busiest event loop"), 100*r.occupied()))
	case !r.Open() && r.starvation() > hungry:
		v.client(r, "it did not get the processor whenever it could have used it")
	case r.overTheWay():
		v.Limit, v.Text = LimitNetwork, "network: most of the time is the way's"
	default:
		v.Limit, v.Text = LimitServer, "server: the figures are the server's, the tool had time to spare"
	}
	v.notes(r)
	return v
}

func (v *Verdict) client(r *Report, why string) {
	v.Limit = LimitClient
	v.Text = fmt.Sprintf("client was the limit above %.0f/s", r.Rate())
	if r.Latency.TotalCount() == 0 {
		v.Text = "client was the limit: nothing was answered"
	}
	v.Reasons = append(v.Reasons, why)
}

// worker is what has done the work: an event loop, as it is called, or all of the tool.
func (r *Report) worker(loop string) string {
	if r.Driver == Goroutines {
		return "it"
	}
	return loop
}

// starvation is the part of the time that an event loop has waited for a processor.
func (r *Report) starvation() float64 {
	if r.Starved < 0 || r.Elapsed < aBlink {
		return 0
	}
	return min(float64(r.Starved)/float64(r.Elapsed), 1)
}

// stolen is the part of the time that another machine had the processors. The kernel counts it in
// steps that are long.
func (r *Report) stolen() float64 {
	if r.Elapsed < aBlink {
		return 0
	}
	return r.Stolen
}

// occupied is the part of the time in which an event loop could not have done more.
func (r *Report) occupied() float64 {
	return min(max(r.Testimony.Busy, 0)+r.starvation()+r.stolen(), 1)
}

// lateness is how late the tool itself was with the worst hundredth.
func (r *Report) lateness() time.Duration {
	if r.Lateness.TotalCount() == 0 {
		return 0
	}
	return time.Duration(r.Lateness.ValueAtQuantile(99))
}

// KeptRate reports whether all but a hundredth of what was due was answered, and all of
// it was sent.
func (r *Report) KeptRate() bool {
	return r.Unsent == 0 && float64(r.Answered()) >= kept*float64(r.Due-r.Unfinished)
}

// overTheWay reports whether the network has cost most of the time.
func (r *Report) overTheWay() bool {
	if float64(r.Retransmits) > lossy*float64(r.Sent) {
		return true
	}
	median := time.Duration(r.Service.ValueAtQuantile(50))
	return r.MinRTT > time.Millisecond && float64(r.MinRTT) > mostlyOnWay*float64(median)
}

// notes adds what a reader of the figures should know.
func (v *Verdict) notes(r *Report) {
	add := func(when bool, format string, args ...any) {
		if when {
			v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...))
		}
	}
	add(r.Retransmits > 0, "the kernel has sent %d segments again", r.Retransmits)
	add(r.Drops > 0, "%d datagrams came and found this socket's buffer full: they are counted as lost", r.Drops)
	add(v.Limit == LimitNetwork && r.MinRTT > 0, "the shortest round trip that the kernel knows is %v", r.MinRTT)
	add(r.Unsent > 0, "%d messages were due and not sent: no connection was free for them", r.Unsent)
	add(r.starvation() > hungry, "%s was ready to run and waited for a processor %.0f %% of the time: other programs, perhaps the server, have it", r.worker("its event loop"), 100*r.starvation())
	add(r.stolen() > hungry/4, "this machine's processors were another machine's %.0f %% of the time", 100*r.stolen())
	add(r.LongestPause > longPause, "the tool's garbage collector has stopped it for %v", Round(r.LongestPause))
	add(r.Plan.NoVerify, "the answers were not compared")
	add(r.Stopped, "the run was ended early")
	for _, q := range Quantiles {
		if f := r.Percentile(r.Latency, q); f.Withheld != "" && r.Latency.TotalCount() > 0 {
			v.Reasons = append(v.Reasons, f.Withheld)
		}
	}
}
