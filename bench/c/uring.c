/*
 * The second reference: an echo server on one io_uring, without a library. Accepting and
 * receiving are multishot, into buffers of a ring that the kernel picks from; what comes
 * is sent from there; sockets are the ring's own (direct descriptors), and so is its
 * descriptor (registered). No limits, no timers, no statistics.
 *
 *	uring [-w]	prints "port N" and serves until it is killed
 *
 * -w waits for 32 completions, or for as many as come within 50 µs (Linux 6.12).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "listen.h"

#define ENTRIES 4096
#define BUFFERS 1024 /* a power of two */
#define BUFFER 16384
#define MAX_CONNS 19000
#define INDEX_ALLOC (~0U)

enum { ACCEPT, RECV, SEND, CLOSE };

/* A piece is a buffer that was received into and is to be sent. */
struct piece {
	int len, off, next; /* next of its connection; -1: none */
};

struct conn {
	int first, last; /* pieces to be sent; the first is being sent; -1: none */
	int ended;       /* the peer has ended its direction */
};

static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;
static struct io_uring_buf_ring *ring_buffers;
static unsigned *sq_tail, *sq_mask, *cq_head, *cq_tail, *cq_mask;
static unsigned queued, ring_index, tail_of_buffers;
static char *buffers;
static struct piece pieces[BUFFERS];
static struct conn conns[MAX_CONNS];

static int enter(unsigned submit, unsigned want, unsigned flags, void *arg, size_t size) {
	return syscall(__NR_io_uring_enter, ring_index, submit, want, flags | IORING_ENTER_REGISTERED_RING, arg, size);
}

static struct io_uring_sqe *request(int op, int kind, int fd) {
	if (queued == ENTRIES) {
		if (enter(queued, 0, 0, NULL, 0) < 0)
			die("io_uring_enter");
		queued = 0;
	}
	struct io_uring_sqe *s = &sqes[*sq_tail & *sq_mask];
	memset(s, 0, sizeof *s);
	s->opcode = op;
	s->fd = fd;
	s->user_data = (unsigned long)kind << 32 | (unsigned)fd;
	__atomic_store_n(sq_tail, *sq_tail + 1, __ATOMIC_RELEASE);
	queued++;
	return s;
}

static void accept_on(int listener) {
	struct io_uring_sqe *s = request(IORING_OP_ACCEPT, ACCEPT, listener);
	s->ioprio = IORING_ACCEPT_MULTISHOT;
	s->file_index = INDEX_ALLOC;
}

static void receive(int i) {
	struct io_uring_sqe *s = request(IORING_OP_RECV, RECV, i);
	s->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	s->ioprio = IORING_RECV_MULTISHOT;
}

static void send_first(int i) {
	int b = conns[i].first;
	struct io_uring_sqe *s = request(IORING_OP_SEND, SEND, i);
	s->flags = IOSQE_FIXED_FILE;
	s->addr = (unsigned long)(buffers + (size_t)b * BUFFER + pieces[b].off);
	s->len = pieces[b].len - pieces[b].off;
	s->msg_flags = MSG_NOSIGNAL;
}

static void give_back(int b) {
	struct io_uring_buf *buf = &ring_buffers->bufs[tail_of_buffers & (BUFFERS - 1)];
	buf->addr = (unsigned long)(buffers + (size_t)b * BUFFER);
	buf->len = BUFFER;
	buf->bid = b;
	tail_of_buffers++;
	__atomic_store_n(&ring_buffers->tail, (unsigned short)tail_of_buffers, __ATOMIC_RELEASE);
}

static void close_conn(int i) {
	struct io_uring_sqe *s = request(IORING_OP_CLOSE, CLOSE, 0);
	s->file_index = i + 1;
}

static void accepted(int listener, int res, unsigned flags) {
	if (res >= 0) {
		conns[res] = (struct conn){-1, -1, 0};
		receive(res);
	} else if (res != -ECONNABORTED) {
		errno = -res;
		die("accept");
	}
	if (!(flags & IORING_CQE_F_MORE))
		accept_on(listener);
}

