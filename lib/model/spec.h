/* lib/model/spec.h - a guest as the user wants it
 *
 * A specification is one strict JSON object. What the user wrote ("own") is kept; merging it over
 * its profiles gives the expanded document that a start uses. Pure: no file and no system call. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/model/limits.h"
#include "lib/model/net.h"
#include "lib/model/spec.def"

#define SPEC_BYTES_MAX    (256U << 10)
#define SPEC_ARGS_MAX     256
#define SPEC_ENV_MAX      256
#define SPEC_BINDS_MAX    32
#define SPEC_PROFILES_MAX 8
#define SPEC_PATHS_MAX    32
#define SPEC_REQUIRES_MAX 32
#define NAME_SIZE         64

enum guest_kind { GUEST_CONTAINER, GUEST_VM, GUEST__KINDS };
enum restart_policy { RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS };
enum spec_when { S_FIXED, S_NEXT, S_LIVE };
enum spec_cli { CLI_TEXT, CLI_BOOL, CLI_NUMBER, CLI_TIME, CLI_JSON };

enum hook_id {
#define X(id, ...) HOOK_##id,
	COS_HOOKS(X)
#undef X
		HOOK__N
};

enum disk_quota { DISK_AUTO, DISK_PROJECT, DISK_LOOP };

enum health_action { HEALTH_DO_NOTHING, HEALTH_DO_RESTART, HEALTH_DO_KILL };

struct spec_health {
	json_t *command; /* NULL: there is no check */
	uint64_t interval, timeout, retries, start_period;
	enum health_action action;
};

struct hook_def {
	const char *name, *oci;
};

extern const struct hook_def hook_defs[HOOK__N];

struct spec_bind {
	const char *source, *target;
	bool readonly;
};

/* Of a machine. */
struct spec_vm {
	const char *kernel, *initrd, *cmdline; /* initrd NULL: none */
	uint64_t cpus, memory;
	bool acpi;
};

/* What a machine may take of memory.max beside its own memory: cos-vmm, the kernel's tables. */
#define SPEC_VM_OVERHEAD(memory) ((16U << 20) + (memory) / 128)

extern const char *const guest_kind_name[GUEST__KINDS];

/* Texts and objects are borrowed from DOC, which the struct owns. */
struct spec {
	json_t *doc;
	char name[NAME_SIZE];
	enum guest_kind type;
	const char *uuid; /* NULL: none was given yet */
	const char *template, *rootfs, *hostname, *user, *cwd, *timezone, *capabilities;
	json_t *requires; /* names; NULL: none */
	json_t *profiles, *command, *env, *seccomp, *devices, *masked_paths, *readonly_paths;
	bool own_init; /* the guest's /sbin/init instead of COMMAND */
	struct spec_bind binds[SPEC_BINDS_MAX];
	unsigned n_binds;
	struct limits limits;
	struct net_spec net;
	enum disk_quota disk_quota;
	struct spec_vm vm;
	enum restart_policy restart;
	int stop_signal;
	uint64_t stop_timeout; /* seconds */
	struct spec_health health;
	json_t *hooks[HOOK__N]; /* words, the first an absolute path of the host; NULL: none */
	uint64_t hook_timeout;  /* seconds */
	uint64_t priority;
	uint64_t owner; /* uid on the host */
	bool autostart, userns, manage, is_volatile, ephemeral, no_new_privs, ksm;
};

struct spec_key {
	const char *name;
	enum spec_when when;
	enum spec_cli cli;
	const char *dflt, *help;
};

extern const struct spec_key spec_keys[];
extern const unsigned n_spec_keys;
const struct spec_key *spec_key_find(const char *name);

/* Checks and fills. DOC is an expanded document; the struct takes a reference of its own. On
 * failure nothing is held. Empty with spec_done(). */
int spec_parse(json_t *doc, struct spec *ret, struct cos_err *err);
void spec_done(struct spec *s);

/* Checks DOC as far as it goes alone: a profile, or an own document before its profiles are known.
 */
int spec_check_part(json_t *doc, struct cos_err *err);

/* BASE (built-in profile), PROFILES[0..N) and OWN merged left to right; the caller's new reference.
 */
int spec_expand(json_t *base, json_t *const *profiles, unsigned n, json_t *own, json_t **ret,
		struct cos_err *err);

/* Gives the own document DOC a "uuid" unless it has one. 1: it has a new one; 0 or -errno. */
int spec_name_uuid(json_t *doc);

/* Sets KEY of the own document DOC from the command line's VALUE: a key of spec.def or a limit.
 * Only converts and checks the value alone; spec_parse() checks the whole. */
int spec_set_text(json_t *doc, const char *key, const char *value, struct cos_err *err);

/* Marks KEY, of the same names, to be removed from an own document by jsonx_patch(): it gets null.
 * What KEY is is left to who has that document. */
int spec_unset_text(json_t *doc, const char *key, struct cos_err *err);

/* "TERM", "SIGTERM", "RTMIN+3", "15"; -EINVAL when it is none. */
int signal_from_text(const char *s);
/* "TERM"; BUF takes 16 bytes. Returns BUF. */
char *signal_to_text(int sig, char *buf);
