/* tests/vmm/guest-virtio.h - the mini guest's drivers: a device, its queues, one request at a time
 */
#pragma once

#include "tests/vmm/guest.h"

#define SIZE   64 /* of a queue */
#define QUEUES 4
#define PAGES  8

/* registers */
enum {
	MAGIC = 0x00,
	ID = 0x08,
	FEATURES = 0x10,
	FEATURES_SEL = 0x14,
	DRIVER = 0x20,
	DRIVER_SEL = 0x24,
	QUEUE_SEL = 0x30,
	QUEUE_NUM = 0x38,
	READY = 0x44,
	NOTIFY = 0x50,
	CAUSE = 0x60,
	ACK = 0x64,
	STATUS = 0x70,
	DESC = 0x80,
	AVAIL = 0x90,
	USED = 0xa0,
	CONFIG = 0x100,
};

enum { ID_NET = 1, ID_BLK = 2, ID_CONSOLE = 3, ID_RNG = 4, ID_BALLOON = 5 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next; /* 1: next, 2: the device writes */
};

struct queue {
	struct desc desc[SIZE];
	struct {
		uint16_t flags, idx, ring[SIZE], event;
	} avail;
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[SIZE];
		uint16_t event;
	} used __attribute__((aligned(16)));
	uint16_t seen;
	uint16_t n; /* descriptors filled for the next request */
} __attribute__((aligned(64)));

extern struct queue queues[QUEUES];
extern uint8_t pages[PAGES][4096]; /* for what is sent and received */

/* The NTHth device of this kind. */
uint64_t device_find(uint32_t id, unsigned nth);
/* With FEATURES of its own beside version 1, and N queues. */
void device_start(uint64_t at, uint32_t features, unsigned n);
/* A further buffer of the queue's next request. */
void queue_part(struct queue *q, const volatile void *p, uint32_t len, bool writes);
void queue_post(uint64_t at, unsigned index);
/* Until a request is served: bytes that the device wrote. */
uint32_t queue_wait(unsigned index);

/* guest-net.c */
void test_net(void);
void test_ping(void);
void test_serve(void);
