package capture

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Capture is open. Next is for one goroutine; the other methods are safe for all.
type Capture struct {
	info     Info
	ring     *ring
	programs *programs // nil but for ByKernel
	keeper   *keeper   // nil for Everyone without Processes
	gate     *gate     // nil but for ByKernel
	ports    *portGate // nil but for ByPort
	links    map[int]Interface
	last     Interface // of the packet before
	picker   *picker   // nil: all processes
	diag     *diag     // for the goroutine in Next

	sight   sight // of the packet that is looked at
	sights  []sight
	packets []Packet

	mu      sync.Mutex
	stats   Stats
	reading bool // Next runs
	closed  bool
}

// Open starts a capture. Its errors are a [*PrivilegeError], where a capability is
// missing; [errors.ErrUnsupported], where the system can't do it; and others that say
// what has failed. The network namespace is that of the calling thread.
func Open(cfg *Config) (*Capture, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	uid, err := owner(cfg)
	if err != nil {
		return nil, err
	}
	c := &Capture{links: map[int]Interface{}}
	c.info = Info{
		AllUsers: cfg.AllUsers, UID: uid, Snap: cfg.snap(),
		Narrowed: len(cfg.Ports)+len(cfg.Addresses)+len(cfg.Processes) > 0,
	}
	if err := c.open(cfg); err != nil {
		c.release()
		if c.ring != nil {
			c.ring.free()
		}
		return nil, err
	}
	return c, nil
}

// owner returns the user whose connections are to be captured, if that is allowed.
func owner(cfg *Config) (uint32, error) {
	uid := uint32(os.Getuid())
	if os.Geteuid() != 0 {
		if cfg.AllUsers {
			return 0, &PrivilegeError{Doing: "watch the connections of all users"}
		}
		if cfg.UID != 0 && cfg.UID != uid {
			return 0, &PrivilegeError{Doing: fmt.Sprintf("watch the connections of user %d", cfg.UID)}
		}
	}
	if cfg.UID != 0 {
		uid = cfg.UID
	}
	if cfg.AllUsers {
		return uid, nil
	}
	return uid, distinct(uid)
}

func (c *Capture) open(cfg *Config) error {
	if err := c.listings(cfg); err != nil {
		return err
	}
	var err error
	if c.ring, err = newRing(cfg); err != nil {
		return lacks(err, "open a packet socket", "CAP_NET_RAW")
	}
	devices, err := c.keeper.routes.devices()
	if err != nil {
		return err
	}
	chosen, err := choose(devices, cfg)
	if err != nil {
		return err
	}
	c.note(chosen)
	if len(chosen) == 1 && chosen[0].loopback() {
		c.ring.onlyArriving()
	}
	if err := c.prepare(cfg, devices, chosen); err != nil {
		return err
	}
	return c.begin(cfg, chosen)
}

// listings opens what asks the kernel for its lists: for the keeper, and for the
// goroutine in Next.
func (c *Capture) listings(cfg *Config) error {
	routes, err := newRoutes()
	if err != nil {
		return err
	}
	first, err := newDiag()
	if err != nil {
		routes.close()
		return err
	}
	if c.keeper, err = newKeeper(c.info.UID, first, routes, newTree(cfg.Processes)); err != nil {
		return err
	}
	c.diag, err = newDiag()
	return err
}

// note remembers the interfaces for Info and for each packet.
func (c *Capture) note(chosen []device) {
	for _, d := range chosen {
		i := Interface{d.Index, d.Name, d.linkType()}
		c.links[d.Index], c.keeper.watched[d.Index] = i, true
		c.info.Interfaces = append(c.info.Interfaces, i)
	}
}

// choose returns the interfaces that are to be watched.
func choose(devices []device, cfg *Config) ([]device, error) {
	name, local := cfg.Interface, cfg.stays()
	var chosen []device
	for _, d := range devices {
		if name == d.Name || name == "" && d.Master == 0 && (!local || d.loopback()) {
			chosen = append(chosen, d)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("watch: there is no interface %q: ip link lists them", cmp.Or(name, "lo"))
	}
	return chosen, nil
}

// stays reports whether all that is asked for never leaves this host.
func (c *Config) stays() bool {
	if len(c.Addresses) == 0 {
		return false
	}
	for _, p := range c.Addresses {
		if a := p.Addr(); !a.IsLoopback() || p.Bits() < 8 || a.Is6() && p.Bits() < 128 {
			return false
		}
	}
	return true
}

// prepare takes the method, sets the filter and locks it.
func (c *Capture) prepare(cfg *Config, devices, chosen []device) error {
	if cfg.AllUsers {
		return c.everyone(cfg)
	}
	if cfg.Method != ByPort {
		err := c.byKernel(cfg, devices, chosen)
		if err == nil || cfg.Method == ByKernel {
			return lacks(err, "load BPF programs", "CAP_NET_ADMIN", "CAP_BPF")
		}
		c.info.Reason = err.Error()
	}
	return c.byPort(cfg)
}

func (c *Capture) byKernel(cfg *Config, devices, chosen []device) error {
	ours, err := ownNetwork()
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("the network belongs to another user namespace, which numbers users otherwise: %w", errors.ErrUnsupported)
	}
	network, err := unix.GetsockoptUint64(c.ring.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_NETNS_COOKIE", err)
	}
	s := &selection{ports: cfg.Ports, addresses: cfg.Addresses, everywhere: cfg.Interface == "", arriving: c.ring.arriving}
	for _, d := range chosen {
		if d.loopback() {
			s.loopback = d.Index
		}
	}
	p, err := newPrograms(c.keeper, network, s, devices)
	if err != nil {
		return err
	}
	c.keeper.tables = p.tables
	err = errors.Join(p.watch(chosen), c.keeper.start())
	if err == nil {
		err = p.guard(c.ring, s, cfg.snap())
	}
	if err != nil {
		c.keeper.tables = nil
		return errors.Join(err, p.close())
	}
	c.programs = p
	c.info.Method, c.info.Exact = ByKernel, p.exact
	c.gate = &gate{asker: asker{c.info.UID, c.keeper, c.diag}, tables: p.tables, proved: map[flowKey]Proof{}}
	return nil
}

