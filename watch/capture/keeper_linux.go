package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// How often the list of sockets is asked for new ports of the owner's. Where the kernel
// tells of them, it is looked right then, and some more times, as a socket that listens
// does so a little after it is bound, but never as often as would cost more than a
// twentieth of a core; otherwise as often as costs one two-hundredth.
const (
	pollLeast   = 20 * time.Millisecond
	pollMost    = time.Second
	pollShare   = 200
	pollBusiest = 20
)

var pollSoon = []time.Duration{time.Millisecond, 4 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond}

// A keeper keeps the tables in step with what the kernel has no hook for: the ports
// that the owner has bound, the addresses of this host, interfaces that go.
type keeper struct {
	uid     uint32
	tables  *tables // nil: nothing to fill in
	diag    *diag
	routes  *routes
	tree    *tree // nil: all processes
	watched map[int]bool
	gone    func() // the only interface is; nil: there are more

	// Owned by the goroutine in run, after start.
	ports map[portKey]portValue
	local map[localKey]bool

	mu    sync.Mutex
	since map[uint64]int64 // sockets of all users that wait for others: cookie → known since
	inode map[portKey]uint32

	stop     int // eventfd: look around
	finished atomic.Bool
	done     chan struct{} // nil: not begun
}

// newKeeper returns one that nothing is known to.
func newKeeper(uid uint32, d *diag, r *routes, t *tree) (*keeper, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &keeper{
		uid: uid, diag: d, routes: r, tree: t, stop: stop, watched: map[int]bool{},
		ports: map[portKey]portValue{}, local: map[localKey]bool{},
		since: map[uint64]int64{}, inode: map[portKey]uint32{},
	}, os.NewSyscallError("eventfd", err)
}

// start fills the tables for the first time. A socket that is listed twice, before and
// after it was written down, was there all the while.
func (k *keeper) start() error {
	return errors.Join(k.learnAddresses(), k.learnConnections(), k.learnPorts())
}

// begin has the keeper go on until finish.
func (k *keeper) begin() {
	k.done = make(chan struct{})
	go k.run()
}

func (k *keeper) run() {
	defer close(k.done)
	p := pace{told: k.tables != nil && k.tables.exact, last: time.Now()}
	for {
		news, err := k.wait(time.Until(p.due()))
		if err != nil || k.finished.Load() {
			return
		}
		if news {
			p.news()
		}
		if began := time.Now(); !began.Before(p.due()) {
			k.learnPorts() // an error is one of the moment: what is not known is not shown
			if k.tree != nil {
				k.tree.look()
			}
			p.looked(time.Now(), time.Since(began))
		}
	}
}

// wait waits for so long, or until there are news of ports.
func (k *keeper) wait(d time.Duration) (news bool, err error) {
	fds := []unix.PollFd{{Fd: int32(k.routes.fd), Events: unix.POLLIN}, {Fd: int32(k.stop), Events: unix.POLLIN}}
	milliseconds := (max(d, 0) + time.Millisecond - 1) / time.Millisecond
	if _, err := unix.Poll(fds, int(milliseconds)); err != nil && !errors.Is(err, unix.EINTR) {
		return false, err
	}
	if fds[0].Revents != 0 {
		k.heard()
	}
	if fds[1].Revents != 0 {
		var sum [8]byte
		unix.Read(k.stop, sum[:])
	}
	return fds[1].Revents != 0, nil
}

// A pace says when to look for ports.
type pace struct {
	told bool // there will be news of them
	last time.Time
	took time.Duration
	soon int // how often it has been looked since the last news
}

func (p *pace) news() { p.soon = 0 }

func (p *pace) looked(now time.Time, took time.Duration) {
	p.last, p.took = now, took
	p.soon = min(p.soon+1, len(pollSoon))
}

func (p *pace) due() time.Time {
	wait := min(max(pollLeast, pollShare*p.took), pollMost)
	switch {
	case p.soon < len(pollSoon):
		wait = max(pollSoon[p.soon], pollBusiest*p.took)
	case p.told:
		wait = pollMost
	}
	return p.last.Add(wait)
}

