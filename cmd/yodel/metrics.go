package main

import (
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"yodel/engine"
)

// serverMetrics are the sums of a server's services, read when somebody asks. Labels are
// bounded: a service, a transport, a direction, a result of those that package engine
// knows; never an address.
type serverMetrics struct{ served []*served }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("yodel_"+name, help, append([]string{"service", "transport"}, labels...), nil)
}

var (
	metricAccepted     = describe("connections_accepted_total", "Connections accepted, the refused ones too.")
	metricActive       = describe("connections_active", "Connections being served now.")
	metricEnded        = describe("connections_ended_total", "Connections by how they ended, or why they were refused.", "result")
	metricBytes        = describe("bytes_total", "Payload bytes.", "direction")
	metricLost         = describe("bytes_dropped_total", "Bytes that were received and never used, or to be sent and never sent, when their connection ended.", "direction")
	metricMessages     = describe("messages_total", "Whole messages that sessions have taken.")
	metricFailures     = describe("accept_errors_total", "Failures of accept other than a peer that had left again.")
	metricDatagrams    = describe("datagrams_total", "Datagrams read, and answered.", "direction")
	metricDropped      = describe("datagrams_dropped_total", "Datagrams not answered, by why.", "result")
	metricMissed       = describe("datagrams_missed_total", "Datagrams that the kernel dropped because the socket's buffer was full, up to the last one read; Linux only.")
	metricReadErrors   = describe("datagram_read_errors_total", "Failures to read a datagram; most are the network's word on an earlier answer.")
	metricLoopActive   = describe("loop_connections_active", "Connections of an event loop.", "loop")
	metricLoopMessages = describe("loop_messages_total", "Whole messages that the sessions of an event loop have taken.", "loop")
	metricLoopBytes    = describe("loop_bytes_total", "Payload bytes of an event loop.", "loop", "direction")
	metricKernel       = prometheus.NewDesc("yodel_kernel_listen_total",
		"What the kernel did with connection requests of this network namespace, all programs': accept queues that overflowed, requests dropped.",
		[]string{"result"}, nil)
)

// Describe implements prometheus.Collector.
func (m serverMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		metricAccepted, metricActive, metricEnded, metricBytes, metricLost, metricMessages,
		metricFailures, metricDatagrams, metricDropped, metricMissed, metricReadErrors, metricKernel,
		metricLoopActive, metricLoopMessages, metricLoopBytes,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Services of one name and transport are
// added up.
func (m serverMetrics) Collect(ch chan<- prometheus.Metric) {
	sums := make(map[[2]string]engine.Stats)
	loops := make(map[[3]string]engine.Stats)
	for _, sv := range m.served {
		key := [2]string{sv.plan.row.name, sv.at.Network}
		sums[key] = sums[key].Add(sv.Stats())
		for i, s := range sv.loopStats() {
			loop := [3]string{key[0], key[1], strconv.Itoa(i)}
			loops[loop] = loops[loop].Add(s)
		}
	}
	for key, s := range sums {
		collect(ch, s, key[0], key[1])
	}
	for key, s := range loops {
		collectLoop(ch, s, key[:])
	}
	overflows, drops, err := listenCounters()
	if err == nil {
		ch <- counter(metricKernel, overflows, "overflow")
		ch <- counter(metricKernel, drops, "drop")
	}
}

func counter(d *prometheus.Desc, n int64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func collect(ch chan<- prometheus.Metric, s engine.Stats, service, transport string) {
	is := func(d *prometheus.Desc, n int64, more ...string) {
		ch <- counter(d, n, append([]string{service, transport}, more...)...)
	}
	is(metricBytes, s.BytesIn, "in")
	is(metricBytes, s.BytesOut, "out")
	is(metricLost, s.Unread, "in")
	is(metricLost, s.Unsent, "out")
	if transport == "udp" {
		is(metricDatagrams, s.DatagramsIn, "in")
		is(metricDatagrams, s.DatagramsOut, "out")
		is(metricMissed, s.DatagramsMissed)
		is(metricReadErrors, s.ReadErrors)
		for why, n := range s.Dropped {
			is(metricDropped, n, why.String())
		}
		return
	}
	is(metricAccepted, s.Accepted)
	is(metricMessages, s.Messages)
	is(metricFailures, s.AcceptErrors)
	for how, n := range s.Ended {
		is(metricEnded, n, how.String())
	}
	ch <- prometheus.MustNewConstMetric(metricActive, prometheus.GaugeValue, float64(s.Active), service, transport)
}

func collectLoop(ch chan<- prometheus.Metric, s engine.Stats, labels []string) {
	ch <- prometheus.MustNewConstMetric(metricLoopActive, prometheus.GaugeValue, float64(s.Active), labels...)
	ch <- counter(metricLoopMessages, s.Messages, labels...)
	ch <- counter(metricLoopBytes, s.BytesIn, append(labels, "in")...)
	ch <- counter(metricLoopBytes, s.BytesOut, append(labels, "out")...)
}

// listenCounters returns the kernel's counts of accept queues that overflowed and of
// connection requests that were dropped (A3). They are Linux's.
func listenCounters() (overflows, drops int64, err error) {
	text, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		return 0, 0, err
	}
	counts := parseNetstat(string(text), "TcpExt")
	return counts["ListenOverflows"], counts["ListenDrops"], nil
}

// parseNetstat returns one group of /proc/net/netstat: a line of names, and a line of
// numbers below it.
func parseNetstat(text, group string) map[string]int64 {
	counts := make(map[string]int64)
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names[:min(len(names), len(fields))] {
			if n, err := strconv.ParseInt(fields[i], 10, 64); err == nil {
				counts[name] = n
			}
		}
		names = nil
	}
	return counts
}
