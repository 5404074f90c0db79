/*
 * The reference: an echo server on one level-triggered epoll loop, as plain as C
 * allows: read, write, and write interest only while something is left. No limits,
 * no timers, no statistics; what is not written at once is kept for each connection.
 *
 *	epoll [-e]	prints "port N" and serves until it is killed
 *
 * -e is the same loop tuned: edge-triggered, recv and send in place of read and write,
 * and a read that did not fill the buffer has emptied the socket (epoll(7)).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "listen.h"

#define MAX_FD (1 << 20)
#define BUFFER (64 << 10)

struct conn {
	char *rest; /* what is to be written yet; NULL: nothing */
	int len, off;
	int ended; /* the peer has ended its direction */
};

static struct conn *conns[MAX_FD];
static char buffer[BUFFER];
static int ep, edge;

static void interest(int op, int fd, unsigned events) {
	struct epoll_event ev = {.events = events, .data.fd = fd};
	if (epoll_ctl(ep, op, fd, &ev) < 0)
		die("epoll_ctl");
}

static void done(int fd) {
	free(conns[fd]->rest);
	free(conns[fd]);
	conns[fd] = NULL;
	close(fd);
}

static void accept_all(int listener) {
	int fd;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		conns[fd] = calloc(1, sizeof *conns[fd]);
		interest(EPOLL_CTL_ADD, fd, edge ? EPOLLIN | EPOLLRDHUP | EPOLLET : EPOLLIN);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept4");
}

static ssize_t put(int fd, const char *p, size_t n) {
	ssize_t m = edge ? send(fd, p, n, MSG_NOSIGNAL) : write(fd, p, n);
	return m < 0 && errno == EAGAIN ? 0 : m;
}

/* flush writes what is left and returns 0 when the connection is over. */
static int flush(int fd) {
	struct conn *c = conns[fd];
	ssize_t n = put(fd, c->rest + c->off, c->len - c->off);
	if (n < 0)
		return 0;
	if ((c->off += n) < c->len)
		return 1;
	free(c->rest);
	c->rest = NULL;
	if (!edge)
		interest(EPOLL_CTL_MOD, fd, EPOLLIN);
	return !c->ended;
}

static void keep(int fd, const char *p, int n) {
	struct conn *c = conns[fd];
	c->rest = malloc(n);
	memcpy(c->rest, p, n);
	c->len = n;
	c->off = 0;
	interest(EPOLL_CTL_MOD, fd, edge ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLOUT);
}

/* echo reads once and writes that; it returns 0 when the connection is over, 1 when
 * it must wait, 2 when there may be more. */
static int echo(int fd) {
	ssize_t n = edge ? recv(fd, buffer, BUFFER, 0) : read(fd, buffer, BUFFER);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	ssize_t m = put(fd, buffer, n);
	if (m < 0)
		return 0;
	if (m < n) {
		keep(fd, buffer + m, n - m);
		return 1;
	}
	return n == BUFFER ? 2 : 1;
}

static void ready(int fd, unsigned events) {
	struct conn *c = conns[fd];
	if (c->rest) {
		if (!flush(fd)) {
			done(fd);
			return;
		}
		if (c->rest || !edge)
			return;
	}
	int more = echo(fd);
	while (edge && more && !c->rest && (more == 2 || events & EPOLLRDHUP))
		more = echo(fd);
	if (!more)
		done(fd);
}

int main(int argc, char **argv) {
	struct epoll_event evs[1024];
	edge = argc > 1 && !strcmp(argv[1], "-e");
	signal(SIGPIPE, SIG_IGN);
	if ((ep = epoll_create1(EPOLL_CLOEXEC)) < 0)
		die("epoll_create1");
	int listener = listen_any(SOCK_STREAM | SOCK_NONBLOCK);
	interest(EPOLL_CTL_ADD, listener, EPOLLIN);
	for (;;) {
		int n = epoll_wait(ep, evs, 1024, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (evs[i].data.fd == listener)
				accept_all(listener);
			else
				ready(evs[i].data.fd, evs[i].events);
		}
	}
}
