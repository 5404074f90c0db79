package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var peer = netip.MustParseAddr("192.0.2.1") // TEST-NET-1 (RFC 5737)

func TestLookup(t *testing.T) {
	t.Parallel()
	s := &nameServer{records: map[string][]string{
		"A www.example.":       {"192.0.2.7", "192.0.2.1", "192.0.2.7"},
		"AAAA www.example.":    {"2001:db8::7", "2001:db8::1"},
		"A mapped.example.":    {"192.0.2.1"},
		"AAAA mapped.example.": {"::ffff:192.0.2.1"},
	}}
	r := &Resolver{Net: s.overUDP(t)}
	for host, want := range map[string]string{
		"www.example.":           "[192.0.2.1 192.0.2.7 2001:db8::1 2001:db8::7]",
		"WWW.Example.":           "[192.0.2.1 192.0.2.7 2001:db8::1 2001:db8::7]",
		"mapped.example.":        "[192.0.2.1]",
		"192.0.2.9":              "[192.0.2.9]",
		"::ffff:192.0.2.9":       "[192.0.2.9]",
		"fe80::1%eth0":           "[fe80::1%eth0]",
		"2001:0db8:0000:0::0001": "[2001:db8::1]",
	} {
		got, err := r.Lookup(t.Context(), host)
		if fmt.Sprint(got) != want || err != nil {
			t.Errorf("%s is %v, %v; want %s", host, got, err, want)
		}
	}
}

func TestLookupErrors(t *testing.T) {
	t.Parallel()
	s := &nameServer{records: map[string][]string{
		"A silent.example.": {"SILENT"}, "AAAA silent.example.": {"SILENT"},
		"A broken.example.": {"SERVFAIL"}, "AAAA broken.example.": {"SERVFAIL"},
	}}
	r := &Resolver{Net: s.overUDP(t)}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		what              string
		ctx               context.Context
		host              string
		notFound, timeout bool
		text              string
	}{
		{"no such name", t.Context(), "nosuch.example.", true, false, "no such host"},
		{"no answer", deadline(t, 50*time.Millisecond), "silent.example.", false, true, ""},
		{"a server that fails", t.Context(), "broken.example.", false, false, "server misbehaving"},
		{"a caller who left", cancelled, "silent.example.", false, false, "canceled"},
		{"empty", t.Context(), "", true, false, "a part between its dots is empty"},
		{"the root", t.Context(), ".", true, false, "a part between its dots is empty"},
		{"escape codes", t.Context(), "\x1b]0;x\a", true, false, `it has the byte 0x1b`},
		{"too long", t.Context(), strings.Repeat("abcdefg.", 32), true, false, "it has 255 bytes, the longest has 253"},
		{"a number", t.Context(), "2130706433", true, false, "it ends in a number and is not an IPv4 address"},
	} {
		got, err := r.Lookup(tt.ctx, tt.host)
		resolve, ok := errors.AsType[*ResolveError](err)
		if got != nil || !ok {
			t.Errorf("%s: %v, %v", tt.what, got, err)
			continue
		}
		if resolve.NotFound() != tt.notFound || resolve.Timeout() != tt.timeout || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: not found %v, timeout %v: %v", tt.what, resolve.NotFound(), resolve.Timeout(), err)
		}
		if errors.Is(err, context.Canceled) != (tt.ctx == cancelled) {
			t.Errorf("%s: cancelled: %v", tt.what, err)
		}
		if strings.ContainsAny(err.Error(), "\x1b\a") {
			t.Errorf("%s: the error is not fit to show: %q", tt.what, err)
		}
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestNameFault(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, label[:61]}, ".")
	for name, good := range map[string]bool{
		"localhost": true, "a": true, "A-1.b_c.D": true, "_dmarc.example": true, "example.": true,
		label: true, longest: true, longest + ".": true, "0xyz": true, "1e100.net": true, "3com": true,
		"": false, ".": false, "..": false, ".a": false, "a..b": false, "a b": false, "a\x00": false, "é": false,
		label + "a": false, longest + "a": false, "-a": false, "a-": false, "a.-b": false, "a:b": false, "a/b": false,
		"1": false, "1.2.3.4": false, "1.2.3.4.": false, "a.1": false, "0x7f.1": false, "a.0X1f": false, "0x": false,
	} {
		if fault := nameFault(name); (fault == "") != good {
			t.Errorf("the fault of %q is %q", name, fault)
		}
	}
}

