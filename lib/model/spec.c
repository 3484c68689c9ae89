/* lib/model/spec.c - a guest as the user wants it */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/base/uuid.h"
#include "lib/model/spec.h"

#define VM_CMDLINE_MAX 1791 /* cos-vmm adds its devices, and 2047 is the most */
#define VM_MEMORY_MIN  (4ULL << 20)
#define VM_MEMORY_MAX  (1ULL << 40)
#define VM_MEMORY_UNIT (1ULL << 20)

const struct spec_key spec_keys[] = {
#define X(key, type, member, lo, hi, when, cli, dflt, help) { key, when, CLI_##cli, dflt, help },
	COS_SPEC_KEYS(X)
#undef X
};
const unsigned n_spec_keys = ARRAY_SIZE(spec_keys);

const char *const guest_kind_name[GUEST__KINDS] = {
	[GUEST_CONTAINER] = "container",
	[GUEST_VM] = "vm",
};

const struct hook_def hook_defs[HOOK__N] = {
#define X(id, name, oci, help) [HOOK_##id] = { name, oci },
	COS_HOOKS(X)
#undef X
};

const struct spec_key *spec_key_find(const char *name)
{
	for (unsigned i = 0; i < n_spec_keys; i++) {
		if (strcmp(spec_keys[i].name, name) == 0)
			return &spec_keys[i];
	}
	return NULL;
}

static int need_text(json_t *v, size_t max, const char *at, const char **ret, struct cos_err *err)
{
	const char *s = json_string_value(v);

	if (!s)
		return jsonx_bad(err, at, "not a string");
	if (strlen(s) != json_string_length(v) || !str_is_text(s, SIZE_MAX))
		return jsonx_bad(err, at, "has control characters");
	if (!s[0] || strlen(s) > max)
		return jsonx_bad(err, at, "is %zu bytes long, not 1..%zu", strlen(s), max);
	*ret = s;
	return 0;
}

static int parse_name(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	const char *t;
	int r = need_text(v, NAME_SIZE - 1, at, &t, err);

	if (r < 0)
		return r;
	if (!str_is_name(t))
		return jsonx_bad(err, at, "\"%s\" is not of the form [a-z0-9][a-z0-9._-]{0,62}", t);
	strcpy(s->name, t);
	return 0;
}

/* Which of the N NAMES V is; WRONG is said of any other word. */
static int need_word(json_t *v, const char *const *names, size_t n, const char *wrong,
		     const char *at, struct cos_err *err)
{
	const char *t;
	int r = need_text(v, 16, at, &t, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(t, names[i]) == 0)
			return (int)i;
	}
	return jsonx_bad(err, at, "\"%s\" %s", t, wrong);
}

static int parse_type(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = need_word(v, guest_kind_name, GUEST__KINDS,
			  "is not a type of guest: container or vm", at, err);

	if (r >= 0)
		s->type = (unsigned)r;
	return r < 0 ? r : 0;
}

static int parse_template(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = need_text(v, 127, at, &s->template, err);

	if (r == 0 && !str_is_template(s->template))
		return jsonx_bad(err, at, "\"%s\" is not the name of a template", s->template);
	return r;
}

static int need_absolute(json_t *v, const char *at, const char **ret, struct cos_err *err)
{
	int r = need_text(v, 1023, at, ret, err);

	if (r == 0 && (*ret)[0] != '/')
		return jsonx_bad(err, at, "\"%s\" is not an absolute path", *ret);
	return r;
}

static int parse_rootfs(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return need_absolute(v, at, &((struct spec *)to)->rootfs, err);
}

static int parse_vm_kernel(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return need_absolute(v, at, &((struct spec *)to)->vm.kernel, err);
}

static int parse_vm_initrd(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return need_absolute(v, at, &((struct spec *)to)->vm.initrd, err);
}

static int parse_vm_cmdline(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return need_text(v, VM_CMDLINE_MAX, at, &((struct spec *)to)->vm.cmdline, err);
}

