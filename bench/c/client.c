/*
 * A closed-loop client that verifies: each connection keeps so many messages in
 * flight and sends the next when one has come back, whole and unchanged.
 *
 *	client [-n CONNS] [-s SIZE] [-d IN_FLIGHT] [-t MS] PORT:PID
 *
 * It connects to a server, says "ready", and for each line on its standard input talks
 * for MS milliseconds and prints a line of JSON: how many messages came back, their
 * round-trip times, how much of the processor's time process PID and the client took,
 * by their CPU clocks, and how long those of their threads that do the work had to wait for a
 * processor because others were at work. So a caller can let several servers take turns, and what else the
 * machine does meets all of them alike. Exit status 1: an answer was wrong, or the
 * server went away.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PERIOD 251 /* of the pattern: fits no buffer's size */
#define CHUNK (256 << 10)
#define MAX_TASKS 256
#define SUB 32 /* steps of the histogram between two powers of two */

struct conn {
	int fd, writable;
	unsigned due;           /* bytes to be sent, of messages that were begun */
	unsigned got;           /* bytes of the present message that came back */
	unsigned sent_at, back; /* place in the pattern of the next byte either way */
	unsigned head;          /* the oldest of when */
	int64_t *when;          /* when each message in flight was begun */
};

static char pattern[CHUNK + PERIOD], buffer[CHUNK];
static uint64_t histogram[64 * SUB], messages;
static int nconns = 100, size = 64, depth = 1, port, pid, ep, stopping;
static int64_t in_flight;
static struct conn *conns;
static clockid_t server_cpu;

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void fail(const char *what) {
	fprintf(stderr, "client: %s\n", what);
	exit(1);
}

static int64_t now_ns(clockid_t clock) {
	struct timespec t;
	if (clock_gettime(clock, &t) < 0)
		die("clock_gettime");
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t now(void) { return now_ns(CLOCK_MONOTONIC); }

/* A task is a thread: how long it ran, and how long it was ready to run and did not. */
struct task {
	int id;
	long long ran, waited;
};

/* tasks reads the threads of a process into list and returns how many: proc_pid_schedstat(5). */
static int tasks(int pid, struct task *list) {
	char name[300];
	int n = 0;
	snprintf(name, sizeof name, "/proc/%d/task", pid);
	DIR *d = opendir(name);
	if (!d)
		die("client: opendir");
	for (struct dirent *e; n < MAX_TASKS && (e = readdir(d));) {
		struct task *t = &list[n];
		snprintf(name, sizeof name, "/proc/%d/task/%s/schedstat", pid, e->d_name);
		FILE *f = fopen(name, "r");
		t->id = atoi(e->d_name);
		n += f && fscanf(f, "%lld %lld", &t->ran, &t->waited) == 2;
		if (f)
			fclose(f);
	}
	closedir(d);
	return n;
}

/* waited returns how long the threads of a process have waited since before, but for those
 * that did less than a tenth of what it did: one that only looks in now and then, as the Go
 * runtime's monitor does, waits for the others. */
static long long waited(int pid, const struct task *before, int n) {
	struct task now[MAX_TASKS];
	int m = tasks(pid, now);
	long long ran = 0, sum = 0;
	for (int i = 0; i < m; i++) {
		for (int j = 0; j < n; j++) {
			if (before[j].id == now[i].id) {
				now[i].ran -= before[j].ran;
				now[i].waited -= before[j].waited;
			}
		}
		ran += now[i].ran;
	}
	for (int i = 0; i < m; i++)
		sum += now[i].ran >= ran / 10 ? now[i].waited : 0;
	return sum;
}

static void record(int64_t ns) {
	uint64_t v = ns > 0 ? ns : 1;
	int log = 63 - __builtin_clzll(v);
	int sub = log > 5 ? (v >> (log - 5)) & (SUB - 1) : 0;
	histogram[log * SUB + sub]++;
	messages++;
}

/* quantile returns the upper end of the step that holds it, in microseconds. */
static double quantile(double q) {
	uint64_t want = messages * q, sum = 0;
	for (int i = 0; i < 64 * SUB; i++) {
		int log = i / SUB;
		if ((sum += histogram[i]) > want)
			return (log > 5 ? (1ULL << log) + ((i % SUB + 1ULL) << (log - 5)) : 2ULL << log) / 1e3;
	}
	return 0;
}

static void begin(struct conn *c, int n, int64_t t) {
	for (int i = 0; i < n; i++)
		c->when[(c->head + depth - n + i) % depth] = t;
	c->due += (unsigned)n * size;
	in_flight += n;
}

static void push(struct conn *c) {
	while (c->due > 0 && c->writable) {
		unsigned n = c->due < CHUNK ? c->due : CHUNK;
		ssize_t m = send(c->fd, pattern + c->sent_at, n, MSG_NOSIGNAL);
		if (m < 0 && errno != EAGAIN)
			die("client: send");
		c->writable = m == (ssize_t)n;
		m = m < 0 ? 0 : m;
		c->sent_at = (c->sent_at + m) % PERIOD;
		c->due -= m;
	}
}

/* take verifies n bytes and returns how many messages they complete. */
static int take(struct conn *c, int n, int64_t t) {
	int whole = 0;
	if (memcmp(buffer, pattern + c->back, n))
		fail("a wrong byte came back");
	c->back = (c->back + n) % PERIOD;
	for (c->got += n; c->got >= (unsigned)size; c->got -= size, whole++) {
		record(t - c->when[c->head]);
		c->head = (c->head + 1) % depth;
	}
	in_flight -= whole;
	return whole;
}

static void ready(struct conn *c, unsigned events) {
	ssize_t n = CHUNK;
	int64_t t = now();
	if (events & EPOLLOUT)
		c->writable = 1;
	while ((events & ~EPOLLOUT) && n == CHUNK) { /* a read that does not fill it has emptied the socket */
		n = recv(c->fd, buffer, CHUNK, 0);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			fail(n ? strerror(errno) : "the server has ended a connection");
		int whole = take(c, n, t);
		if (!stopping)
			begin(c, whole, t);
	}
	push(c);
}

static void turn(int ms) {
	struct epoll_event evs[1024];
	int n = epoll_wait(ep, evs, 1024, ms);
	if (n < 0 && errno != EINTR)
		die("client: epoll_wait");
	for (int i = 0; i < n; i++)
		ready(evs[i].data.ptr, evs[i].events);
}

static void dial(struct conn *c, unsigned i) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
	struct linger none = {.l_onoff = 1}; /* closing leaves nothing in TIME_WAIT: socket(7) */
	int one = 1;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i / 1000); /* ports are scarce: 127.0.0.0/8 has more */
	*c = (struct conn){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .writable = 1};
	c->sent_at = c->back = i % PERIOD;
	c->when = calloc(depth, sizeof *c->when);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0)
		die("client: connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	if (ioctl(c->fd, FIONBIO, &one) < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		die("client: epoll_ctl");
}

