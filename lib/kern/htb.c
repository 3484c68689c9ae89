/* lib/kern/htb.c - the tree of HTB classes on a link */
#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#include "lib/kern/htb.h"

#define TICK_NSEC  64U /* of the kernel's packet schedulers */
#define NSEC       1000000000ULL
#define R2Q        10 /* unused: each class has its quantum */
#define DIRECT_LEN 1000

#define PACKET       1514
#define CODEL_TARGET 5000 /* microseconds, fq_codel's own */

static uint32_t handle_of(uint16_t id)
{
	return HTB_MAJOR << 16 | id;
}

void htb_tree(struct nltx *t, int index, uint16_t dflt)
{
	struct tcmsg q = { .tcm_ifindex = index,
			   .tcm_parent = TC_H_ROOT,
			   .tcm_handle = handle_of(0) };
	struct tc_htb_glob g = { .version = 3, .rate2quantum = R2Q, .defcls = dflt };
	struct nl_msg *m = nltx_add(t, "HTB tree", RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &q,
				    sizeof(q), EEXIST);
	struct nlattr *options;

	nltx_put(t, nla_put_string(m, TCA_KIND, "htb"));
	options = nla_nest_start(m, TCA_OPTIONS);
	nltx_put(t, options ? nla_put(m, TCA_HTB_INIT, sizeof(g), &g) : -ENOMEM);
	nltx_put(t, options ? nla_put_u32(m, TCA_HTB_DIRECT_QLEN, DIRECT_LEN) : -ENOMEM);
	if (options)
		nla_nest_end(m, options);
}

void htb_drop_tree(struct nltx *t, int index)
{
	struct tcmsg q = { .tcm_ifindex = index,
			   .tcm_parent = TC_H_ROOT,
			   .tcm_handle = handle_of(0) };

	nltx_add(t, "HTB tree", RTM_DELQDISC, 0, &q, sizeof(q), ENOENT);
}

/* How long BYTES take at RATE bits per second, in ticks. */
static uint32_t ticks(uint64_t bytes, uint64_t rate)
{
	unsigned __int128 t = (unsigned __int128)bytes * 8 * NSEC / (rate ?: 1) / TICK_NSEC;

	return t > UINT32_MAX ? UINT32_MAX : t ? (uint32_t)t : 1;
}

static struct tc_ratespec spec_of(uint64_t rate)
{
	uint64_t bytes = rate / 8;

	return (struct tc_ratespec){
		.linklayer = TC_LINKLAYER_ETHERNET, /* the kernel needs no table of costs then */
		.rate = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes,
	};
}

/* A packet of full size must be able to wait for its turn, at 1 Mbit 12 ms. */
static void put_codel(struct nltx *t, struct nl_msg *m, const struct htb_class *c)
{
	struct nlattr *options = nla_nest_start(m, TCA_OPTIONS);
	uint64_t packet = (uint64_t)PACKET * 8 * 1000000 / (c->ceil ?: 1) * 3 / 2,
		 target = packet > CODEL_TARGET ? packet : CODEL_TARGET;

	if (!options) {
		nltx_put(t, -ENOMEM);
		return;
	}
	nltx_put(t, nla_put_u32(m, TCA_FQ_CODEL_TARGET, (uint32_t)target));
	nltx_put(t, nla_put_u32(m, TCA_FQ_CODEL_INTERVAL, (uint32_t)target * 20));
	/* what the kernel keeps for a packet is about twice its bytes */
	nltx_put(t, nla_put_u32(m, TCA_FQ_CODEL_MEMORY_LIMIT, 2 * c->queue));
	nla_nest_end(m, options);
}

static void put_queue(struct nltx *t, int index, const struct htb_class *c)
{
	struct tcmsg q = { .tcm_ifindex = index, .tcm_parent = handle_of(c->id) };
	struct tc_fifo_qopt f = { .limit = c->queue };
	struct nl_msg *m = nltx_add(t, "queue of the class", RTM_NEWQDISC,
				    NLM_F_CREATE | NLM_F_REPLACE, &q, sizeof(q), 0);

	nltx_put(t, nla_put_string(m, TCA_KIND, c->codel ? "fq_codel" : "bfifo"));
	if (c->codel)
		put_codel(t, m, c);
	else
		nltx_put(t, nla_put(m, TCA_OPTIONS, sizeof(f), &f));
}

bool htb_has_codel(struct nltx *t, int index, uint16_t id)
{
	struct htb_class c = { .id = id, .ceil = 1000000000, .queue = 4 << 20, .codel = true };
	struct cos_err ignored;

	put_queue(t, index, &c);
	return nltx_commit(t, &ignored) == 0;
}