static int parse_vm_memory(json_t *v, const char *at, void *to, struct cos_err *err)
{
	const char *t = json_string_value(v);
	uint64_t n = 0;

	if (json_is_integer(v) && json_integer_value(v) > 0)
		n = (uint64_t)json_integer_value(v);
	else if (!t || strlen(t) != json_string_length(v) || str_to_bytes(t, &n) < 0)
		return jsonx_bad(err, at, "not a number of bytes such as 512M or 2G");
	if (n < VM_MEMORY_MIN || n > VM_MEMORY_MAX || n % VM_MEMORY_UNIT)
		return jsonx_bad(err, at, "not 4M to 1T in steps of 1M");
	((struct spec *)to)->vm.memory = n;
	return 0;
}

static int parse_cwd(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return need_absolute(v, at, &((struct spec *)to)->cwd, err);
}

static int parse_profiles(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = jsonx_need_array(v, SPEC_PROFILES_MAX, at, err);
	const char *t;
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		r = need_text(e, NAME_SIZE - 1, at, &t, err);
		if (r < 0)
			return r;
		if (!str_is_name(t))
			return jsonx_bad(err, at, "\"%s\" is not the name of a profile", t);
	}
	s->profiles = v;
	return 0;
}

static int parse_requires(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = jsonx_need_array(v, SPEC_REQUIRES_MAX, at, err);
	const char *t;
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		r = need_text(e, NAME_SIZE - 1, at, &t, err);
		if (r < 0)
			return r;
		if (!str_is_name(t))
			return jsonx_bad(err, at, "\"%s\" is not the name of a guest", t);
		for (size_t k = 0; k < i; k++) {
			if (json_equal(e, json_array_get(v, k)))
				return jsonx_bad(err, at, "\"%s\" comes twice", t);
		}
	}
	s->requires = v;
	return 0;
}

/* Arguments may hold any byte but NUL. */
static int need_words(json_t *v, const char *at, struct cos_err *err)
{
	int r = jsonx_need_array(v, SPEC_ARGS_MAX, at, err);
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		const char *t = json_string_value(e);

		if (!t || strlen(t) != json_string_length(e))
			return jsonx_bad(err, at, "element %zu is not a text without NUL", i);
	}
	return 0;
}

static int parse_command(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = need_words(v, at, err);

	if (r < 0)
		return r;
	if (json_array_size(v) == 0 || !json_string_value(json_array_get(v, 0))[0])
		return jsonx_bad(err, at, "is empty");
	s->command = v;
	return 0;
}

static int parse_init(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	const char *t;
	int r = need_text(v, 8, at, &t, err);

	if (r < 0)
		return r;
	if (strcmp(t, "guest") != 0)
		return jsonx_bad(err, at, "\"%s\" is not \"guest\"", t);
	s->own_init = true;
	return 0;
}

static int parse_uuid(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = need_text(v, UUID_SIZE - 1, at, &s->uuid, err);

	if (r == 0 && !uuid_is(s->uuid))
		return jsonx_bad(err, at, "\"%s\" is not a UUID in lower case", s->uuid);
	return r;
}

/* A host name as hostname(7) has it: letters, digits, '-' and '.', no label empty. */
static int parse_hostname(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = need_text(v, 64, at, &s->hostname, err);
	size_t label = 0;

	if (r < 0)
		return r;
	for (const char *p = s->hostname; *p; p++) {
		bool alnum = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= '0' && *p <= '9');

		if (!alnum && !((*p == '-' || *p == '_' || *p == '.') && label > 0))
			return jsonx_bad(err, at, "\"%s\" is not a host name", s->hostname);
		label = *p == '.' ? 0 : label + 1;
	}
	return label ? 0 : jsonx_bad(err, at, "\"%s\" is not a host name", s->hostname);
}

static int parse_env(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	const char *key;
	json_t *e;

	if (!json_is_object(v))
		return jsonx_bad(err, at, "not an object");
	if (json_object_size(v) > SPEC_ENV_MAX)
		return jsonx_bad(err, at, "has more than %d variables", SPEC_ENV_MAX);
	json_object_foreach(v, key, e) {
		if (!key[0] || !str_is_text(key, 256) || strchr(key, '='))
			return jsonx_bad(err, at, "has a name that is empty, too long or has '='");
		if (!json_is_string(e) || strlen(json_string_value(e)) != json_string_length(e))
			return jsonx_bad(err, at, "%s is not a text without NUL", key);
	}
	s->env = v;
	return 0;
}