// nudge has the keeper look soon.
func (k *keeper) nudge() {
	one := [8]byte{0: 1, 7: 1} // not 0 whatever the byte order
	unix.Write(k.stop, one[:])
}

// finish ends what begin has begun.
func (k *keeper) finish() {
	if k.done != nil {
		k.finished.Store(true)
		k.nudge()
		<-k.done
		k.done = nil
	}
}

// close gives back the keeper's descriptors. Nobody may nudge it any more.
func (k *keeper) close() {
	unix.Close(k.stop)
	k.routes.close()
	k.diag.close()
}

// heard takes the news of interfaces and addresses. What they are does not matter: it
// is looked at anew.
func (k *keeper) heard() {
	for {
		_, _, err := unix.Recvfrom(k.routes.fd, k.routes.buf, unix.MSG_DONTWAIT)
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // news were lost: look all the same
			break
		}
	}
	k.learnAddresses()
	k.learnDevices()
}

// learnDevices takes out of the table the interfaces that are gone, and notes what has
// changed about the others.
func (k *keeper) learnDevices() error {
	devices, err := k.routes.devices()
	if err != nil {
		return err
	}
	now := map[int]device{}
	for _, d := range devices {
		now[d.Index] = d
	}
	for index := range k.watched {
		d, ok := now[index]
		if !ok {
			delete(k.watched, index) // one that comes later with this number has no program
			if k.gone != nil {
				k.gone()
			}
		}
		if k.tables != nil && ok {
			err = errors.Join(err, k.tables.links.Put(uint32(index), d.value()))
		} else if k.tables != nil {
			err = errors.Join(err, k.tables.links.Delete(uint32(index)))
		}
	}
	return err
}

func (k *keeper) learnAddresses() error {
	if k.tables == nil {
		return nil
	}
	addresses, err := k.routes.addresses()
	if err != nil {
		return err
	}
	now := map[localKey]bool{}
	for _, a := range addresses {
		addr, family := raw(a)
		now[localKey{addr, uint32(family)}] = true
	}
	for key := range k.local {
		if !now[key] {
			err = errors.Join(err, k.tables.local.Delete(&key))
		}
	}
	for key := range now {
		if !k.local[key] {
			err = errors.Join(err, k.tables.local.Put(&key, uint32(1)))
		}
	}
	k.local = now
	return err
}

// States of connections that have an owner: all but LISTEN, CLOSE, TIME_WAIT and
// NEW_SYN_RECV.
const connected = allStates &^ (listening | unbound | 1<<stateTimeWait | 1<<stateNewSyn)

// learnConnections writes down the connections that are older than the capture.
func (k *keeper) learnConnections() error {
	if k.tables == nil {
		return nil
	}
	written := map[uint64]flowKey{}
	var errs []error
	errs = append(errs, k.diag.all(unix.IPPROTO_TCP, connected, false, func(e *socketEntry) {
		if e.UID != k.uid {
			return
		}
		key := keyOf(e.Proto, e.Local, e.Remote, e.Bound)
		value := flowValue{Cookie: e.Cookie, Bound: e.Bound}
		if err := k.tables.flows.Update(&key, &value, ebpf.UpdateNoExist); err == nil {
			written[e.Cookie] = key
		}
	}))
	errs = append(errs, k.diag.all(unix.IPPROTO_TCP, connected, false, func(e *socketEntry) {
		delete(written, e.Cookie)
	}))
	for cookie, key := range written { // gone meanwhile
		if v, ok := k.tables.own(&key); ok && v.Cookie == cookie {
			errs = append(errs, k.tables.flows.Delete(&key))
		}
	}
	return errors.Join(errs...)
}

