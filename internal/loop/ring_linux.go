package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The numbers of io_uring_setup(2), io_uring_enter(2) and io_uring_register(2), as the
// kernel has them in include/uapi/linux/io_uring.h.
const (
	setupCQSize       = 1 << 3
	setupDisabled     = 1 << 6 // until enabled, by the thread that will submit
	setupSubmitAll    = 1 << 7
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13 // completions are worked on when they are waited for

	featSingleMmap = 1 << 0
	featNoDrop     = 1 << 1
	featExtArg     = 1 << 8
	featMinTimeout = 1 << 15

	offSQRing = 0
	offSQEs   = 0x10000000

	registerEventFD     = 4
	registerEnableRings = 12
	registerRingFDs     = 20
	registerBufferRing  = 22

	enterGetEvents      = 1 << 0
	enterExtArg         = 1 << 3
	enterRegisteredRing = 1 << 4

	opPollAdd     = 6
	opAsyncCancel = 14
	opSend        = 26
	opRecv        = 27

	sqeBufferSelect = 1 << 5
	pollMultishot   = 1 << 0
	recvMultishot   = 1 << 1
	cancelAll       = 1 << 0
	cancelFD        = 1 << 1

	bufferRingIncremental = 1 << 1

	eventFDDisabled = 1 << 0 // a flag of the completion queue

	cqeBuffer     = 1 << 0
	cqeMore       = 1 << 1
	cqeBufferMore = 1 << 4
	cqeBufferID   = 16 // shift
)

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wq uint32
	_                                                                [3]uint32
	sq                                                               struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// sqe is struct io_uring_sqe: a request.
type sqe struct {
	op       uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	offset   uint64
	addr     uint64
	len      uint32
	opFlags  uint32
	user     uint64
	bufGroup uint16
	_        [3]uint16
	_        [2]uint64
}

// cqe is struct io_uring_cqe: what came of a request.
type cqe struct {
	user  uint64
	res   int32
	flags uint32
}

// waitArg is struct io_uring_getevents_arg.
type waitArg struct {
	_       uint64
	_       uint32
	minWait uint32 // µs
	time    uint64 // of a *unix.Timespec
}

// uring is one io_uring: two queues in memory that is shared with the kernel. But for
// making and closing it, it belongs to one thread.
type uring struct {
	fd    int     // of the ring, or its index once that is registered
	flags uintptr // of each enter
	maps  [][]byte

	sqTail  *uint32
	sqMask  uint32
	sqes    []sqe
	sqArray []uint32
	queued  uint32 // requests that the kernel has not been told of

	cqHead, cqTail *uint32
	cqFlags        *uint32
	cqMask         uint32
	cqes           []cqe

	bufs    []bufferEntry
	bufTail uint16
	buffers []byte
	filled  [bufferCount]int // how far each buffer was filled

	arg  waitArg
	time unix.Timespec
}

const (
	ringEntries = 1024 // requests in one enter
	cqEntries   = 16 * ringEntries

	// The buffers that what is received goes to, one after the other, each until it is
	// full. They are few, so that they stay in the processor's cache.
	bufferCount = 8 // a power of two
	bufferSize  = 64 << 10
)

// bufferEntry is struct io_uring_buf. The tail of the ring is in the first one's last
// field.
type bufferEntry struct {
	addr uint64
	len  uint32
	id   uint16
	tail uint16
}

// wordOrder returns the events of a poll as a request has them: io_uring_enter(2) wants
// the halves swapped on big-endian machines.
func wordOrder(events uint32) uint32 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return events<<16 | events>>16
	}
	return events
}

// errOldKernel says what is missing.
var errOldKernel = fmt.Errorf("io_uring of Linux 6.12 or newer is needed: %w", errors.ErrUnsupported)

// newRing returns a ring that can't be used before it is enabled. Its descriptor is the
// caller's to close.
func newRing() (*uring, error) {
	p := params{
		flags:     setupCQSize | setupDisabled | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun,
		cqEntries: cqEntries,
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringEntries, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, setupError(errno)
	}
	r := &uring{fd: int(fd)}
	const needed = featSingleMmap | featNoDrop | featExtArg | featMinTimeout
	err := errOldKernel
	if p.features&needed == needed {
		err = r.mapAll(&p)
	}
	if err == nil {
		err = r.registerBuffers()
	}
	if err != nil {
		r.unmap()
		unix.Close(r.fd)
		return nil, err
	}
	return r, nil
}

// setupError says what to do.
func setupError(errno syscall.Errno) error {
	err := os.NewSyscallError("io_uring_setup", errno)
	switch errno {
	case unix.EPERM:
		return fmt.Errorf("%w: the sysctl kernel.io_uring_disabled, or a container's seccomp filter, forbids it", err)
	case unix.ENOSYS, unix.EINVAL:
		return fmt.Errorf("%w: %w", err, errOldKernel)
	}
	return err
}

// unmap lets go of the memory.
func (r *uring) unmap() {
	for _, m := range r.maps {
		unix.Munmap(m)
	}
}

// nothing reports whether there is no completion to tell.
func (r *uring) nothing() bool { return *r.cqHead == atomic.LoadUint32(r.cqTail) }

func (r *uring) mapAll(p *params) error {
	rings, err := r.mmap(int64(offSQRing), int(max(p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})), p.sq.array+4*p.sqEntries)))
	if err != nil {
		return err
	}
	requests, err := r.mmap(offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})))
	if err != nil {
		return err
	}
	word := func(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&rings[at])) }
	r.sqTail, r.sqMask = word(p.sq.tail), *word(p.sq.mask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&requests[0])), p.sqEntries)
	r.sqArray = unsafe.Slice(word(p.sq.array), p.sqEntries)
	for i := range r.sqArray {
		r.sqArray[i] = uint32(i) // each place of the queue has its own request
	}
	r.cqHead, r.cqTail, r.cqMask = word(p.cq.head), word(p.cq.tail), *word(p.cq.mask)
	r.cqFlags = word(p.cq.flags)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&rings[p.cq.cqes])), p.cqEntries)
	r.arg.time = uint64(uintptr(unsafe.Pointer(&r.time))) // both are on the heap, which does not move
	return nil
}

