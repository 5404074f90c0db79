package sock

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds that need no setting.
const (
	maxNames   = 8                // names of one address that are asked about
	maxFlights = 1024             // reverse lookups waiting or under way
	failureTTL = 15 * time.Second // how long a name server's failure is remembered
)

// A Resolver looks names up, both ways. Forward, [Resolver.Lookup], a host name is
// a set of addresses, as gethostbyname(3) and getaddrinfo(3) have it. In reverse,
// [Resolver.Reverse], an address has the name that its owner published, which is
// only a claim until the name leads back to the address.
//
// The zero Resolver is ready to use, by many goroutines at once. Its fields must
// not be changed, nor the Resolver copied, after the first use.
type Resolver struct {
	// Net does the lookups. If nil, net.DefaultResolver does: the system's
	// hosts(5) file and name servers.
	Net *net.Resolver

	// Budget is the longest that Reverse takes. If zero, it is 2 seconds. If
	// negative, only the caller's context bounds it.
	Budget time.Duration

	// Queries is how many reverse lookups run at the same time; others wait
	// their turn within their budget. If it is not positive, 16 is used. Package
	// net may keep listening for the answer to one that was given up, for as long
	// as resolv.conf(5) says (5 seconds), so a few more sockets may be open.
	Queries int

	// CacheSize is how many answers Reverse remembers, "no name" among them; the
	// least recently used goes first. If zero, it is 1,024. If negative, nothing
	// is remembered.
	CacheSize int

	// CacheTTL is how long they are remembered. If zero, it is 5 minutes. If
	// negative, nothing is remembered. A name server's failure is remembered for
	// 15 seconds at most.
	CacheTTL time.Duration

	mu      sync.Mutex
	slots   chan struct{} // one token for each lookup that runs; made with flights
	flights map[netip.Addr]*flight
	cache   nameCache
}

// A Name is what an address is called.
type Name struct {
	// Name is a host name without the dot at its end; empty if there is none. It
	// holds only letters, digits, dots, hyphens and underscores, but whoever owns
	// the address chose it: escape it as any text of a peer's, and do not grant
	// anything for it unless it is confirmed.
	Name string

	// Confirmed reports whether the addresses of Name include the one asked for.
	Confirmed bool
}

// A flight is one reverse lookup that others who ask for the same address wait
// for.
type flight struct {
	name Name          // the best known so far; guarded by Resolver.mu
	done chan struct{} // closed when name is final
}

func (r *Resolver) net() *net.Resolver { return cmp.Or(r.Net, net.DefaultResolver) }

func (r *Resolver) queries() int {
	if r.Queries <= 0 {
		return 16
	}
	return r.Queries
}

func (r *Resolver) cacheSize() int {
	return max(cmp.Or(r.CacheSize, 1024), 0) // 0: no cache
}

func (r *Resolver) cacheTTL() time.Duration {
	return max(cmp.Or(r.CacheTTL, 5*time.Minute), 0) // 0: no cache
}

func (r *Resolver) withBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.Budget < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, cmp.Or(r.Budget, 2*time.Second))
}

// Lookup returns the set of addresses that a host name has, 4-in-6 unmapped, in
// ascending order, IPv4 first. That order is for people and tests; it does not say
// which address to try first. An IP address is its own set and is not looked up.
// Only ctx bounds it. The error is a [*ResolveError].
func (r *Resolver) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := r.preferred(ctx, host)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}

