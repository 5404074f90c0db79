package kernel

import (
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slot is what the program and the server tell each other of one connection, in memory
// that they share. Sums go on from one connection of a place to the next.
type slot struct {
	// The program's.
	relayed  atomic.Uint64 // bytes sent back
	segments atomic.Uint64 // how many segments these were
	passed   atomic.Uint64 // bytes left to the server
	told     atomic.Uint64 // 1: the bell was rung; the server sets 0 when it has heard it
	first    atomic.Uint64 // when the first byte came: CLOCK_MONOTONIC, ns
	last     atomic.Uint64 // and the last one
	next     atomic.Uint64 // the sequence number that is expected, and bits beside it
	stripped atomic.Uint64 // segments that began with what had come before

	// The server's.
	echoed       atomic.Uint64 // equal to passed: the program may relay
	mostBytes    atomic.Uint64 // and as long as relayed is no more than this
	mostSegments atomic.Uint64
	tellBytes    atomic.Uint64 // beyond this it rings the bell
	tellSegments atomic.Uint64
	taken        atomic.Uint64 // of passed, what was read
	_            [2]uint64
}

// Offsets in slot.
const (
	slotRelayed      = int16(unsafe.Offsetof(slot{}.relayed))
	slotSegments     = int16(unsafe.Offsetof(slot{}.segments))
	slotPassed       = int16(unsafe.Offsetof(slot{}.passed))
	slotTold         = int16(unsafe.Offsetof(slot{}.told))
	slotFirst        = int16(unsafe.Offsetof(slot{}.first))
	slotLast         = int16(unsafe.Offsetof(slot{}.last))
	slotNext         = int16(unsafe.Offsetof(slot{}.next))
	slotStripped     = int16(unsafe.Offsetof(slot{}.stripped))
	slotEchoed       = int16(unsafe.Offsetof(slot{}.echoed))
	slotMostBytes    = int16(unsafe.Offsetof(slot{}.mostBytes))
	slotMostSegments = int16(unsafe.Offsetof(slot{}.mostSegments))
	slotTellBytes    = int16(unsafe.Offsetof(slot{}.tellBytes))
	slotTellSegments = int16(unsafe.Offsetof(slot{}.tellSegments))
	slotTaken        = int16(unsafe.Offsetof(slot{}.taken))

	slotSize = uint32(unsafe.Sizeof(slot{}))
)

// broken reports whether bytes were lost on their way through the program.
func (s *slot) broken() bool { return s.next.Load()&nextBroken != 0 }

// keep makes the program leave all that comes to the server, from the next segment on.
func (s *slot) keep() { s.echoed.Store(math.MaxUint64) }

// slots is the memory of all slots. The loop owns it; sums may be asked for by others.
type slots struct {
	mu   sync.RWMutex // held to unmap, and to read sums
	mem  []byte
	list []slot // nil: unmapped
	free []uint32
	used atomic.Int64 // places beyond were never taken
	sum  int64        // when unmapped: what relayed returns
}

func mapSlots(fd, n int) (*slots, error) {
	mem, err := unix.Mmap(fd, 0, n*int(slotSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap of a BPF map", err)
	}
	return &slots{mem: mem, list: unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(mem))), n)}, nil
}

// take returns a place that is free; ok is false if there is none.
func (s *slots) take() (place uint32, ok bool) {
	if n := len(s.free); n > 0 {
		place = s.free[n-1]
		s.free = s.free[:n-1]
		return place, true
	}
	n := s.used.Load()
	if n == int64(len(s.list)) {
		return 0, false
	}
	s.used.Store(n + 1)
	return uint32(n), true
}

func (s *slots) giveBack(place uint32) { s.free = append(s.free, place) }

// relayed returns how many bytes the program has sent back on all places.
func (s *slots) relayed() (sum int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.list == nil {
		return s.sum
	}
	for i := range s.list[:s.used.Load()] {
		sum += int64(s.list[i].relayed.Load())
	}
	return sum
}

