/*
 * What both references begin with.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void die(const char *what) {
	perror(what);
	exit(1);
}

/* listen_any listens on a port of the kernel's choice, and says which. type is
 * SOCK_STREAM with the flags that the listening socket is to have. */
static int listen_any(int type) {
	int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	socklen_t len = sizeof a;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* connections inherit it */
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 65535) < 0)
		die("listen");
	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		die("getsockname");
	printf("port %d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}