// What each name server's answer makes of a peer, over a real socket.
func TestReverse(t *testing.T) {
	t.Parallel()
	many := []string{"x.example.", "x.example."}
	for i := range 20 {
		many = append(many, fmt.Sprintf("m%d.example.", i))
	}
	for _, tt := range []struct {
		what    string
		addr    string
		records map[string][]string
		want    Name
		all     []Name
	}{
		{
			"the name leads back", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"www.example."}, "A www.example.": {"192.0.2.9", "192.0.2.1"}},
			Name{"www.example", true},
			[]Name{{"www.example", true}},
		},
		{
			"and so it does for IPv6", "2001:db8::1",
			map[string][]string{"PTR 2001:db8::1": {"six.example."}, "AAAA six.example.": {"2001:db8::1"}},
			Name{"six.example", true},
			[]Name{{"six.example", true}},
		},
		{
			"4-in-6 is IPv4", "::ffff:192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"www.example."}, "A www.example.": {"192.0.2.1"}},
			Name{"www.example", true},
			[]Name{{"www.example", true}},
		},
		{
			"the name leads elsewhere", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"bank.example."}, "A bank.example.": {"192.0.2.99"}},
			Name{"bank.example", false},
			[]Name{{"bank.example", false}},
		},
		{
			"the name leads nowhere", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"nosuch.example."}},
			Name{"nosuch.example", false},
			[]Name{{"nosuch.example", false}},
		},
		{
			"several names: the first that confirms", "192.0.2.1",
			map[string][]string{
				"PTR 192.0.2.1": {"b.example.", "a.example.", "c.example."},
				"A a.example.":  {"192.0.2.1"}, "A c.example.": {"192.0.2.1"},
			},
			Name{"a.example", true},
			[]Name{{"b.example", false}, {"a.example", true}, {"c.example", true}},
		},
		{
			"several names, none confirms: the first", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"b.example.", "a.example."}},
			Name{"b.example", false},
			[]Name{{"b.example", false}, {"a.example", false}},
		},
		{
			"one of the names cannot be looked up", "192.0.2.1",
			map[string][]string{
				"PTR 192.0.2.1":     {"broken.example.", "a.example."},
				"A broken.example.": {"SERVFAIL"}, "A a.example.": {"192.0.2.1"},
			},
			Name{"a.example", true},
			[]Name{{"broken.example", false}, {"a.example", true}},
		},
		{
			"too many names: not all are asked about, none twice", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": many, "A m19.example.": {"192.0.2.1"}},
			Name{"x.example", false},
			[]Name{{"x.example", false}, {"m0.example", false}, {"m1.example", false}, {"m2.example", false}, {"m3.example", false}, {"m4.example", false}, {"m5.example", false}, {"m6.example", false}},
		},
		{
			"no name", "192.0.2.1", nil, Name{}, nil,
		},
		{
			"a name server that fails", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"SERVFAIL"}},
			Name{},
			nil,
		},
		{ // package net drops what is not a domain name
			"escape codes", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"\x1b[31mroot.example.", "a\r\nb.example.", "\u202egpj.example.", "a\x00b.example.", "a b.example."}},
			Name{},
			nil,
		},
		{
			"escape codes beside a good name", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"\x1b[2J.example.", "www.example."}, "A www.example.": {"192.0.2.1"}},
			Name{"www.example", true},
			[]Name{{"www.example", true}},
		},
		{
			"addresses for names", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"127.0.0.1.", "10.0.0.1x.0x7f000001.", "2130706433."}},
			Name{},
			nil,
		},
		{
			"the root", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {"."}},
			Name{},
			nil,
		},
		{
			"quotes and HTML", "192.0.2.1",
			map[string][]string{"PTR 192.0.2.1": {`"><script>.example.`, `\".example.`, "%s%n.example."}},
			Name{},
			nil,
		},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			s := &nameServer{records: tt.records}
			r := &Resolver{Net: s.overUDP(t)}
			addr := netip.MustParseAddr(tt.addr)
			if got := r.Reverse(t.Context(), addr); got != tt.want {
				t.Errorf("Reverse gives %+v, want %+v", got, tt.want)
			}
			all, err := r.LookupAddr(t.Context(), addr)
			if !slices.Equal(all, tt.all) || (err == nil) != (tt.all != nil) {
				t.Errorf("LookupAddr gives %+v, %v; want %+v", all, err, tt.all)
			}
			if _, ok := errors.AsType[*ResolveError](err); err != nil && !ok {
				t.Errorf("LookupAddr fails with a %T", err)
			}
		})
	}
}