// mmap maps a part of the ring; fd -1 of the system's memory.
func (r *uring) mmap(offset int64, size int) ([]byte, error) {
	m, err := unix.Mmap(r.fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	r.maps = append(r.maps, m)
	return m, nil
}

func (r *uring) memory(size int) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	r.maps = append(r.maps, m)
	return m, nil
}

func (r *uring) registerBuffers() (err error) {
	entries, err := r.memory(bufferCount * int(unsafe.Sizeof(bufferEntry{})))
	if err != nil {
		return err
	}
	if r.buffers, err = r.memory(bufferCount * bufferSize); err != nil {
		return err
	}
	r.bufs = unsafe.Slice((*bufferEntry)(unsafe.Pointer(&entries[0])), bufferCount)
	reg := struct {
		addr         uint64
		entries      uint32
		group, flags uint16
		_            [3]uint64
	}{uint64(uintptr(unsafe.Pointer(&entries[0]))), bufferCount, 0, bufferRingIncremental, [3]uint64{}}
	if err := r.register(registerBufferRing, unsafe.Pointer(&reg), 1); err != nil {
		return fmt.Errorf("%w: %w", err, errOldKernel)
	}
	for id := range bufferCount {
		r.giveBack(uint16(id))
	}
	return nil
}

func (r *uring) register(op uintptr, arg unsafe.Pointer, n uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), op, uintptr(arg), n, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("io_uring_register", errno)
	}
	return nil
}

// signal has an eventfd signalled when there is something to complete, while signals are
// on: they are off at first.
func (r *uring) signal(eventfd int) error {
	r.signals(false)
	fd := int32(eventfd)
	return r.register(registerEventFD, unsafe.Pointer(&fd), 1)
}

func (r *uring) signals(on bool) {
	flags := uint32(eventFDDisabled)
	if on {
		flags = 0
	}
	atomic.StoreUint32(r.cqFlags, flags)
}

// enable makes the ring the calling thread's.
func (r *uring) enable() error {
	if err := r.register(registerEnableRings, nil, 0); err != nil {
		return err
	}
	update := struct {
		offset, _ uint32
		data      uint64
	}{^uint32(0), 0, uint64(r.fd)}
	if r.register(registerRingFDs, unsafe.Pointer(&update), 1) == nil { // else each call looks the descriptor up
		r.fd, r.flags = int(update.offset), enterRegisteredRing
	}
	return nil
}

// giveBack gives a buffer to the kernel.
func (r *uring) giveBack(id uint16) {
	r.filled[id] = 0
	b := &r.bufs[r.bufTail%bufferCount]
	b.addr = uint64(uintptr(unsafe.Pointer(&r.buffers[int(id)*bufferSize])))
	b.len, b.id = bufferSize, id
	r.bufTail++
	var word [4]byte // the first entry's id and the tail, which follows it
	binary.NativeEndian.PutUint16(word[:], r.bufs[0].id)
	binary.NativeEndian.PutUint16(word[2:], r.bufTail)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.bufs[0].id)), binary.NativeEndian.Uint32(word[:]))
}

// take returns what a completion of a receive has received. It is valid until the
// buffer is given back, which the caller does if last is true.
func (r *uring) take(c *cqe) (p []byte, id uint16, last bool) {
	id = uint16(c.flags >> cqeBufferID)
	from := int(id)*bufferSize + r.filled[id]
	r.filled[id] += int(c.res)
	return r.buffers[from : from+int(c.res)], id, c.flags&cqeBufferMore == 0
}

// next returns the next request, empty.
func (r *uring) next() *sqe {
	if r.queued > r.sqMask {
		r.flush()
	}
	tail := *r.sqTail
	s := &r.sqes[tail&r.sqMask]
	*s = sqe{}
	atomic.StoreUint32(r.sqTail, tail+1)
	r.queued++
	return s
}

// flush submits all that is queued. It waits while the kernel has no memory for it.
func (r *uring) flush() {
	for r.queued > 0 {
		if r.failed(r.enter(0, enterGetEvents)) {
			time.Sleep(lackOfMemory)
		}
	}
}

// lackOfMemory is how long to wait before what the kernel has refused is tried again.
const lackOfMemory = time.Millisecond

// failed reports whether enter has failed for want of something: neither was it
// interrupted, nor has only the time passed.
func (r *uring) failed(errno syscall.Errno) bool {
	return errno != 0 && errno != unix.EINTR && errno != unix.ETIME
}

// enter submits what is queued and, if flags say so, waits for so many completions; see
// uring.arg. It is one system call that the Go scheduler does not know of.
func (r *uring) enter(want uint32, flags uintptr) syscall.Errno {
	arg, size := r.waitArg(flags)
	n, _, errno := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.queued), uintptr(want), flags|r.flags, arg, size)
	return r.entered(n, errno)
}

func (r *uring) waitArg(flags uintptr) (arg, size uintptr) {
	if flags&enterExtArg == 0 {
		return 0, 0
	}
	return uintptr(unsafe.Pointer(&r.arg)), unsafe.Sizeof(r.arg)
}

func (r *uring) entered(n uintptr, errno syscall.Errno) syscall.Errno {
	if errno == 0 {
		r.queued -= uint32(n)
	}
	return errno
}
