/* bench/work-same.c - work that the mini guest does too, by a process; see bench/vm
 *
 *	same steps|copies N ROUNDS	"cycles C" for each of ROUNDS times N rounds of that work
 *
 * Compiled as the mini guest is: without vector instructions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/same.h"
#include "bench/work.h"

static uint64_t cycles(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

int same(char **arg)
{
	uint64_t n = work_number(arg[1]), *arena = NULL;

	if (strcmp(arg[0], "copies") == 0 && !(arena = aligned_alloc(4096, SAME_BYTES)))
		return work_tell("memory");
	for (uint64_t rounds = work_number(arg[2]); rounds > 0; rounds--) {
		volatile uint64_t result;
		uint64_t start = cycles();

		result = arena ? same_copies(arena, n) : same_steps(n);
		printf("cycles %llu\n", (unsigned long long)(cycles() - start));
		(void)result;
	}
	free(arena);
	return 0;
}