func TestLookupAddrErrors(t *testing.T) {
	t.Parallel()
	s := &nameServer{records: map[string][]string{
		"PTR 192.0.2.2": {"SERVFAIL"}, "PTR 192.0.2.3": {"SILENT"}, "PTR 192.0.2.4": {"\x1b."},
	}}
	r := &Resolver{Net: s.overUDP(t)}
	for _, tt := range []struct {
		addr              netip.Addr
		notFound, timeout bool
	}{
		{netip.MustParseAddr("192.0.2.1"), true, false},
		{netip.MustParseAddr("192.0.2.2"), false, false},
		{netip.MustParseAddr("192.0.2.3"), false, true},
		{netip.MustParseAddr("192.0.2.4"), true, false},
		{netip.Addr{}, true, false},
	} {
		_, err := r.LookupAddr(deadline(t, 50*time.Millisecond), tt.addr)
		resolve, ok := errors.AsType[*ResolveError](err)
		if !ok || resolve.NotFound() != tt.notFound || resolve.Timeout() != tt.timeout {
			t.Errorf("%v: %v; want not found %v, timeout %v", tt.addr, err, tt.notFound, tt.timeout)
		}
	}
}

// The machine knows what loopback is called; the lecture's dialogue depends on it.
func TestReverseLoopback(t *testing.T) {
	t.Parallel()
	var r Resolver
	if got := r.Reverse(t.Context(), netip.MustParseAddr("127.0.0.1")); got.Name == "" || !got.Confirmed {
		t.Errorf("127.0.0.1 is called %+v here; the hosts file should have \"127.0.0.1 localhost\"", got)
	}
}

func TestReverseAsksNobody(t *testing.T) {
	t.Parallel()
	r := &Resolver{Net: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a name server was asked")
		return nil, errors.New("not this time")
	}}}
	for _, addr := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("ff02::1")} {
		if got := r.Reverse(t.Context(), addr); got != (Name{}) {
			t.Errorf("%v is %+v", addr, got)
		}
	}
}

// HOSTILE A13: a name server that does not answer costs the budget and no more,
// with a real clock and a real socket.
func TestReverseBudget(t *testing.T) {
	t.Parallel()
	s := &nameServer{records: map[string][]string{"PTR 192.0.2.1": {"SILENT"}}}
	r := &Resolver{Net: s.overUDP(t), Budget: 50 * time.Millisecond}
	began := time.Now()
	if got := r.Reverse(t.Context(), peer); got != (Name{}) {
		t.Errorf("got %+v", got)
	}
	if took := time.Since(began); took < r.Budget || took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
}

// The same for every way to be slow, with the default budget and synctest's clock,
// which makes the figures exact.
func TestReverseBudgetIsExact(t *testing.T) {
	slow := map[string]struct {
		records map[string][]string
		budget  time.Duration
		ctx     time.Duration // 0: none
		want    Name
		took    time.Duration
	}{
		"silence": {
			map[string][]string{"PTR 192.0.2.1": {"SILENT"}},
			0, 0,
			Name{},
			2 * time.Second,
		},
		"silence when the name is to be confirmed": {
			map[string][]string{"PTR 192.0.2.1": {"www.example."}, "A www.example.": {"SILENT"}},
			0, 0,
			Name{"www.example", false},
			2 * time.Second,
		},
		"a shorter budget": {
			map[string][]string{"PTR 192.0.2.1": {"SILENT"}},
			time.Second, 0,
			Name{},
			time.Second,
		},
		"a caller in a hurry": {
			map[string][]string{"PTR 192.0.2.1": {"www.example."}, "A www.example.": {"SILENT"}},
			0, time.Millisecond,
			Name{"www.example", false},
			time.Millisecond,
		},
		"no budget, only a caller's deadline": {
			map[string][]string{"PTR 192.0.2.1": {"SILENT"}},
			-1, 4 * time.Second,
			Name{},
			4 * time.Second,
		},
	}
	for what, tt := range slow {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &nameServer{records: tt.records}
				r := &Resolver{Net: s.overPipe(), Budget: tt.budget}
				ctx := t.Context()
				if tt.ctx > 0 {
					ctx = deadline(t, tt.ctx)
				}
				began := time.Now()
				got := r.Reverse(ctx, peer)
				if took := time.Since(began); got != tt.want || took != tt.took {
					t.Errorf("%+v after %v; want %+v after %v", got, took, tt.want, tt.took)
				}
			})
		})
	}
}

