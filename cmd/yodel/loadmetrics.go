package main

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"yodel/load"
)

// loadMetrics are the sums of a run under way, as they were a second ago at most. A nil
// one keeps nothing.
type loadMetrics struct {
	mu      sync.Mutex
	counts  load.Counts
	errors  map[load.Class]int64
	latency map[float64]float64 // of the last second; in seconds
	rate    float64
}

var (
	metricLoadMessages = prometheus.NewDesc("yodel_load_messages_total", "Messages, by what became of them.", []string{"result"}, nil)
	metricLoadBytes    = prometheus.NewDesc("yodel_load_bytes_total", "Payload bytes.", []string{"direction"}, nil)
	metricLoadErrors   = prometheus.NewDesc("yodel_load_errors_total", "Errors by their class.", []string{"result"}, nil)
	metricLoadConns    = prometheus.NewDesc("yodel_load_connections_total", "Connections made.", nil, nil)
	metricLoadRate     = prometheus.NewDesc("yodel_load_answers_per_second", "Answers a second, of the last second.", nil, nil)
	metricLoadLatency  = prometheus.NewDesc("yodel_load_latency_seconds", "Latency from when a message was due, of the last second.", []string{"quantile"}, nil)
)

func (m *loadMetrics) keep(p *load.Progress) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts, m.errors, m.rate = p.Counts, maps.Clone(p.Errors), p.Rate
	m.latency = make(map[float64]float64)
	for _, q := range load.Quantiles {
		if p.Recent.TotalCount() > 0 {
			m.latency[q/100] = float64(p.Recent.ValueAtQuantile(q)) / 1e9
		}
	}
}

func (m *loadMetrics) finish(r *load.Report) {
	if m != nil {
		m.keep(&load.Progress{Counts: r.Counts, Errors: r.Errors, Recent: r.Latency, Rate: r.Rate()})
	}
}

// Describe implements prometheus.Collector.
func (m *loadMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{metricLoadMessages, metricLoadBytes, metricLoadErrors, metricLoadConns, metricLoadRate, metricLoadLatency} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *loadMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.counts
	for result, n := range map[string]int64{
		"due": c.Due, "sent": c.Sent, "received": c.Received, "verified": c.Verified, "corrupt": c.Corrupt, "lost": c.Lost, "unsent": c.Unsent,
	} {
		ch <- counter(metricLoadMessages, n, result)
	}
	ch <- counter(metricLoadBytes, c.BytesOut, "out")
	ch <- counter(metricLoadBytes, c.BytesIn, "in")
	ch <- counter(metricLoadConns, c.Connections)
	for class, n := range m.errors {
		ch <- counter(metricLoadErrors, n, string(class))
	}
	ch <- prometheus.MustNewConstMetric(metricLoadRate, prometheus.GaugeValue, m.rate)
	for q, v := range m.latency {
		ch <- prometheus.MustNewConstMetric(metricLoadLatency, prometheus.GaugeValue, v, quantileText(q))
	}
}
