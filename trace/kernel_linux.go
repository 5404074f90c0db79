//go:build !386 && !s390x

package trace

import (
	"math"
	"syscall"
	"time"
	"unsafe"
)

// kernelInfo is the beginning of struct tcp_info of <linux/tcp.h>. An older kernel leaves
// the end as it was. (The architectures that are left out have another call for it.)
type kernelInfo struct {
	syscall.TCPInfo
	_      [4]uint64 // pacing_rate, max_pacing_rate, bytes_acked, bytes_received
	_      [3]uint32 // segs_out, segs_in, notsent_bytes
	minRTT uint32    // microseconds; ^0: none was measured
}

// readKernel asks what the kernel knows of a connection; nil if it is no TCP connection,
// or not known.
func readKernel(c any) *kernelInfo {
	raw := rawOf(c)
	if raw == nil {
		return nil
	}
	var info kernelInfo
	var known bool
	raw.Control(func(fd uintptr) { known = info.read(fd) })
	if !known {
		return nil
	}
	return &info
}

// read reports whether the kernel knows anything.
func (info *kernelInfo) read(fd uintptr) bool {
	size := uint32(unsafe.Sizeof(*info))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// queued asks how long ago the kernel has last sent data on a socket that never has: it
// begins to count when the last packet of the handshake makes the socket.
func queued(c any) time.Duration {
	info := readKernel(c)
	if info == nil {
		return 0
	}
	return time.Duration(info.Last_data_sent) * time.Millisecond
}

func queuedSocket(fd uintptr) time.Duration {
	var info kernelInfo
	if !info.read(fd) {
		return 0
	}
	return time.Duration(info.Last_data_sent) * time.Millisecond
}

func tcpSum(c any) *TCPSum {
	info := readKernel(c)
	if info == nil {
		return nil
	}
	sum := &TCPSum{RTT: time.Duration(info.Rtt) * time.Microsecond, Resent: int(info.Total_retrans)}
	if info.minRTT != math.MaxUint32 {
		sum.MinRTT = time.Duration(info.minRTT) * time.Microsecond
	}
	return sum
}