// A resolver that does not heed its context holds up nobody.
func TestReverseStuckResolver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stuck := make(chan struct{})
		r := &Resolver{Queries: 1, Net: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			<-stuck
			return nil, errors.New("too late")
		}}}
		began := time.Now()
		for i, addr := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.1"} {
			if got := r.Reverse(t.Context(), netip.MustParseAddr(addr)); got != (Name{}) {
				t.Errorf("got %+v", got)
			}
			if took, want := time.Since(began), time.Duration(i+1)*2*time.Second; took != want {
				t.Errorf("%d lookups took %v, want %v", i+1, took, want)
			}
		}
		close(stuck)
	})
}

// reverseAll looks addresses up at the same time. The channel is closed when all
// are done.
func reverseAll(t *testing.T, r *Resolver, addrs []netip.Addr) (names []Name, done chan struct{}) {
	names, done = make([]Name, len(addrs)), make(chan struct{})
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { names[i] = r.Reverse(t.Context(), addr) })
	}
	go func() { wg.Wait(); close(done) }()
	return names, done
}

// addresses returns n addresses of 192.0.2.0/24 and what follows.
func addresses(n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	for i, a := 0, peer; i < n; i, a = i+1, a.Next() {
		addrs[i] = a
	}
	return addrs
}

func TestReverseSharesOneQuery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &nameServer{hold: make(chan struct{}), records: map[string][]string{
			"PTR 192.0.2.1": {"www.example."}, "A www.example.": {"192.0.2.1"},
		}}
		r := &Resolver{Net: s.overPipe()}

		hurried, leave := context.WithCancel(t.Context())
		first := make(chan Name)
		go func() { first <- r.Reverse(hurried, peer) }()
		synctest.Wait() // it has asked
		names, done := reverseAll(t, r, slices.Repeat([]netip.Addr{peer}, 100))
		synctest.Wait() // all wait for the answer

		leave()
		if got := <-first; got != (Name{}) {
			t.Errorf("who left has %+v", got)
		}
		close(s.hold)
		<-done
		for _, got := range names {
			if got != (Name{"www.example", true}) {
				t.Fatalf("got %+v", got)
			}
		}
		if n := s.count("PTR 192.0.2.1"); n != 1 {
			t.Errorf("101 lookups made %d queries", n)
		}
	})
}

func TestReverseRunsFewQueriesAtOnce(t *testing.T) {
	for _, tt := range []struct{ queries, want int }{{0, 16}, {3, 3}} {
		t.Run(fmt.Sprint(tt.want), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &nameServer{hold: make(chan struct{})}
				r := &Resolver{Net: s.overPipe(), Queries: tt.queries}
				_, done := reverseAll(t, r, addresses(50))
				synctest.Wait()
				if n := s.countAll("PTR "); n != tt.want {
					t.Errorf("%d addresses were asked for at once, want %d", n, tt.want)
				}
				close(s.hold)
				<-done
				if n := s.countAll("PTR "); n != 50 {
					t.Errorf("%d of 50 addresses were asked for in the end", n)
				}
			})
		})
	}
}

func TestReverseFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &nameServer{hold: make(chan struct{})}
		r := &Resolver{Net: s.overPipe()}
		all := addresses(maxFlights + 1)
		names, done := reverseAll(t, r, all[:maxFlights])
		synctest.Wait()

		began := time.Now()
		if got := r.Reverse(t.Context(), all[maxFlights]); got != (Name{}) || time.Since(began) != 0 {
			t.Errorf("one more is %+v after %v, want none at once", got, time.Since(began))
		}
		<-done // their budget is spent: nothing was answered
		if took := time.Since(began); took != 2*time.Second || names[0] != (Name{}) {
			t.Errorf("%+v after %v", names[0], took)
		}
		close(s.hold)
		synctest.Wait()

		// Whose turn never came is not taken for nameless: it is asked for next time.
		waited := all[slices.IndexFunc(all, func(a netip.Addr) bool { return s.count("PTR "+arpa(a)) == 0 })]
		r.Reverse(t.Context(), waited)
		if n := s.count("PTR " + arpa(waited)); n != 1 {
			t.Errorf("after the flood %v was asked for %d times, want once", waited, n)
		}
	})
}