static void received(int i, int res, unsigned flags) {
	struct conn *c = &conns[i];
	if (res > 0) {
		int b = flags >> IORING_CQE_BUFFER_SHIFT;
		pieces[b] = (struct piece){res, 0, -1};
		if (c->first < 0) {
			c->first = c->last = b;
			send_first(i);
		} else {
			pieces[c->last].next = b;
			c->last = b;
		}
	} else if (res != -ENOBUFS) {
		c->ended = 1;
		if (c->first < 0)
			close_conn(i);
		return;
	}
	if (!(flags & IORING_CQE_F_MORE))
		receive(i);
}

static void sent(int i, int res) {
	struct conn *c = &conns[i];
	struct piece *p = &pieces[c->first];
	if (res >= 0 && (p->off += res) < p->len) {
		send_first(i);
		return;
	}
	do { /* on an error all that is left is dropped */
		give_back(c->first);
		c->first = pieces[c->first].next;
	} while (res < 0 && c->first >= 0);
	if (c->first >= 0)
		send_first(i);
	else if (c->ended)
		close_conn(i);
}

static void completed(struct io_uring_cqe *e) {
	int what = (int)e->user_data;
	switch (e->user_data >> 32) {
	case ACCEPT: accepted(what, e->res, e->flags); break;
	case RECV: received(what, e->res, e->flags); break;
	case SEND: sent(what, e->res); break;
	}
}

static void reg(int ring, unsigned op, void *arg, unsigned n, const char *what) {
	if (syscall(__NR_io_uring_register, ring, op, arg, n) < 0)
		die(what);
}

static void *map(int ring, size_t size, off_t at) {
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, at);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void set_up(void) {
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
		.cq_entries = 4 * ENTRIES,
	};
	int ring = syscall(__NR_io_uring_setup, ENTRIES, &p);
	if (ring < 0)
		die("io_uring_setup");
	char *r = map(ring, p.cq_off.cqes + p.cq_entries * sizeof *cqes + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	sqes = map(ring, p.sq_entries * sizeof *sqes, IORING_OFF_SQES);
	sq_tail = (unsigned *)(r + p.sq_off.tail);
	sq_mask = (unsigned *)(r + p.sq_off.ring_mask);
	for (unsigned i = 0; i < p.sq_entries; i++)
		((unsigned *)(r + p.sq_off.array))[i] = i;
	cq_head = (unsigned *)(r + p.cq_off.head);
	cq_tail = (unsigned *)(r + p.cq_off.tail);
	cq_mask = (unsigned *)(r + p.cq_off.ring_mask);
	cqes = (struct io_uring_cqe *)(r + p.cq_off.cqes);

	struct io_uring_rsrc_register files = {.nr = MAX_CONNS, .flags = IORING_RSRC_REGISTER_SPARSE};
	reg(ring, IORING_REGISTER_FILES2, &files, sizeof files, "register files");
	buffers = mmap(NULL, (size_t)BUFFERS * BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ring_buffers = mmap(NULL, BUFFERS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring_buf_reg b = {.ring_addr = (unsigned long)ring_buffers, .ring_entries = BUFFERS};
	reg(ring, IORING_REGISTER_PBUF_RING, &b, 1, "register buffers");
	for (int i = 0; i < BUFFERS; i++)
		give_back(i);
	struct io_uring_rsrc_update u = {.offset = -1U, .data = ring};
	reg(ring, IORING_REGISTER_RING_FDS, &u, 1, "register ring");
	ring_index = u.offset;
}

/* wait_args is io_uring_getevents_arg as it is since Linux 6.12. */
struct wait_args {
	unsigned long sigmask;
	unsigned sigmask_size, min_wait_us;
	unsigned long time;
};

int main(int argc, char **argv) {
	struct __kernel_timespec hour = {.tv_sec = 3600};
	struct wait_args args = {.min_wait_us = 50, .time = (unsigned long)&hour};
	int more_wait = argc > 1 && !strcmp(argv[1], "-w");
	signal(SIGPIPE, SIG_IGN);
	set_up();
	accept_on(listen_any(SOCK_STREAM));
	for (;;) {
		int n = more_wait ? enter(queued, 32, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &args, sizeof args)
		                  : enter(queued, 1, IORING_ENTER_GETEVENTS, NULL, 0);
		if (n < 0 && errno != EINTR && errno != ETIME)
			die("io_uring_enter");
		queued = 0;
		unsigned head = *cq_head, tail = __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE);
		while (head != tail)
			completed(&cqes[head++ & *cq_mask]);
		__atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
	}
}
