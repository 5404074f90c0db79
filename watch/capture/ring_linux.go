package capture

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tagRoom is left before each packet for a VLAN tag that the kernel keeps beside it.
const tagRoom = 4

// A ring is a packet socket with TPACKET_V3 blocks: packet(7), and packet_mmap.rst of
// the kernel's documentation. The kernel fills a block with packets and hands it over;
// it gets it back when the next one is asked for.
//
// Only one goroutine may call next and each; what else is done is safe for all.
type ring struct {
	current int    // the block that comes next
	lent    int    // that many before it have not been given back
	frames  uint64 // that were in the blocks so far
	mem     []byte
	size    int   // of a block
	end     error // why it is stopped, if nobody wanted that

	arriving bool // what leaves is not seen

	stopped atomic.Bool
	closed  atomic.Bool

	mu       sync.Mutex
	fd       int             // -1 after free
	file     *os.File        // the socket once more, as the runtime's poller knows it; nil: none
	ready    syscall.RawConn // of file
	received uint64
	dropped  uint64 // the ring was full
	frozen   uint64 // how often it was
}

// newRing makes the socket and its ring. Nothing is captured before bind: the socket's
// protocol is 0.
func newRing(cfg *Config) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket AF_PACKET", err)
	}
	r := &ring{fd: fd}
	if err := r.setUp(cfg); err != nil {
		r.free()
		return nil, err
	}
	return r, nil
}

func (r *ring) setUp(cfg *Config) (err error) {
	if err := r.poll(); err != nil {
		return err
	}
	for _, o := range []struct {
		name   string
		option int
		value  int
	}{
		{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V3},
		{"PACKET_RESERVE", unix.PACKET_RESERVE, tagRoom},
	} {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, o.option, o.value); err != nil {
			return os.NewSyscallError("setsockopt "+o.name, err)
		}
	}
	blocks := cfg.blocks()
	r.size = cfg.block()
	err = unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size:     uint32(r.size),
		Block_nr:       uint32(blocks),
		Frame_size:     2048, // only divides: packets lie as they come
		Frame_nr:       uint32(blocks * r.size / 2048),
		Retire_blk_tov: uint32(cfg.delay() / time.Millisecond),
	})
	if err != nil {
		return os.NewSyscallError("setsockopt PACKET_RX_RING", err)
	}
	r.mem, err = unix.Mmap(r.fd, 0, blocks*r.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return os.NewSyscallError("mmap the packet ring", err)
}

// onlyArriving leaves out what leaves: PACKET_IGNORE_OUTGOING, since Linux 4.20. Where all
// that leaves arrives too, that is half of the work for each packet: for what leaves the
// kernel makes a copy of the packet's head before it asks the filter.
func (r *ring) onlyArriving() {
	r.arriving = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) == nil
}

// poll gives the socket to the runtime's poller. (A thread that blocks in poll(2) costs
// more: the runtime looks after it all the while.)
func (r *ring) poll() error {
	fd, err := unix.FcntlInt(uintptr(r.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fcntl O_NONBLOCK", err)
	}
	r.file = os.NewFile(uintptr(fd), "packet socket")
	r.ready, err = r.file.SyscallConn()
	return err
}

// lock makes the filter, which must be there, the socket's last one.
func (r *ring) lock() error {
	return os.NewSyscallError("setsockopt SO_LOCK_FILTER",
		unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1))
}

// bind begins the capture, on one interface or, with 0, on all.
func (r *ring) bind(index int) error {
	return os.NewSyscallError("bind AF_PACKET",
		unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}))
}

// stop ends the capture. What is in the ring can still be read.
func (r *ring) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped.Swap(true) || r.fd < 0 {
		return nil
	}
	err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: 0})
	r.poke()
	return os.NewSyscallError("bind AF_PACKET", err)
}

// close makes next return net.ErrClosed at once.
func (r *ring) close() error {
	err := r.stop()
	r.closed.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.poke()
	return err
}

// poke makes a blocked next look around.
func (r *ring) poke() {
	if r.file != nil {
		r.file.SetReadDeadline(time.Unix(1, 0)) // long ago
	}
}

// free gives back the memory. Nobody may use what was lent any more.
func (r *ring) free() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mem != nil {
		unix.Munmap(r.mem)
		r.mem = nil
	}
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

func (r *ring) block(i int) []byte { return r.mem[i*r.size : (i+1)*r.size : (i+1)*r.size] }

// status is the word by which a block changes hands.
func status(block []byte) *uint32 {
	return (*uint32)(unsafe.Pointer(&block[unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr)]))
}

// takeBack gives the kernel all blocks that were lent.
func (r *ring) takeBack() {
	for ; r.lent > 0; r.lent-- {
		i := (r.current + r.blocks() - r.lent) % r.blocks()
		atomic.StoreUint32(status(r.block(i)), unix.TP_STATUS_KERNEL)
	}
}