static void begin_all(void) {
	for (int i = 0; i < nconns; i++) {
		begin(&conns[i], depth, now());
		push(&conns[i]);
	}
}

/* talk talks until nothing is in flight any more, and reports. */
static void talk(int ms) {
	struct task before[MAX_TASKS], own_before[MAX_TASKS];
	int n = tasks(pid, before), own_n = tasks(getpid(), own_before);
	int64_t w, c0 = now_ns(server_cpu), own = now_ns(CLOCK_PROCESS_CPUTIME_ID), t0 = now(), t1;
	memset(histogram, 0, sizeof histogram);
	messages = stopping = 0;
	begin_all();
	while ((t1 = now()) < t0 + ms * 1000000LL)
		turn(1);
	for (stopping = 1; in_flight > 0; turn(10))
		if (now() > t1 + 10000000000LL)
			fail("messages did not come back within ten seconds");
	t1 = now() - t0;
	own = now_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
	c0 = now_ns(server_cpu) - c0;
	w = waited(pid, before, n) + waited(getpid(), own_before, own_n);
	printf("{\"messages\":%llu,\"wall_ns\":%lld,\"cpu_ns\":%lld,\"client_ns\":%lld,\"waited_ns\":%lld,\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f}\n",
	       (unsigned long long)messages, (long long)t1, (long long)c0, (long long)own, (long long)w, quantile(.5), quantile(.99), quantile(.999));
	fflush(stdout);
}

int main(int argc, char **argv) {
	int opt, ms = 250;
	while ((opt = getopt(argc, argv, "n:s:d:t:")) != -1) {
		int *to = opt == 'n' ? &nconns : opt == 's' ? &size : opt == 'd' ? &depth : opt == 't' ? &ms : NULL;
		if (!to || (*to = atoi(optarg)) < 1)
			fail("usage: client [-n CONNS] [-s SIZE] [-d IN_FLIGHT] [-t MS] PORT:PID");
	}
	if (optind + 1 != argc || sscanf(argv[optind], "%d:%d", &port, &pid) != 2 || (errno = clock_getcpuclockid(pid, &server_cpu)))
		fail("a server is PORT:PID of a process that runs");
	for (int i = 0; i < (int)sizeof pattern; i++)
		pattern[i] = i % PERIOD;
	ep = epoll_create1(EPOLL_CLOEXEC);
	conns = calloc(nconns, sizeof *conns);
	for (int i = 0; i < nconns; i++)
		dial(&conns[i], i);
	puts("ready");
	fflush(stdout);
	for (int c; (c = getchar()) != EOF;)
		if (c == '\n')
			talk(ms);
}