func (s *slots) close() {
	sum := s.relayed()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list != nil {
		s.sum, s.list = sum, nil
		unix.Munmap(s.mem)
	}
}

// bell is a BPF ring buffer of places: see the kernel's documentation, bpf/ringbuf.
type bell struct {
	fd       int
	consumer []byte // a page: our position
	producer []byte // a page, the program's position; and the data, twice in a row
	mask     uint64
}

// Of a record in the ring: it has a header of 8 bytes, the length in the first 4, of
// which two bits say something else; the next one begins at a multiple of 8.
const (
	recordHeader = 8
	recordBusy   = 1 << 31 // it is being written
	recordSize   = recordHeader + 8
)

// bellSize returns the size of a ring that has room for a record of each of so many
// places: a power of two and of pages.
func bellSize(places int) uint32 {
	size := uint32(os.Getpagesize())
	for size < uint32(places+1)*recordSize {
		size *= 2
	}
	return size
}

func mapBell(fd int, size uint32) (*bell, error) {
	page := os.Getpagesize()
	consumer, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap of a BPF ring", err)
	}
	producer, err := unix.Mmap(fd, int64(page), page+2*int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(consumer)
		return nil, os.NewSyscallError("mmap of a BPF ring", err)
	}
	return &bell{fd: fd, consumer: consumer, producer: producer, mask: uint64(size) - 1}, nil
}

func (b *bell) close() {
	unix.Munmap(b.consumer)
	unix.Munmap(b.producer)
}

// next returns the place of the next record; ok is false if there is none.
func (b *bell) next() (place uint32, ok bool) {
	read := (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b.consumer)))
	written := (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b.producer)))
	at := read.Load()
	if at >= written.Load() {
		return 0, false
	}
	record := unsafe.Pointer(&b.producer[os.Getpagesize()+int(at&b.mask)])
	length := (*atomic.Uint32)(record).Load()
	if length&recordBusy != 0 {
		return 0, false // the bell is rung again when it is whole
	}
	place = (*atomic.Uint32)(unsafe.Add(record, recordHeader)).Load()
	read.Store(at + recordSize)
	return place, true
}

// programs are the programs of an engine, one for each loop.
type programs struct {
	mu     sync.Mutex
	closed bool
	list   []*placement
	next   int // of list, for the next loop
}

// placement is a program and its memory.
type placement struct {
	*program
	*slots
	bell *bell
	told atomic.Int64 // bytes of relayed that a Core was told of
}

func (p *programs) load(loops, sockets int) error {
	for range loops {
		one, err := newPlacement(sockets)
		if err != nil {
			p.close()
			return err
		}
		p.list = append(p.list, one)
	}
	return nil
}

func newPlacement(sockets int) (*placement, error) {
	prog, err := loadProgram(sockets)
	if err != nil {
		return nil, err
	}
	mem, err := mapSlots(prog.slots.FD(), sockets)
	if err != nil {
		prog.close()
		return nil, fmt.Errorf("the engine kernel: %w", err)
	}
	ring, err := mapBell(prog.bell.FD(), bellSize(sockets))
	if err != nil {
		mem.close()
		prog.close()
		return nil, fmt.Errorf("the engine kernel: %w", err)
	}
	return &placement{program: prog, slots: mem, bell: ring}, nil
}

// close unloads all; it is safe to call again, and not before the loops have ended.
func (p *programs) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for _, one := range p.list {
		one.slots.close()
		one.bell.close()
		one.program.close()
	}
}

// relayed returns how many bytes all programs have sent back.
func (p *programs) relayed() (sum int64) {
	for _, one := range p.list {
		sum += one.slots.relayed()
	}
	return sum
}

// told returns of how many of them a Core knows.
func (p *programs) told() (sum int64) {
	for _, one := range p.list {
		sum += one.told.Load()
	}
	return sum
}
