/* cosd/conf.h - the daemon's configuration, cosd.json: strict, one row a key, reloaded all or
 * nothing */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

enum conf_when { C_START, C_LIVE };

struct conf {
	uint64_t id_base, id_count, console_log_bytes, events_log_bytes;
	uint64_t prepare_slots, connections_max, connections_per_user, log_level;
	uint64_t net_masquerade, overcommit_cpu, overcommit_memory, overcommit_network,
		overcommit_disk, project_base;
	uint64_t ledger_interval, ledger_keep_interval, ledger_keep_minute, ledger_keep_hour,
		ledger_keep_day; /* seconds */
	uint64_t memory_spare, memory_idle_tax, memory_host_share;
	char net_pool[19], net_pool6[50], net_uplink[16], net_cap[16], net_exempt[8192];
	char memory_cap[24];
	char socket_group[32], metrics_user[32], profile_dir[256];
};

struct conf_key {
	const char *name, *dflt, *help;
	enum conf_when when;
};

extern const struct conf_key conf_keys[];
extern const unsigned n_conf_keys;

/* Defaults, the configuration file over them, the command line's options over that. A missing file
 * is an error only if MUST. */
struct keep_args;
int conf_load(const struct keep_args *a, bool must, struct conf *ret, struct cos_err *err);
/* Whether NEXT may replace NOW in a running daemon; refuses a changed C_START key by name. */
int conf_check_reload(const struct conf *now, const struct conf *next, struct cos_err *err);
