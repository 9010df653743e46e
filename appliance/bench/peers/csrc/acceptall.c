/* The least that a reader of NFQUEUE can do, in C on libnetfilter_queue: it accepts every packet of queue 0 and looks at
 * none. It is tuned as one would in earnest: segments come unsplit, and there is room for many. */
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

static int accept_one(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *packet, void *data)
{
	struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(packet);
	(void)message, (void)data;
	if (header == NULL)
		return 0;
	return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, 0, NULL);
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	static char buffer[1 << 17] __attribute__((aligned(8)));
	int room = 32 << 20, yes = 1, fd;
	struct nfq_q_handle *queue;
	struct nfq_handle *handle = nfq_open();

	if (handle == NULL)
		return fail("open");
	queue = nfq_create_queue(handle, 0, accept_one, NULL);
	if (queue == NULL)
		return fail("queue 0");
	if (nfq_set_queue_flags(queue, NFQA_CFG_F_GSO, NFQA_CFG_F_GSO) != 0 || nfq_set_queue_maxlen(queue, 65536) != 0)
		return fail("set up the queue");
	fd = nfq_fd(handle);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &yes, sizeof yes) != 0)
		return fail("set up the socket");
	if (nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) != 0)
		return fail("copy packets");
	for (;;) {
		ssize_t n = recv(fd, buffer, sizeof buffer, 0);
		if (n >= 0)
			nfq_handle_packet(handle, buffer, (int)n);
		else if (errno != EINTR && errno != ENOBUFS)
			return fail("receive");
	}
}
