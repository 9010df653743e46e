/* Preloaded into smtp-source: each connection it opens comes from another address, SOURCE_COUNT of them in turn from
 * SOURCE_FIRST on, so that one program is many subscribers. The port is chosen when it connects, as without a bind. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

int connect(int fd, const struct sockaddr *to, socklen_t length)
{
	static int (*next)(int, const struct sockaddr *, socklen_t);
	static uint32_t first, count, turn;

	if (next == NULL) {
		const char *a = getenv("SOURCE_FIRST"), *n = getenv("SOURCE_COUNT");
		next = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
		first = a ? ntohl(inet_addr(a)) : 0;
		count = n ? (uint32_t)atoi(n) : 0;
	}
	if (to->sa_family == AF_INET && count > 0) {
		struct sockaddr_in from;
		int yes = 1;
		memset(&from, 0, sizeof from);
		from.sin_family = AF_INET;
		from.sin_addr.s_addr = htonl(first + turn++ % count);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
		if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
			return -1;
	}
	return next(fd, to, length);
}
