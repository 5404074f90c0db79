package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"yodel/sock"
)

// admin is the listener for whoever runs a server: is it alive, is it ready, what does
// it count, what is it doing.
type admin struct {
	listener *sock.Listener
	http     *http.Server
	ready    atomic.Bool
}

// newAdmin listens at addr, which must be on this host: it shows more than strangers
// should see.
func newAdmin(ctx context.Context, addr string, metrics prometheus.Collector) (*admin, error) {
	at, err := adminAddress(addr)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(metrics); err != nil {
		return nil, err
	}
	a := &admin{}
	a.listener, err = sock.Listen(ctx, at, nil)
	if err != nil {
		return nil, fmt.Errorf("--admin: %w", err)
	}
	a.http = &http.Server{Handler: a.routes(registry), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	return a, nil
}

// adminAddress parses --admin.
func adminAddress(addr string) (sock.Address, error) {
	at, err := sock.ParseAddress(addr)
	if err != nil {
		return at, usagef("--admin: %w", err)
	}
	if !at.Loopback() || at.Network != "tcp" && at.Network != "unix" {
		return at, usagef("--admin %s: it shows what strangers should not see; give a loopback address, as 127.0.0.1:15214, or unix:PATH", addr)
	}
	return at, nil
}

func (a *admin) routes(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", a.answerReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	return mux
}

func (a *admin) answerReady(w http.ResponseWriter, _ *http.Request) {
	if !a.ready.Load() {
		http.Error(w, "not ready: starting or stopping", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

// serve answers until close. Its errors are not the server's.
func (a *admin) serve() error {
	err := a.http.Serve(a.listener.Plain())
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (a *admin) close() { a.http.Close() }