// learnPorts writes down the ports that the owner's sockets are bound to, and forgets
// those of sockets that are closed.
func (k *keeper) learnPorts() error {
	found, others, err := k.bound()
	if err != nil {
		return err
	}
	if k.tables != nil && k.tables.exact {
		if err := k.enliven(found); err != nil {
			return err
		}
	}
	now := time.Now().UnixNano()
	ports, inodes := map[portKey]portValue{}, map[portKey]uint32{}
	k.mu.Lock()
	since := map[uint64]int64{}
	know := func(cookie uint64) {
		since[cookie] = now
		if earlier, ok := k.since[cookie]; ok {
			since[cookie] = earlier
		}
	}
	for _, cookie := range others {
		know(cookie)
	}
	for cookie, e := range found {
		know(cookie)
		for _, key := range portsOf(&e) {
			ports[key], inodes[key] = portValue{Cookie: e.Cookie, Bound: e.Bound}, e.Inode
		}
	}
	known := k.since
	k.since, k.inode = since, inodes
	k.mu.Unlock()
	return errors.Join(k.write(ports), k.writeFlows(found, known))
}

// writeFlows writes down the flows of sockets for datagrams that are connected and may
// not have sent anything yet.
func (k *keeper) writeFlows(found map[uint64]socketEntry, known map[uint64]int64) error {
	if k.tables == nil {
		return nil
	}
	var errs []error
	for cookie, e := range found {
		if _, old := known[cookie]; old || e.Proto != unix.IPPROTO_UDP || e.Remote.Port() == 0 {
			continue
		}
		key := keyOf(e.Proto, e.Local, e.Remote, e.Bound)
		err := k.tables.flows.Update(&key, &flowValue{Cookie: cookie, Bound: e.Bound}, ebpf.UpdateNoExist)
		if !errors.Is(err, ebpf.ErrKeyExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// bound returns the owner's sockets that wait for others, by cookie, and the cookies of
// everyone else's.
func (k *keeper) bound() (found map[uint64]socketEntry, others []uint64, err error) {
	found = map[uint64]socketEntry{}
	keep := func(e *socketEntry) {
		if e.UID == k.uid {
			found[e.Cookie] = *e
		} else {
			others = append(others, e.Cookie)
		}
	}
	err = errors.Join(
		k.diag.all(unix.IPPROTO_TCP, listening, false, keep),
		k.diag.all(unix.IPPROTO_UDP, allStates, false, keep),
	)
	return found, others, err
}

// enliven notes sockets for datagrams as open, and takes out of found those that are not
// there any more after that.
func (k *keeper) enliven(found map[uint64]socketEntry) error {
	fresh := map[uint64]bool{}
	for cookie, e := range found {
		if _, known := k.since[cookie]; e.Proto != unix.IPPROTO_UDP || known {
			continue
		}
		fresh[cookie] = true
		if err := k.tables.live.Put(cookie, cookie); err != nil {
			return fmt.Errorf("BPF map of open sockets: %w", err)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	err := k.diag.all(unix.IPPROTO_UDP, allStates, false, func(e *socketEntry) { delete(fresh, e.Cookie) })
	for cookie := range fresh {
		delete(found, cookie)
		k.tables.live.Delete(cookie) // unless its end was noted already
	}
	return err
}

// portsOf returns where a socket can be reached by anyone: nowhere if it is connected.
func portsOf(e *socketEntry) []portKey {
	if e.Remote.Port() != 0 || e.Local.Port() == 0 {
		return nil
	}
	key := portKey{Proto: e.Proto}
	key.Addr, key.Family = raw(e.Local.Addr())
	binary.BigEndian.PutUint16(key.Port[:], e.Local.Port())
	keys := []portKey{key}
	if e.Local.Addr() == netip.IPv6Unspecified() && !e.V6Only { // takes IPv4 too: ipv6(7)
		key.Family = 4
		keys = append(keys, key)
	}
	return keys
}

// write brings the kernel's table of ports up to date.
func (k *keeper) write(ports map[portKey]portValue) error {
	if k.tables == nil {
		return nil
	}
	var errs []error
	for key := range k.ports {
		if _, still := ports[key]; !still {
			errs = append(errs, k.tables.ports.Delete(&key))
		}
	}
	for key, value := range ports {
		if old, ok := k.ports[key]; !ok || old != value {
			errs = append(errs, k.tables.ports.Put(&key, &value))
		}
	}
	k.ports = ports
	return errors.Join(errs...)
}

// knownSince returns since when a socket that waits for others has been known.
func (k *keeper) knownSince(cookie uint64) (nanoseconds int64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	nanoseconds, ok = k.since[cookie]
	return nanoseconds, ok
}