void htb_class(struct nltx *t, int index, const struct htb_class *c)
{
	struct tcmsg k = { .tcm_ifindex = index,
			   .tcm_parent = handle_of(c->parent),
			   .tcm_handle = handle_of(c->id) };
	struct tc_htb_opt o = {
		.rate = spec_of(c->rate),
		.ceil = spec_of(c->ceil),
		.buffer = ticks(c->burst, c->rate),
		.cbuffer = ticks(c->cburst, c->ceil),
		.quantum = c->quantum,
	};
	struct nl_msg *m = nltx_add(t, "class", RTM_NEWTCLASS, NLM_F_CREATE, &k, sizeof(k), 0);
	struct nlattr *options;

	nltx_put(t, nla_put_string(m, TCA_KIND, "htb"));
	options = nla_nest_start(m, TCA_OPTIONS);
	nltx_put(t, options ? nla_put(m, TCA_HTB_PARMS, sizeof(o), &o) : -ENOMEM);
	nltx_put(t, options ? nla_put_u64(m, TCA_HTB_RATE64, c->rate / 8) : -ENOMEM);
	nltx_put(t, options ? nla_put_u64(m, TCA_HTB_CEIL64, c->ceil / 8) : -ENOMEM);
	if (options)
		nla_nest_end(m, options);
	if (c->queue)
		put_queue(t, index, c);
}

void htb_drop_class(struct nltx *t, int index, uint16_t id)
{
	struct tcmsg k = { .tcm_ifindex = index, .tcm_handle = handle_of(id) };

	nltx_add(t, "class", RTM_DELTCLASS, 0, &k, sizeof(k), ENOENT);
}

/* --- asking --- */

struct each_class {
	int (*fn)(uint16_t id, const struct htb_count *c, void *arg);
	void *arg;
};

/* 64 bits where the kernel has them: a counter of 32 bits is full after 4 GiB of packets alone. */
static void take_stats(struct nlattr *stats, struct htb_count *c)
{
	struct nlattr *a = nla_find(nla_data(stats), nla_len(stats), TCA_STATS_BASIC);
	struct gnet_stats_basic basic;
	struct gnet_stats_queue queue;

	if (a && nla_len(a) >= (int)(sizeof(basic.bytes) + sizeof(basic.packets))) {
		memset(&basic, 0, sizeof(basic));
		nla_memcpy(&basic, a, sizeof(basic));
		c->bytes = basic.bytes;
		c->packets = basic.packets;
	}
	a = nla_find(nla_data(stats), nla_len(stats), TCA_STATS_PKT64);
	if (a && nla_len(a) >= (int)sizeof(c->packets))
		nla_memcpy(&c->packets, a, sizeof(c->packets));
	a = nla_find(nla_data(stats), nla_len(stats), TCA_STATS_QUEUE);
	if (a) {
		memset(&queue, 0, sizeof(queue));
		nla_memcpy(&queue, a, sizeof(queue));
		c->drops = queue.drops;
		c->over = queue.overlimits;
	}
}

static int take_class(struct nlmsghdr *h, void *arg)
{
	const struct each_class *e = arg;
	const struct tcmsg *k = nlmsg_data(h);
	struct nlattr *stats = nlmsg_find_attr(h, sizeof(*k), TCA_STATS2);
	struct htb_count c = { 0 };

	if (h->nlmsg_type != RTM_NEWTCLASS || k->tcm_handle >> 16 != HTB_MAJOR || !stats)
		return 0;
	take_stats(stats, &c);
	return e->fn((uint16_t)k->tcm_handle, &c, e->arg);
}

int htb_each(struct nltx *t, int index,
	     int (*fn)(uint16_t id, const struct htb_count *c, void *arg), void *arg,
	     struct cos_err *err)
{
	struct tcmsg k = { .tcm_ifindex = index };
	struct each_class e = { fn, arg };

	return nltx_dump(t, RTM_GETTCLASS, &k, sizeof(k), take_class, &e, err);
}

static int keep_count(uint16_t id, const struct htb_count *c, void *arg)
{
	(void)id;
	*(struct htb_count *)arg = *c;
	return 0;
}

int htb_read(struct nltx *t, int index, uint16_t id, struct htb_count *ret, struct cos_err *err)
{
	struct tcmsg k = { .tcm_ifindex = index, .tcm_handle = handle_of(id) };
	struct each_class e = { keep_count, ret };

	return nltx_get(t, "class", RTM_GETTCLASS, &k, sizeof(k), take_class, &e, err);
}

struct root {
	int index;
	enum htb_root is;
};

static int take_root(struct nlmsghdr *h, void *arg)
{
	struct root *r = arg;
	const struct tcmsg *q = nlmsg_data(h);

	/* the kernel's own default has no handle */
	if (h->nlmsg_type == RTM_NEWQDISC && q->tcm_ifindex == r->index &&
	    q->tcm_parent == TC_H_ROOT && q->tcm_handle)
		r->is = q->tcm_handle == handle_of(0) ? HTB_OURS : HTB_OTHER;
	return 0;
}

int htb_root(struct nltx *t, int index, enum htb_root *ret, struct cos_err *err)
{
	struct tcmsg q = { .tcm_ifindex = index };
	struct root root = { .index = index };
	int r = nltx_dump(t, RTM_GETQDISC, &q, sizeof(q), take_root, &root, err);

	if (r == 0)
		*ret = root.is;
	return r;
}