// preferred is Lookup for those who connect: the addresses come in the order in
// which they are best tried (RFC 6724 §6), and one may come twice.
func (r *Resolver) preferred(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	if fault := nameFault(host); fault != "" {
		return nil, notFound(host, "not a host name: "+fault)
	}
	addrs, err := r.net().LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, &ResolveError{Host: host, Err: err}
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

// LookupAddr returns the names of an address, in the order in which the hosts file
// or the name server gives them, and whether each one confirms; eight of them at
// most. It asks anew each time, and only ctx bounds it. The error is a
// [*ResolveError]. See [Resolver.Reverse] for what to use where a peer is waiting.
func (r *Resolver) LookupAddr(ctx context.Context, addr netip.Addr) ([]Name, error) {
	claims, err := r.claims(ctx, addr)
	if err != nil {
		return nil, err
	}
	names := make([]Name, len(claims))
	for i, claim := range claims {
		ok, _ := r.confirms(ctx, claim, addr)
		names[i] = Name{claim, ok}
	}
	return names, nil
}

// Reverse returns the name of an address, as gethostbyaddr(3) does: the first one
// that confirms, or else the first. It returns the zero Name if there is none, if
// it cannot be had within the budget, or if ctx ends before.
//
// It is made for a server whose peers choose what it asks for: lookups are bounded
// in time and number, their answers are remembered, and all who ask for the same
// address at the same time share one lookup. When more than 1,024 addresses are
// being looked up, further ones have no name.
func (r *Resolver) Reverse(ctx context.Context, addr netip.Addr) Name {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
		return Name{}
	}
	name, f := r.begin(addr)
	if f == nil {
		return name
	}
	ctx, cancel := r.withBudget(ctx)
	defer cancel()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return f.name
}

// HostName is Reverse as the lecture's programs show it: the name alone, whether it
// confirms or not; "" if there is none. It fits trace.Namer.
func (r *Resolver) HostName(ctx context.Context, addr netip.Addr) string {
	return r.Reverse(ctx, addr).Name
}

// begin returns the name if it is remembered, or the flight to wait for.
func (r *Resolver) begin(addr netip.Addr) (Name, *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, ok := r.cache.get(addr, time.Now()); ok {
		return name, nil
	}
	if f := r.flights[addr]; f != nil {
		return Name{}, f
	}
	if len(r.flights) >= maxFlights {
		return Name{}, nil
	}
	if r.flights == nil {
		r.flights = make(map[netip.Addr]*flight)
		r.slots = make(chan struct{}, r.queries())
	}
	f := &flight{done: make(chan struct{})}
	r.flights[addr] = f
	go r.fly(addr, f)
	return Name{}, f
}

// fly runs the lookup when its turn comes, and not at all if that is not within the
// budget. The lookup then has a budget of its own, also when those who wanted it have
// left: its answer is remembered, and a late turn is not taken for a slow name
// server.
func (r *Resolver) fly(addr netip.Addr, f *flight) {
	turn, cancel := r.withBudget(context.Background())
	defer cancel()
	var ttl time.Duration
	select {
	case r.slots <- struct{}{}:
		ttl = r.ttl(r.resolve(addr, f))
		<-r.slots
	case <-turn.Done():
	}
	r.mu.Lock()
	delete(r.flights, addr)
	if ttl > 0 {
		r.cache.put(addr, f.name, time.Now().Add(ttl), r.cacheSize())
	}
	r.mu.Unlock()
	close(f.done)
}

// ttl returns how long an answer that came with err is remembered.
func (r *Resolver) ttl(err error) time.Duration {
	if err == nil || isNotFound(err) {
		return r.cacheTTL()
	}
	return min(r.cacheTTL(), failureTTL)
}

// resolve looks the name up and leaves the best one known in f, at once when there
// is one, so that who runs out of patience while it is being confirmed has it.
func (r *Resolver) resolve(addr netip.Addr, f *flight) error {
	ctx, cancel := r.withBudget(context.Background())
	defer cancel()
	claims, err := r.claims(ctx, addr)
	if err != nil {
		return err
	}
	r.setName(f, Name{claims[0], false})
	for _, claim := range claims {
		ok, e := r.confirms(ctx, claim, addr)
		if ok {
			r.setName(f, Name{claim, true})
			return nil
		}
		err = errors.Join(err, e)
	}
	return err
}

func (r *Resolver) setName(f *flight, name Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.name = name
}

// claims returns the names that the owner of addr claims for it: at least one, or
// an error. What cannot be a host name is dropped: control bytes, which package
// net drops too, and IP addresses, which could pass for the peer's own.
func (r *Resolver) claims(ctx context.Context, addr netip.Addr) ([]string, error) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return nil, notFound(addr.String(), "it is not an IP address")
	}
	// Names that came with an error are good: it only says that others were not.
	answers, err := r.net().LookupAddr(ctx, addr.String())
	if err != nil && answers == nil {
		return nil, &ResolveError{Host: addr.String(), Err: err}
	}
	var claims []string
	for _, answer := range answers {
		claim := strings.TrimSuffix(answer, ".")
		if nameFault(claim) == "" && len(claims) < maxNames && !slices.Contains(claims, claim) {
			claims = append(claims, claim)
		}
	}
	if claims == nil {
		return nil, notFound(addr.String(), "it has no name that could be a host's")
	}
	return claims, nil
}

