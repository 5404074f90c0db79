package enginetest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"yodel/engine"
	"yodel/trace"
)

// doorServices are those on the connection door that talk in lines.
var doorServices = []string{"conn", "listener"}

// eachDoor tries try on each of them.
func eachDoor(t *testing.T, try func(t *testing.T, service string)) {
	for _, service := range doorServices {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			try(t, service)
		})
	}
}

// tryDoor: a service that does its own I/O is served over every kind of place; its
// deadlines are its own.
func tryDoor(k *kit, t *testing.T) {
	eachDoor(t, func(t *testing.T, service string) {
		for network, listen := range k.places() {
			s := k.serveAt(t, listen(t), service, engine.Config{})
			c := s.dial()
			c.ask("a line over "+network, "hi\n", "hi\n")
			c.ask("a deadline of the service's", "deadline 20\n", "passed: true\n")
			c.ask("and it reads again", "hi again\n", "hi again\n")
			c.ask("its end", "bye\nquit\n", "bye\n")
			c.wantEnd("the service has returned")
			s.awaitEnds("the service has returned", 1, engine.Done)

			c = s.dial()
			c.send("half\n")
			c.wantEnd("half-close")
			c.Close()
			s.awaitEnds("the peer has ended then", 1, engine.Peer)
		}
	})
}

// tryDoorTLS: over TLS the service has the payload, and the books the records.
func tryDoorTLS(k *kit, t *testing.T) {
	eachDoor(t, func(t *testing.T, service string) {
		s := k.serveTLS(t, onTCP(t), service, engine.Config{})
		c := s.dial()
		c.ask("a line", "hi\n", "hi\n")
		c.ask("a deadline of the service's", "deadline 20\n", "passed: true\n")
		c.ask("and it reads again", "hi again\n", "hi again\n")
		c.end()
		c.wantEnd("the peer has ended")
	})
}

// tryDoorIdle: a connection at rest is ended.
func tryDoorIdle(k *kit, t *testing.T) {
	eachDoor(t, func(t *testing.T, service string) {
		s := k.serve(t, service, engine.Config{Idle: 60 * time.Millisecond})
		s.dial().wantEnd("at rest")
		s.awaitEnds("at rest", 1, engine.Idle)
	})
}

// tryDoorSlowReader: a peer that does not take what the service writes is cut.
func tryDoorSlowReader(k *kit, t *testing.T) {
	cfgs := map[engine.Reason]engine.Config{
		engine.SlowReader: {MinRate: 1 << 20, MinRateAfter: 100 * time.Millisecond},
		engine.Idle:       {MinRate: -1, Idle: 100 * time.Millisecond},
	}
	eachDoor(t, func(t *testing.T, service string) {
		for reason, cfg := range cfgs {
			s := k.serveAt(t, onSmallBuffers(t), service, cfg)
			c := s.dial()
			c.send("flood\n")
			s.awaitEnds("it reads nothing", 1, reason)
			c.wantReset("the kernel keeps nothing for it")
		}
	})
}

// tryDoorDrain: Shutdown ends a connection of a service that can't do so itself, when
// it is at rest, and not while the service works.
func tryDoorDrain(k *kit, t *testing.T) {
	eachDoor(t, func(t *testing.T, service string) {
		s := k.serve(t, service, engine.Config{Quiet: 30 * time.Millisecond})
		c := s.dial()
		c.ask("it is served", "hi\n", "hi\n")
		c.send("work 150\n")
		s.events.await(t, "it works", func(list []trace.Event) bool { return list[len(list)-1].In == 12 })
		done := s.shutdown(patience)
		c.want("it is let work", "worked\n")
		c.wantEnd("at rest")
		wantErr(t, "Shutdown", <-done, nil)
		s.awaitEnds("at rest", 1, engine.Drained)
	})
}

// tryDoorClose: Close cuts, and waits for the service to return.
func tryDoorClose(k *kit, t *testing.T) {
	eachDoor(t, func(t *testing.T, service string) {
		s := k.serve(t, service, engine.Config{MinRate: -1})
		lines := []string{"hi\n", "flood\n", "work 50\n"}
		if k.traits.OneAtATime {
			lines = lines[1:2]
		}
		for i, line := range lines {
			s.dial().send(line)
			s.awaitAccepts(i + 1)
		}
		s.Close()
		if list, _ := s.events.look(); count(list, trace.Close, engine.Cut.String()) != len(lines) {
			t.Errorf("after Close:\n%s", describe(list))
		}
	})
}