/* Parts of letters, digits, '+', '-' and '_', separated by '/': no '..' can be made of them. */
static int parse_timezone(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = need_text(v, 64, at, &s->timezone, err);
	size_t n;

	if (r < 0)
		return r;
	n = strspn(s->timezone,
		   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-_/");
	if (s->timezone[n] || s->timezone[0] == '/')
		return jsonx_bad(err, at, "\"%s\" is not the name of a time zone", s->timezone);
	return 0;
}

static int bind_source(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return need_absolute(v, at, &((struct spec_bind *)to)->source, err);
}

static int bind_target(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec_bind *b = to;
	int r = need_absolute(v, at, &b->target, err);

	if (r == 0 && strspn(b->target, "/.") == strlen(b->target))
		return jsonx_bad(err, at, "cannot be the root itself");
	return r;
}

static int parse_binds(json_t *v, const char *at, void *to, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "source", .type = JSONX_FN, .parse = bind_source, .required = true },
		{ .name = "target", .type = JSONX_FN, .parse = bind_target, .required = true },
		{ .name = "readonly",
		  .type = JSONX_BOOL,
		  .offset = offsetof(struct spec_bind, readonly) },
	};
	struct spec *s = to;
	int r = jsonx_need_array(v, SPEC_BINDS_MAX, at, err);
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		char path[64];

		str_fmt(path, sizeof(path), "%s/%zu", at, i);
		s->binds[i] = (struct spec_bind){ 0 };
		r = jsonx_fill(e, path, fields, ARRAY_SIZE(fields), &s->binds[i], err);
		if (r < 0)
			return r;
	}
	s->n_binds = (unsigned)json_array_size(v);
	return 0;
}

static int parse_limits(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return limits_parse(&((struct spec *)to)->limits, v, at, err);
}

static const char *const restart_names[] = {
	[RESTART_NO] = "no",
	[RESTART_ON_FAILURE] = "on-failure",
	[RESTART_ALWAYS] = "always",
};

static int parse_restart(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	int r = need_word(v, restart_names, ARRAY_SIZE(restart_names),
			  "is not one of no, on-failure, always", at, err);

	if (r >= 0)
		s->restart = (unsigned)r;
	return r < 0 ? r : 0;
}

static int parse_disk_quota(json_t *v, const char *at, void *to, struct cos_err *err)
{
	static const char *const names[] = {
		[DISK_AUTO] = "auto",
		[DISK_PROJECT] = "project",
		[DISK_LOOP] = "loop",
	};
	struct spec *s = to;
	int r = need_word(v, names, ARRAY_SIZE(names), "is not one of auto, project, loop", at,
			  err);

	if (r >= 0)
		s->disk_quota = (unsigned)r;
	return r < 0 ? r : 0;
}

static int parse_signal(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec *s = to;
	const char *t;
	int r = need_text(v, 16, at, &t, err);

	if (r < 0)
		return r;
	s->stop_signal = signal_from_text(t);
	return s->stop_signal > 0 ? 0 : jsonx_bad(err, at, "\"%s\" is not a signal", t);
}

/* An empty array takes away what a profile, or an earlier document, has. */
static int check_hook(struct spec *s, enum hook_id id, const char *at, struct cos_err *err)
{
	json_t *v = s->hooks[id];
	char path[64];
	int r;

	str_fmt(path, sizeof(path), "%s/%s", at, hook_defs[id].name);
	r = v ? need_words(v, path, err) : 0;
	if (r < 0)
		return r;
	if (json_array_size(v) == 0)
		s->hooks[id] = NULL;
	else if (json_string_value(json_array_get(v, 0))[0] != '/')
		return jsonx_bad(err, path, "does not begin with an absolute path");
	return 0;
}