func TestReverseRemembers(t *testing.T) {
	for _, tt := range []struct {
		what    string
		size    int
		ttl     time.Duration
		records []string
		forward []string
		fresh   time.Duration // asked once until then; 0: asked each time
	}{
		{"a name", 0, 0, []string{"www.example."}, []string{"192.0.2.1"}, 5 * time.Minute},
		{"a name that leads elsewhere", 0, 0, []string{"www.example."}, []string{"192.0.2.2"}, 5 * time.Minute},
		{"no name", 0, 0, nil, nil, 5 * time.Minute},
		{"no usable name", 0, 0, []string{"\x1b."}, nil, 5 * time.Minute},
		{"failure", 0, 0, []string{"SERVFAIL"}, nil, 15 * time.Second},
		{"failure to confirm", 0, 0, []string{"www.example."}, []string{"SERVFAIL"}, 15 * time.Second},
		{"for a time of one's own", 0, time.Second, []string{"SERVFAIL"}, nil, time.Second},
		{"nothing for no time", 0, -1, []string{"www.example."}, nil, 0},
		{"nothing in no room", -1, 0, []string{"www.example."}, nil, 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &nameServer{records: map[string][]string{"PTR 192.0.2.1": tt.records, "A www.example.": tt.forward}}
				r := &Resolver{Net: s.overPipe(), CacheSize: tt.size, CacheTTL: tt.ttl}
				first := r.Reverse(t.Context(), peer)
				queries := s.count("PTR 192.0.2.1") // a failure is asked about more than once
				again := func(what string, want int) {
					t.Helper()
					if got := r.Reverse(t.Context(), peer); got != first {
						t.Errorf("%s it is %+v, was %+v", what, got, first)
					}
					if n := s.count("PTR 192.0.2.1"); n != want {
						t.Errorf("%s there are %d queries, want %d", what, n, want)
					}
				}
				if tt.fresh == 0 {
					again("at once", 2*queries)
					return
				}
				time.Sleep(tt.fresh - time.Nanosecond)
				again("just before it is stale", queries)
				time.Sleep(time.Nanosecond)
				again("when it is stale", 2*queries)
			})
		})
	}
}

func TestReverseForgetsTheLeastRecentlyUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, c := "192.0.2.1", "192.0.2.2", "192.0.2.3"
		s := &nameServer{records: map[string][]string{"PTR " + a: {"a."}, "PTR " + b: {"b."}, "PTR " + c: {"c."}}}
		r := &Resolver{Net: s.overPipe(), CacheSize: 2}
		for _, addr := range []string{a, b, a, c, a, c, b} {
			r.Reverse(t.Context(), netip.MustParseAddr(addr))
		}
		for addr, want := range map[string]int{a: 1, b: 2, c: 1} {
			if n := s.count("PTR " + addr); n != want {
				t.Errorf("%s was asked for %d times, want %d", addr, n, want)
			}
		}
		if n := len(r.cache.byAddr); n != 2 || r.cache.order.Len() != 2 {
			t.Errorf("%d entries, %d in order; want 2", n, r.cache.order.Len())
		}
	})
}

func FuzzNameFault(f *testing.F) {
	for _, seed := range []string{"www.example.", "", ".", "1.2.3.4", "a\x1b", "0x7f.1", "xn--bcher-kva.example", strings.Repeat("a.", 127)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if fault := nameFault(name); fault != "" {
			if strings.ContainsFunc(fault, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }) {
				t.Errorf("the fault of %q is not fit to show: %q", name, fault)
			}
			return
		}
		if _, err := netip.ParseAddr(strings.TrimSuffix(name, ".")); err == nil || len(name) > 254 {
			t.Errorf("%q passes for a name", name)
		}
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\\\"'<>&%/:@[]", r) }) {
			t.Errorf("%q passes for a name and is not fit to show", name)
		}
	})
}