func (c *Capture) byPort(cfg *Config) error {
	if err := c.keeper.start(); err != nil {
		return err
	}
	ports := slices.Clone(cfg.Ports)
	if len(ports) == 0 {
		var err error
		if ports, err = usedPorts(c.diag, c.info.UID); err != nil {
			return err
		}
	}
	slices.Sort(ports)
	c.info.Method, c.info.Ports = ByPort, slices.Compact(ports)
	if len(c.info.Ports) > classicMax {
		return fmt.Errorf("watch: %d ports in use, and without BPF at most %d can be watched: name ports", len(c.info.Ports), classicMax)
	}
	c.ports = &portGate{asker: asker{c.info.UID, c.keeper, c.diag}}
	return classicFilter(c.ring, c.info.Ports, cfg)
}

func (c *Capture) everyone(cfg *Config) error {
	if err := c.keeper.start(); err != nil {
		return err
	}
	c.info.Method = Everyone
	return classicFilter(c.ring, cfg.Ports, cfg)
}

// begin lets packets come in.
func (c *Capture) begin(cfg *Config, chosen []device) error {
	only := 0
	if cfg.Interface != "" || c.ring.arriving {
		only = chosen[0].Index
	}
	if cfg.Interface != "" {
		c.keeper.gone = func() { c.ring.vanish(cfg.Interface) }
	}
	if c.keeper.tree != nil || c.info.Method != ByKernel && len(cfg.Addresses) > 0 {
		c.picker = newPicker(c, cfg)
	}
	c.keeper.begin()
	return lacks(c.ring.bind(only), "bind a packet socket", "CAP_NET_RAW")
}

// usedPorts returns the local ports of the owner's sockets.
func usedPorts(d *diag, uid uint32) ([]uint16, error) {
	var ports []uint16
	add := func(e *socketEntry) {
		if e.UID == uid && e.Local.Port() != 0 && e.hasOwner() {
			ports = append(ports, e.Local.Port())
		}
	}
	err := errors.Join(d.all(unix.IPPROTO_TCP, allStates, false, add), d.all(unix.IPPROTO_UDP, allStates, false, add))
	return ports, err
}

// lacks turns an error for want of a capability into one that says which.
func lacks(err error, doing string, capabilities ...string) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	program, _ := os.Executable()
	return &PrivilegeError{Doing: doing, Missing: capabilities, Program: program, Err: err}
}

// Info says what the capture is. It does not change.
func (c *Capture) Info() Info { return c.info }

func now() int64 { return time.Now().UnixNano() }

// Stats returns the sums so far. After Next has returned io.EOF or net.ErrClosed they
// are final.
func (c *Capture) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Received, s.Dropped, s.Frozen, _ = c.ring.count() // what can't be counted stays as it was
	return s
}

// Stop ends the capture in order: what has been captured can still be read, until Next
// returns io.EOF.
func (c *Capture) Stop() error { return c.ring.stop() }

// Close ends the capture at once, and takes everything out of the kernel. A Next that
// waits returns net.ErrClosed, and so does every later one. What Next has lent stays
// valid until it is called again; with that call its memory is given back. A second
// Close does nothing.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.ring.count() // for Stats
	err := errors.Join(c.ring.close(), c.release())
	if !c.reading && c.ring.lent == 0 {
		c.ring.free()
	}
	return err
}

// release gives back all but the ring. It is safe on a capture that was opened in part.
func (c *Capture) release() error {
	var err error
	if c.keeper != nil {
		c.keeper.finish()
	}
	if c.programs != nil {
		err = c.programs.close()
	}
	if c.keeper != nil {
		c.keeper.close()
	}
	if c.diag != nil {
		c.diag.close()
	}
	return err
}