// confirms reports whether addr is among the addresses of name. The error is nil
// unless the answer could not be had.
func (r *Resolver) confirms(ctx context.Context, name string, addr netip.Addr) (bool, error) {
	addr = addr.Unmap().WithZone("")
	network := "ip6"
	if addr.Is4() {
		network = "ip4"
	}
	if strings.Contains(name, ".") {
		name += "." // whole as it is: the search list of resolv.conf(5) is not for it
	}
	addrs, err := r.net().LookupNetIP(ctx, network, name)
	if err != nil && !isNotFound(err) {
		return false, err
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool {
		return a.Unmap().WithZone("") == addr
	}), nil
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// nameFault says why name cannot be a host name: RFC 1123 §2.1, with the underscore
// that is in use, and RFC 1035 §2.3.4 for the lengths. A name whose last label is a
// number would be taken for an IPv4 address by one program and not by another. The
// answer needs no escaping; it is empty if nothing is wrong.
func nameFault(name string) string {
	whole := strings.TrimSuffix(name, ".")
	if len(whole) > 253 {
		return fmt.Sprintf("it has %d bytes, the longest has 253", len(whole))
	}
	for label := range strings.SplitSeq(whole, ".") {
		if fault := labelFault(label); fault != "" {
			return fault
		}
	}
	if last := whole[strings.LastIndexByte(whole, '.')+1:]; isNumber(last) || isHex(last) {
		return "it ends in a number and is not an IPv4 address"
	}
	return ""
}

// isHex reports whether inet_aton(3) would read s as a hexadecimal number.
func isHex(s string) bool {
	digits, ok := cutPrefixFold(s, "0x")
	return ok && strings.Trim(strings.ToLower(digits), "0123456789abcdef") == ""
}

// labelFault is nameFault for one label, a part between dots.
func labelFault(label string) string {
	switch {
	case label == "":
		return "a part between its dots is empty"
	case len(label) > 63:
		return fmt.Sprintf("a part between its dots has %d bytes, the longest has 63", len(label))
	case label[0] == '-' || label[len(label)-1] == '-':
		return "a part between its dots begins or ends with a hyphen"
	}
	for _, b := range []byte(label) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_':
		case b >= 0x80:
			return "it is not ASCII; write its xn-- form"
		default:
			return fmt.Sprintf("it has the byte 0x%02x", b)
		}
	}
	return ""
}

// notFound is the error for a host of which no name server need be asked, or that
// has only names that cannot be used.
func notFound(host, why string) error {
	return &ResolveError{Host: host, Err: &net.DNSError{Err: why, Name: host, IsNotFound: true}}
}

// nameCache remembers names until they expire; the least recently used goes first.
// The zero value is empty.
type nameCache struct {
	byAddr map[netip.Addr]*list.Element // of *cached
	order  list.List                    // most recently used first
}

type cached struct {
	addr    netip.Addr
	name    Name
	expires time.Time
}

func (c *nameCache) get(addr netip.Addr, now time.Time) (Name, bool) {
	e := c.byAddr[addr]
	if e == nil {
		return Name{}, false
	}
	entry := e.Value.(*cached)
	if !now.Before(entry.expires) {
		c.remove(e)
		return Name{}, false
	}
	c.order.MoveToFront(e)
	return entry.name, true
}

// put remembers a name that is not there, and forgets what is then over size.
func (c *nameCache) put(addr netip.Addr, name Name, expires time.Time, size int) {
	if c.byAddr == nil {
		c.byAddr = make(map[netip.Addr]*list.Element)
	}
	c.byAddr[addr] = c.order.PushFront(&cached{addr, name, expires})
	for c.order.Len() > size {
		c.remove(c.order.Back())
	}
}

func (c *nameCache) remove(e *list.Element) {
	delete(c.byAddr, e.Value.(*cached).addr)
	c.order.Remove(e)
}
