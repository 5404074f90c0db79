// Package faults holds tests that make the kernel fail the real program: strace(1)
// refuses single system calls of a server at work, one fault a run, while clients
// talk with it and compare every byte. Nothing else in a test reaches the errors of
// accept that a full table of files or a network that is down would cause.
//
// A fault is one that Linux can produce at that call, and it must not lie about what
// the call has done. strace does not make a call that it fails, so these are left
// out:
//
//   - close: the kernel frees the descriptor whatever close returns; here it would
//     stay open, which is a leak of the test's own.
//   - EAGAIN: it promises an event when the socket is ready again; here none comes.
//     That of io_uring_enter says that the kernel had no memory, and is one. Real ones, and real short writes, are had from a peer that does not read.
//   - a return value: the bytes that such a write reports as sent are lost.
//   - what the Go runtime calls for itself (futex, mmap, clone, its own epoll
//     instance): it ends the program by intent.
//
// The counts of calls are strace's: the n-th call of each thread.
//
// The whole table takes a few minutes. A sample of it is played each time, more than 500
// runs; all of them by
//
//	go test ./internal/faults -faults.all
package faults