func tryDoorPanic(k *kit, t *testing.T) {
	s := k.serve(t, "conn", engine.Config{})
	c := s.dial()
	c.send("panic ouch\n")
	c.wantGone("its connection ends")
	s.awaitEnds("and is counted", 1, engine.Panic)
	s.wantPanicLog("ouch")
	s.dial().ask("others are served", "hi\n", "hi\n")
}

// tryDoorMaxConns: MaxConns holds for a service that accepts for itself.
func tryDoorMaxConns(k *kit, t *testing.T) {
	eachDoor(t, func(t *testing.T, service string) {
		s := k.serve(t, service, engine.Config{Gate: engine.NewGate(&engine.GateConfig{MaxConns: 2})})
		a, b, c := s.dial(), s.dial(), s.dial()
		c.send("me too\n")
		for range 10 {
			a.ask("the first", "a\n", "a\n")
			b.ask("the second", "b\n", "b\n")
		}
		if n := s.Stats().Accepted; n != 2 {
			t.Errorf("%d were accepted", n)
		}
		a.Close()
		c.want("one has left", "me too\n")
	})
}

// tryHTTP: package net/http on the door, with its own keep-alive and its own shutdown.
func tryHTTP(k *kit, t *testing.T) {
	s := k.serve(t, "http", engine.Config{})
	web := s.browser()
	for range 3 {
		s.get(web, "/", "HTTP/1.1")
	}
	if n := s.Stats().Accepted; n != 1 {
		t.Errorf("three requests took %d connections", n)
	}
	worked := make(chan string, 1)
	go func() { worked <- fetch(web, s.url()+"/?work=100") }()
	s.events.await(t, "a fourth answer has begun", func(list []trace.Event) bool { return count(list, trace.Write, "") == 4 })
	done := s.shutdown(patience)
	if got := <-worked; got == "" || got[:8] != "HTTP/1.1" {
		t.Errorf("the request under way got %q", got)
	}
	wantErr(t, "Shutdown", <-done, nil)
	s.wantServed(engine.ErrClosed)
}

// tryHTTP2: over TLS and HTTP/2, many requests on one connection.
func tryHTTP2(k *kit, t *testing.T) {
	s := k.serveTLS(t, onTCP(t), "http", engine.Config{}, "h2", "http/1.1")
	web := s.browser()
	got := make(chan string, 20)
	s.get(web, "/", "HTTP/2.0")
	for range cap(got) {
		go func() { got <- fetch(web, s.url()+"/?work=5") }()
	}
	for range cap(got) {
		if body := <-got; len(body) < 8 || body[:8] != "HTTP/2.0" {
			t.Errorf("got %q", body)
		}
	}
	if n := s.Stats().Accepted; n != 1 {
		t.Errorf("they took %d connections", n)
	}
	web.CloseIdleConnections()
	wantErr(t, "Shutdown", <-s.shutdown(patience), nil)
}

// tryHTTPClose: Close ends what net/http serves, also in the middle of a request.
func tryHTTPClose(k *kit, t *testing.T) {
	s := k.serve(t, "http", engine.Config{})
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	c.want("an answer", "HTTP/1.1 200 OK\r\n")
	s.Close()
	c.wantGone("it is cut")
}

// browser returns an HTTP client that trusts this server.
func (s *server) browser() *http.Client {
	tr := &http.Transport{ForceAttemptHTTP2: true}
	if s.cert != nil {
		tr.TLSClientConfig = clientTLS(s.cert)
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func (s *server) url() string {
	if s.cert != nil {
		return "https://" + s.at.Addr().String()
	}
	return "http://" + s.at.Addr().String()
}

// get wants an answer over that protocol.
func (s *server) get(web *http.Client, path, proto string) {
	s.t.Helper()
	if got := fetch(web, s.url()+path); len(got) < len(proto) || got[:len(proto)] != proto {
		s.t.Fatalf("get %s: %q, want one over %s", path, got, proto)
	}
}

func fetch(web *http.Client, url string) string {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := web.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body) + fmt.Sprint(err)
}