// next returns the next block, which is lent until takeBack. It returns io.EOF after
// stop, when all that was captured has been returned, and net.ErrClosed after close.
func (r *ring) next() ([]byte, error) {
	for {
		if r.closed.Load() {
			return nil, net.ErrClosed
		}
		if r.stopped.Load() {
			if rest, err := r.rest(); err != nil {
				return nil, err
			} else if rest == 0 {
				return nil, cmp.Or(r.end, io.EOF)
			}
		}
		if r.filled() {
			b := r.block(r.current)
			r.current = (r.current + 1) % r.blocks()
			r.lent++
			return b, nil
		}
		if err := r.wait(); err != nil {
			return nil, err
		}
	}
}

func (r *ring) blocks() int { return len(r.mem) / r.size }

// rest returns how many packets are in the ring that each has not seen yet.
func (r *ring) rest() (uint64, error) {
	received, _, _, err := r.count()
	return received - min(r.frames, received), err
}

// wait blocks until there is a block or someone pokes. An interface that is down will
// perhaps come up again.
func (r *ring) wait() error {
	var failed error
	err := r.ready.Read(func(uintptr) bool {
		if r.filled() {
			return true
		}
		failed = r.failure()
		return failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) { // why it was poked is seen where it is waited
		return r.file.SetReadDeadline(time.Time{})
	}
	return errors.Join(failed, err)
}

// filled reports whether the next block can be read.
func (r *ring) filled() bool {
	return atomic.LoadUint32(status(r.block(r.current)))&unix.TP_STATUS_USER != 0
}

func (r *ring) failure() error {
	code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_ERROR", err)
	}
	if code != 0 && code != int(unix.ENETDOWN) {
		return os.NewSyscallError("packet socket", unix.Errno(code))
	}
	return nil
}

// vanish ends the capture because its only interface is gone. What has come before can
// still be read.
func (r *ring) vanish(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped.Load() && r.fd >= 0 {
		r.end = fmt.Errorf("watch: the interface %s is gone", name)
		r.stopped.Store(true)
		r.poke()
	}
}

// count returns how many packets have come into the ring, how many found it full, and
// how often it was. The kernel starts anew each time that it is asked.
func (r *ring) count() (received, dropped, frozen uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd >= 0 {
		var s *unix.TpacketStatsV3
		s, err = unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			r.received += uint64(s.Packets) - uint64(s.Drops)
			r.dropped += uint64(s.Drops)
			r.frozen += uint64(s.Freeze_q_cnt)
		}
	}
	return r.received, r.dropped, r.frozen, os.NewSyscallError("getsockopt PACKET_STATISTICS", err)
}

// A frame is a packet as it lies in a block.
type frame struct {
	hdr  *unix.Tpacket3Hdr
	addr *unix.RawSockaddrLinklayer
	raw  []byte // from the header on
}

var errRing = errors.New("the kernel's packet ring is not as documented")

// frames calls f for each packet of a block.
func (r *ring) each(block []byte, f func(frame)) error {
	desc := (*unix.TpacketHdrV1)(unsafe.Pointer(&block[unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr)]))
	at := uint64(desc.Offset_to_first_pkt)
	for range desc.Num_pkts {
		if at+unix.SizeofTpacket3Hdr+unix.SizeofSockaddrLinklayer > uint64(len(block)) {
			return fmt.Errorf("%w: a packet at %d", errRing, at)
		}
		raw := block[at:]
		fr := frame{
			hdr:  (*unix.Tpacket3Hdr)(unsafe.Pointer(&raw[0])),
			addr: (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&raw[unix.SizeofTpacket3Hdr])),
			raw:  raw,
		}
		if uint64(fr.hdr.Mac)+uint64(fr.hdr.Snaplen) > uint64(len(raw)) || fr.hdr.Net < fr.hdr.Mac || fr.hdr.Mac < tagRoom {
			return fmt.Errorf("%w: %d bytes at %d", errRing, fr.hdr.Snaplen, fr.hdr.Mac)
		}
		r.frames++
		f(fr)
		at += uint64(fr.hdr.Next_offset)
	}
	return nil
}

// data returns the packet's bytes with the VLAN tag, if it has one, where it was on
// the wire (IEEE 802.1Q: after the addresses), and how many bytes came before the
// network header.
func (f frame) data() (data []byte, network int) {
	const addresses = 12
	start, end := int(f.hdr.Mac), int(f.hdr.Mac)+int(f.hdr.Snaplen)
	network = int(f.hdr.Net) - start
	if f.hdr.Status&unix.TP_STATUS_VLAN_VALID == 0 || network < addresses+2 || end-start < addresses {
		return f.raw[start:end:end], network
	}
	copy(f.raw[start-tagRoom:], f.raw[start:start+addresses])
	tag := f.raw[start+addresses-tagRoom:]
	protocol := f.hdr.Hv1.Vlan_tpid
	if f.hdr.Status&unix.TP_STATUS_VLAN_TPID_VALID == 0 {
		protocol = unix.ETH_P_8021Q
	}
	tag[0], tag[1] = byte(protocol>>8), byte(protocol)
	tag[2], tag[3] = byte(f.hdr.Hv1.Vlan_tci>>8), byte(f.hdr.Hv1.Vlan_tci)
	return f.raw[start-tagRoom : end : end], network + tagRoom
}