static int parse_hooks(json_t *v, const char *at, void *to, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
#define X(id, key, oci, help)                                                                      \
	{ .name = key, .type = JSONX_ANY, .offset = offsetof(struct spec, hooks[HOOK_##id]) },
		COS_HOOKS(X)
#undef X
	};
	int r = jsonx_fill(v, at, fields, ARRAY_SIZE(fields), to, err);

	for (enum hook_id id = 0; r == 0 && id < HOOK__N; id++)
		r = check_hook(to, id, at, err);
	return r;
}

/* An empty array takes the check away. */
static int parse_health_command(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct spec_health *h = to;
	int r = need_words(v, at, err);

	if (r < 0)
		return r;
	if (json_array_size(v) > 0 && !json_string_value(json_array_get(v, 0))[0])
		return jsonx_bad(err, at, "begins with an empty text");
	h->command = json_array_size(v) ? v : NULL;
	return 0;
}

static int parse_health_action(json_t *v, const char *at, void *to, struct cos_err *err)
{
	static const char *const names[] = {
		[HEALTH_DO_NOTHING] = "none",
		[HEALTH_DO_RESTART] = "restart",
		[HEALTH_DO_KILL] = "kill",
	};
	struct spec_health *h = to;
	int r = need_word(v, names, ARRAY_SIZE(names), "is not one of none, restart, kill", at,
			  err);

	if (r >= 0)
		h->action = (unsigned)r;
	return r < 0 ? r : 0;
}

#define H_WORDS(m)  .type = JSONX_FN, .parse = parse_health_##m
#define H_ACTION(m) .type = JSONX_FN, .parse = parse_health_##m
#define H_UINT(m)   .type = JSONX_UINT, .offset = offsetof(struct spec_health, m)

static int parse_health(json_t *v, const char *at, void *to, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
#define X(key, type, member, lo, hi, dflt, help)                                                   \
	{ .name = key, H_##type(member), .min = lo, .max = hi },
		COS_HEALTH_KEYS(X)
#undef X
	};

	return jsonx_fill(v, at, fields, ARRAY_SIZE(fields), &((struct spec *)to)->health, err);
}

/* Only below /proc and /sys: anything else in the root is the guest's own. */
static int check_paths(json_t *v, const char *at, struct cos_err *err)
{
	int r = jsonx_need_array(v, SPEC_PATHS_MAX, at, err);
	const char *t;
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		r = need_absolute(e, at, &t, err);
		if (r < 0)
			return r;
		if ((strncmp(t, "/proc/", 6) != 0 && strncmp(t, "/sys/", 5) != 0) ||
		    strstr(t, ".."))
			return jsonx_bad(err, at, "\"%s\" is not below /proc or /sys", t);
	}
	return 0;
}

static int parse_masked_paths(json_t *v, const char *at, void *to, struct cos_err *err)
{
	((struct spec *)to)->masked_paths = v;
	return check_paths(v, at, err);
}

static int parse_readonly_paths(json_t *v, const char *at, void *to, struct cos_err *err)
{
	((struct spec *)to)->readonly_paths = v;
	return check_paths(v, at, err);
}

/* The parsers of net.* fill their own part. */
#define NET_KEY(name)                                                                              \
	static int parse_net_##name(json_t *v, const char *at, void *to, struct cos_err *err)      \
	{                                                                                          \
		return net_parse_##name(v, at, &((struct spec *)to)->net, err);                    \
	}
NET_KEY(mode)
NET_KEY(bridge)
NET_KEY(address)
NET_KEY(gateway)
NET_KEY(forward)
NET_KEY(peers)

#define FN(fn)           .type = JSONX_FN, .parse = fn
#define T_NAME(m)        FN(parse_name)
#define T_UUID(m)        FN(parse_uuid)
#define T_TYPE(m)        FN(parse_type)
#define T_TEMPLATE(m)    FN(parse_template)
#define T_ROOTFS(m)      FN(parse_rootfs)
#define T_PROFILES(m)    FN(parse_profiles)
#define T_COMMAND(m)     FN(parse_command)
#define T_INIT(m)        FN(parse_init)
#define T_HOSTNAME(m)    FN(parse_hostname)
#define T_CWD(m)         FN(parse_cwd)
#define T_ENV(m)         FN(parse_env)
#define T_TIMEZONE(m)    FN(parse_timezone)
#define T_BINDS(m)       FN(parse_binds)
#define T_LIMITS(m)      FN(parse_limits)
#define T_REQUIRES(m)    FN(parse_requires)
#define T_DISK_QUOTA(m)  FN(parse_disk_quota)
#define T_NET_MODE(m)    FN(parse_net_mode)
#define T_NET_ADDRESS(m) FN(parse_net_address)
#define T_NET_BRIDGE(m)  FN(parse_net_bridge)
#define T_NET_GATEWAY(m) FN(parse_net_gateway)
#define T_NET_FORWARD(m) FN(parse_net_forward)
#define T_NET_PEERS(m)   FN(parse_net_peers)
#define T_RESTART(m)     FN(parse_restart)
#define T_SIGNAL(m)      FN(parse_signal)
#define T_HEALTH(m)      FN(parse_health)
#define T_HOOKS(m)       FN(parse_hooks)
#define T_PATHS(m)       FN(parse_##m)
#define T_VM_KERNEL(m)   FN(parse_vm_kernel)
#define T_VM_INITRD(m)   FN(parse_vm_initrd)
#define T_VM_CMDLINE(m)  FN(parse_vm_cmdline)
#define T_VM_MEMORY(m)   FN(parse_vm_memory)
#define T_REF(m)         .type = JSONX_REF, .offset = offsetof(struct spec, m)
#define T_BOOL(m)        .type = JSONX_BOOL, .offset = offsetof(struct spec, m)
#define T_UINT(m)        .type = JSONX_UINT, .offset = offsetof(struct spec, m)
#define T_ANY(m)         .type = JSONX_ANY, .offset = offsetof(struct spec, m)

static const struct jsonx_field fields[] = {
#define X(key, type, member, lo, hi, when, cli, dflt, help)                                        \
	{ .name = key, T_##type(member), .min = lo, .max = hi },
	COS_SPEC_KEYS(X)
#undef X
};

static void defaults(struct spec *s)
{
	*s = (struct spec){
		.userns = true,
		.manage = true,
		.stop_timeout = 10,
		.hook_timeout = 30,
		.health = { .interval = 30, .timeout = 5, .retries = 3 },
		.cwd = "/",
		.vm = { .cmdline = "console=ttyS0 reboot=k panic=-1",
			.cpus = 1,
			.memory = 1ULL << 30,
			.acpi = true },
	};
	limits_init(&s->limits);
}

int spec_check_part(json_t *doc, struct cos_err *err)
{
	struct spec s;

	defaults(&s);
	return jsonx_fill(doc, "", fields, ARRAY_SIZE(fields), &s, err);
}

/* What a machine has not, or what its kernel alone decides. */
static const char *const container_keys[] = {
	"rootfs",     "command",      "init",           "hostname",     "user",         "cwd",
	"env",        "timezone",     "binds",          "stop_signal",  "health",       "userns",
	"manage",     "volatile",     "seccomp",        "no_new_privs", "capabilities", "devices",
	"disk.quota", "masked_paths", "readonly_paths",
};

/* Without a word of the user's on it, the limit is what the machine needs. */
static int check_memory(struct spec *s, struct cos_err *err)
{
	uint64_t *most = &s->limits.v[LIMIT_MEMORY_MAX],
		 need = s->vm.memory + SPEC_VM_OVERHEAD(s->vm.memory);
	char texts[2][LIMIT_TEXT_SIZE];

	if (!s->limits.set[LIMIT_MEMORY_MAX])
		*most = need;
	if (*most >= need)
		return 0;
	return jsonx_bad(err, "/limits/memory.max", "%s is too little for vm.memory: it needs %s",
			 limit_print(LIMIT_MEMORY_MAX, *most, texts[0]),
			 limit_print(LIMIT_MEMORY_MAX, need, texts[1]));
}

static int check_machine(json_t *doc, struct spec *s, struct cos_err *err)
{
	char at[40];

	for (size_t i = 0; i < ARRAY_SIZE(container_keys); i++) {
		str_fmt(at, sizeof(at), "/%s", container_keys[i]);
		if (json_object_get(doc, container_keys[i]))
			return jsonx_bad(err, at, "is for containers: this guest is a vm");
	}
	for (enum limit_id id = LIMIT__NET; id < LIMIT__N; id++) {
		str_fmt(at, sizeof(at), "/limits/%s", limit_defs[id].name);
		if (s->limits.set[id])
			return jsonx_bad(err, at, "is for containers: this guest is a vm");
	}
	if (!s->vm.kernel)
		return jsonx_bad(err, "/vm.kernel", "missing");
	if (s->net.mode == NET_HOST || s->net.mode == NET_MACVLAN)
		return jsonx_bad(err, "/net.mode", "%s is for containers: this guest is a vm",
				 net_mode_name[s->net.mode]);
	return check_memory(s, err);
}

static int check_container(json_t *doc, struct spec *s, struct cos_err *err)
{
	json_t *health = json_object_get(doc, "health");
	const char *key;
	json_t *v;

	json_object_foreach(doc, key, v) {
		char at[40];

		if (strncmp(key, "vm.", 3) != 0)
			continue;
		str_fmt(at, sizeof(at), "/%s", key);
		return jsonx_bad(err, at, "is for guests of type vm");
	}
	if (!s->template == !s->rootfs)
		return jsonx_bad(err, s->template ? "/rootfs" : "/template",
				 s->template ? "given beside template" : "missing (or rootfs)");
	if (s->command && s->own_init)
		return jsonx_bad(err, "/init", "given beside command");
	if (s->own_init || !s->command) {
		if (s->user)
			return jsonx_bad(err, "/user", "needs command: init runs as root");
		s->own_init = true;
	}
	if (health && json_object_size(health) && !json_object_get(health, "command"))
		return jsonx_bad(err, "/health/command", "missing");
	return 0;
}

static int check_whole(json_t *doc, struct spec *s, struct cos_err *err)
{
	int r;

	if (!s->name[0])
		return jsonx_bad(err, "/name", "missing");
	r = s->type == GUEST_VM ? check_machine(doc, s, err) : check_container(doc, s, err);
	if (r < 0)
		return r;
	if (net_check(&s->net, "", err) < 0)
		return -EINVAL;
	return limits_check(&s->limits, "/limits", err);
}

int spec_parse(json_t *doc, struct spec *ret, struct cos_err *err)
{
	struct spec s;
	int r;

	defaults(&s);
	r = jsonx_fill(doc, "", fields, ARRAY_SIZE(fields), &s, err);
	if (r == 0)
		r = check_whole(doc, &s, err);
	if (r < 0)
		return r;
	if (!s.hostname)
		s.hostname = s.name;
	if (!json_object_get(doc, "no_new_privs"))
		s.no_new_privs = !s.own_init;
	if (!s.stop_signal)
		s.stop_signal = SIGTERM; /* known inits get their own: lib/launch/stop.c */
	if (s.ephemeral)
		s.is_volatile = true;
	s.doc = json_incref(doc);
	*ret = s;
	if (s.hostname == s.name)
		ret->hostname = ret->name;
	return 0;
}

void spec_done(struct spec *s)
{
	json_decref(s->doc);
	*s = (struct spec){ 0 };
}

int spec_expand(json_t *base, json_t *const *profiles, unsigned n, json_t *own, json_t **ret,
		struct cos_err *err)
{
	auto_json json_t *doc = json_incref(base);

	for (unsigned i = 0; i <= n && doc; i++) {
		json_t *next = jsonx_merge(doc, i < n ? profiles[i] : own);

		json_decref(doc);
		doc = next;
	}
	if (!doc)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "merge profiles");
	*ret = take_ptr(doc);
	return 0;
}

int spec_name_uuid(json_t *doc)
{
	char uuid[UUID_SIZE];
	int r;

	if (!json_is_object(doc) || json_object_get(doc, "uuid"))
		return 0;
	r = uuid_make(uuid);
	if (r == 0 && json_object_set_new(doc, "uuid", json_string(uuid)) < 0)
		r = -ENOMEM;
	return r < 0 ? r : 1;
}

static json_t *value_of(enum spec_cli cli, const char *value)
{
	uint64_t n;

	switch (cli) {
	case CLI_TEXT:
		return json_string(value);
	case CLI_BOOL:
		if (strcmp(value, "true") == 0 || strcmp(value, "yes") == 0 ||
		    strcmp(value, "1") == 0)
			return json_true();
		if (strcmp(value, "false") == 0 || strcmp(value, "no") == 0 ||
		    strcmp(value, "0") == 0)
			return json_false();
		return NULL;
	case CLI_NUMBER:
		return str_to_u64(value, &n) == 0 && n <= INT64_MAX ? json_integer((json_int_t)n)
								    : NULL;
	case CLI_TIME:
		if (str_to_usec(value, &n) < 0 || n % 1000000)
			return NULL;
		return json_integer((json_int_t)(n / 1000000));
	case CLI_JSON:
		return json_loads(value, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	}
	return NULL;
}

static json_t *limits_of(json_t *doc)
{
	json_t *limits = json_object_get(doc, "limits");

	if (!json_is_object(limits)) {
		limits = json_object();
		json_object_set_new(doc, "limits", limits);
	}
	return limits;
}

static int set_limit(json_t *doc, enum limit_id id, const char *value, struct cos_err *err)
{
	struct limits l;
	int r = limit_parse(&l, id, value, limit_defs[id].name, err);

	if (r < 0)
		return r;
	return json_object_set_new(limits_of(doc), limit_defs[id].name, json_string(value)) < 0
		       ? cos_fail(err, COS_E_KERNEL, ENOMEM, "%s", limit_defs[id].name)
		       : 0;
}

int spec_set_text(json_t *doc, const char *key, const char *value, struct cos_err *err)
{
	static const char *const form[] = {
		[CLI_TEXT] = "a text without control characters",
		[CLI_BOOL] = "true or false",
		[CLI_NUMBER] = "a whole number",
		[CLI_TIME] = "a time in whole seconds such as 30, 30s or 2m",
		[CLI_JSON] = "JSON",
	};
	enum limit_id id = limit_find(key);
	const struct spec_key *k = spec_key_find(key);
	json_t *v;

	if (id != LIMIT__N)
		return set_limit(doc, id, value, err);
	if (!k)
		return cos_advise(err,
				  cos_fail(err, COS_E_INVALID, 0, "%s: no such key or limit",
					   str_is_text(key, 64) ? key : "(unprintable key)"),
				  "cos-guest(5) lists the keys, cos-limits(5) the limits");
	v = str_is_text(value, SPEC_BYTES_MAX) ? value_of(k->cli, value) : NULL;
	if (!v)
		return cos_fail(err, COS_E_INVALID, 0, "%s: \"%.60s\" is not %s", key,
				str_is_text(value, SPEC_BYTES_MAX) ? value : "(unprintable)",
				form[k->cli]);
	return json_object_set_new(doc, key, v) < 0 ? cos_fail(err, COS_E_KERNEL, ENOMEM, "%s", key)
						    : 0;
}

int spec_unset_text(json_t *doc, const char *key, struct cos_err *err)
{
	json_t *from = limit_find(key) != LIMIT__N ? limits_of(doc) : doc;

	return json_object_set_new(from, key, json_null()) < 0
		       ? cos_fail(err, COS_E_INVALID, 0, "the key is not valid UTF-8")
		       : 0;
}

int signal_from_text(const char *s)
{
	uint64_t n;

	if (str_to_u64(s, &n) == 0)
		return n >= 1 && n < NSIG ? (int)n : -EINVAL;
	if (strncmp(s, "SIG", 3) == 0)
		s += 3;
	if (strncmp(s, "RTMIN", 5) == 0) {
		if (s[5] == '\0')
			return SIGRTMIN;
		return s[5] == '+' && str_to_u64(s + 6, &n) == 0 && n <= 30 ? SIGRTMIN + (int)n
									    : -EINVAL;
	}
	for (int sig = 1; sig < 32; sig++) {
		const char *name = sigabbrev_np(sig);

		if (name && strcmp(name, s) == 0)
			return sig;
	}
	return -EINVAL;
}

char *signal_to_text(int sig, char *buf)
{
	const char *name = sigabbrev_np(sig);

	if (name)
		snprintf(buf, 16, "%s", name);
	else if (sig >= SIGRTMIN && sig <= SIGRTMAX)
		snprintf(buf, 16, "RTMIN+%d", sig - SIGRTMIN);
	else
		snprintf(buf, 16, "%d", sig);
	return buf;
}
