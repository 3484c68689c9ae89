/* tests/vmm/machine.t.c - the mini guest on a real machine: boot, time, processors, ways to end */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "tests/tap.h"
#include "tests/vmm/run.h"

#define ARGS(...)                                                                                  \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static struct run r;

/* One run of the mini guest: what it must say, how it must end, and what the log must have. */
static const struct row {
	const char *cmdline, *vcpus, *boot, *text;
	int status;
	const char *end;
} rows[] = {
	{ "test=hello", "1", "auto", "hello\n", 0, "ended: off" },
	{ "test=hello", "1", "elf", "hello\n", 0, "ended: off" },
	{ "test=hello", "1", "pvh", "pvh\nhello\n", 0, "ended: off" },
	{ "test=status value=5", "1", "auto", "", 69, "ended: exit" },
	{ "test=status value=64", "1", "auto", "", 65, "ended: exit" },
	{ "test=reset", "1", "auto", "", 10, "ended: reset" },
	{ "test=triple", "1", "auto", "", 11, "ended: triple-fault" },
	{ "test=triple", "2", "auto", "", 11, "ended: triple-fault" },
	{ "test=timer", "1", "auto", "5 ticks\n", 0, "ended: off" },
	{ "test=msr", "1", "auto", "gp 1\n", 0, "ended: off" },
	{ "test=memory", "2", "auto", "usable 133823488\nmp 1\n", 0, "ended: off" },
	{ "test=smp cpus=2", "2", "auto", "cpus 2\n", 0, "ended: off" },
	{ "test=smp cpus=5", "5", "auto", "cpus 5\n", 0, "ended: off" },
	{ "test=smp cpus=64", "64", "auto", "cpus 64\n", 0, "ended: off" },
	{ "test=halt", "1", "auto", "halting\n", 0, "ended: off" },
	{ "test=halt", "3", "auto", "halting\n", 0, "ended: off" },
	{ "test=wild", "1", "auto", "", 13, "ended: emulation" },
	{ "test=steps n=3", "1", "auto", "result 3453997556048239312\n", 0, "ended: off" },
	{ "test=copies n=2", "1", "auto", "result 6\n", 0, "ended: off" },
	{ "test=garbage seed=7", "1", "auto", "survived\n", 0, "ended: off" },
	{ "test=emul", "1", "auto",
	  "int3 1\nstac 1\nclac 0\ncmpxchg16b 1\ndiffers 1\nunaligned 1\npopcnt 9\n", 0,
	  "ended: off" },
};

static void each_run_says_and_ends_as_it_should(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		int status = run_whole(&r, ARGS("--cmdline", row->cmdline, "--vcpus", row->vcpus,
						"--boot", row->boot));

		ok(status == row->status && run_logged(&r, row->end), "%s, %s vCPUs, %s: status %d",
		   row->cmdline, row->vcpus, row->boot, status);
		ok(row->text[0] ? strstr(r.text, row->text) != NULL : r.len == 0,
		   "%s: what it says", row->cmdline);
		run_done(&r);
	}
}

static void memory_above_the_hole_is_there(void)
{
	ok(run_whole(&r, ARGS("--cmdline", "test=memory", "--memory", "5G")) == 0, "5 GiB");
	/* all but what lies between 639 KiB and 1 MiB */
	ok(strstr(r.text, "usable 5368314880\n"), "all of it is usable");
	run_done(&r);
}

/* What the kernel says of the guest's mapping: "mg" is MADV_MERGEABLE. */
static bool is_mergeable(pid_t pid)
{
	char path[40], line[512];
	bool guest = false, merges = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "Size:", 5) == 0)
			guest = strtoull(line + 5, NULL, 10) == 128 << 10;
		if (guest && strncmp(line, "VmFlags:", 8) == 0)
			merges = strstr(line, " mg");
	}
	if (f)
		fclose(f);
	return merges;
}

static void memory_is_shared_only_when_asked(void)
{
	run_start(&r, ARGS("--cmdline", "test=spin"));
	ok(run_says(&r, "spinning\n") && !is_mergeable(r.pid), "pages are not shared");
	run_done(&r);
	if (access("/sys/kernel/mm/ksm", F_OK) < 0) {
		tap_skip("unless asked for", "no KSM");
		return;
	}
	run_start(&r, ARGS("--cmdline", "test=spin", "--mergeable"));
	ok(run_says(&r, "spinning\n") && is_mergeable(r.pid), "unless asked for");
	run_done(&r);
}

static void an_initrd_is_passed_on(void)
{
	auto_close int fd = run_file("of the initrd\n", 14);

	ok(run_whole(&r, ARGS("--cmdline", "test=initrd", "--initrd", run_fd(fd))) == 0, "initrd");
	ok(strstr(r.text, "initrd 14\nof the initrd\n"), "with its size and its bytes");
	run_done(&r);
}

static void what_is_typed_arrives(void)
{
	char line[1003];

	memset(line, 'x', sizeof(line) - 3);
	memcpy(line + sizeof(line) - 3, "!\n", 3);
	run_start(&r, ARGS("--cmdline", "test=echo"));
	ok(run_says(&r, "ready\n"), "the guest waits for input");
	run_type(&r, line);
	ok(run_end(&r) == 0, "it ends when the line does");
	ok(r.len >= sizeof(line) - 1 && strcmp(r.text + r.len - (sizeof(line) - 1), line) == 0,
	   "1002 bytes came back, none lost");
	run_done(&r);
}

static void the_button_is_seen(void)
{
	char buf[256];

	run_start(&r, ARGS("--cmdline", "test=button"));
	ok(run_says(&r, "waiting\n"), "a guest that waits for Ctrl-Alt-Del");
	ok(run_ask(&r, "{\"cmd\":\"stop\"}", buf, sizeof(buf)) && strcmp(buf, "{\"ok\":true}") == 0,
	   "stop is answered");
	ok(run_end(&r) == 0 && strstr(r.text, "pressed\n") && run_logged(&r, "ended: stopped"),
	   "the guest ended itself: status 0");
	run_done(&r);
	run_start(&r, ARGS("--cmdline", "test=button"));
	ok(run_says(&r, "waiting\n"), "another");
	kill(r.pid, SIGTERM);
	ok(run_end(&r) == 0 && run_logged(&r, "ended: stopped"), "SIGTERM does the same");
	run_done(&r);
}

static void the_power_button_is_seen(void)
{
	run_start(&r, ARGS("--cmdline", "test=power", "--acpi"));
	ok(run_says(&r, "waiting\n"), "a guest that waits for ACPI's power button");
	kill(r.pid, SIGTERM);
	ok(run_end(&r) == 0 && strstr(r.text, "status 256\ncleared 0\n") &&
		   run_logged(&r, "ended: stopped"),
	   "turns itself off");
	run_done(&r);
}

static void who_does_not_see_it_is_forced(void)
{
	char buf[256];
	uint64_t before;

	run_start(&r, ARGS("--cmdline", "test=spin", "--vcpus", "2"));
	ok(run_says(&r, "spinning\n"), "a guest that looks at nothing");
	before = clock_usec();
	ok(run_ask(&r, "{\"cmd\":\"stop\",\"grace_usec\":200000}", buf, sizeof(buf)), "stop");
	ok(run_end(&r) == 12 && clock_usec() - before >= 200000,
	   "forced after its grace: status 12");
	run_done(&r);
	run_start(&r, ARGS("--cmdline", "test=spin"));
	run_says(&r, "spinning\n");
	ok(run_ask(&r, "{\"cmd\":\"reset\"}", buf, sizeof(buf)) && run_end(&r) == 12,
	   "reset is at once");
	run_done(&r);
	run_start(&r, ARGS("--cmdline", "test=spin"));
	run_says(&r, "spinning\n");
	kill(r.pid, SIGTERM);
	while (run_stat(&r, "uptime_usec") >= 0 && !run_logged(&r, "ended")) {
		char state[RUN_TEXT];

		if (run_ask(&r, "{\"cmd\":\"stats\"}", state, sizeof(state)) &&
		    strstr(state, "\"stopping\""))
			break;
	}
	kill(r.pid, SIGTERM);
	ok(run_end(&r) == 12, "so is a second SIGTERM");
	run_done(&r);
	run_start(&r, ARGS("--cmdline", "test=spin"));
	run_says(&r, "spinning\n");
	kill(r.pid, SIGKILL);
	ok(run_end(&r) == 128 + SIGKILL, "SIGKILL leaves nothing to wait for");
	run_done(&r);
}

/* Of two vCPUs that spin, once they had 200 ms. */
static void the_guests_time_is_not_the_vmms(void)
{
	int64_t vcpu = run_stat(&r, "vcpu_usec"), vmm = run_stat(&r, "vmm_usec"), now = vcpu;
	uint64_t until = clock_usec() + 20 * USEC_PER_SEC;

	while (now >= 0 && now - vcpu < 200000 && clock_usec() < until) {
		usleep(20000);
		now = run_stat(&r, "vcpu_usec");
	}
	ok(now - vcpu >= 200000 && run_stat(&r, "vmm_usec") - vmm < (now - vcpu) / 4,
	   "the guest's time is not the VMM's");
}

static void the_control_socket_is_strict(void)
{
	static char line[2048], buf[RUN_TEXT];

	run_start(&r, ARGS("--cmdline", "test=spin", "--vcpus", "2"));
	run_says(&r, "spinning\n");
	ok(run_ask(&r, "stats", buf, sizeof(buf)) && strstr(buf, "InvalidParameter"), "not JSON");
	ok(run_ask(&r, "{\"cmd\":\"fly\"}", buf, sizeof(buf)) && strstr(buf, "InvalidParameter"),
	   "an unknown command");
	ok(run_ask(&r, "{\"cmd\":\"stop\",\"wings\":2}", buf, sizeof(buf)) &&
		   strstr(buf, "InvalidParameter"),
	   "an unknown parameter");
	ok(run_stat(&r, "exits/io") > 0 && run_stat(&r, "vcpus/1/cpu_usec") >= 0 &&
		   run_stat(&r, "vcpus/2/cpu_usec") == -1,
	   "stats has exits and each vCPU");
	the_guests_time_is_not_the_vmms();
	ok(run_stat(&r, "kvm/exits") != 0, "KVM's own counters, where it has them");
	ok(run_stat(&r, "memory_bytes") == 128 << 20, "and the memory");
	memset(line, ' ', sizeof(line) - 1);
	ok(!run_ask(&r, line, buf, sizeof(buf)), "a line without end ends the connection");
	kill(r.pid, SIGTERM);
	kill(r.pid, SIGKILL);
	run_done(&r);
}

/* A socket by path: there for others, and again when its machine was killed. */
static void a_socket_by_path_is_replaced(void)
{
	char path[64];
	int status;

	snprintf(path, sizeof(path), "/tmp/cos-vmm-test-%d.sock", getpid());
	for (int i = 0; i < 2; i++) {
		run_start(&r, ARGS("--cmdline", "test=spin", "--control", path));
		ok(run_says(&r, "spinning\n") && access(path, F_OK) == 0,
		   "a control socket by path");
		if (i == 1) {
			static struct run other;

			status = run_whole(&other, ARGS("--control", path));
			ok(status == 1 && run_logged(&other, "listen at"),
			   "which is one machine's");
			run_done(&other);
		}
		kill(r.pid, SIGKILL);
		run_end(&r);
		run_done(&r);
	}
	unlink(path);
}

static void it_waits_for_the_other_side(void)
{
	char byte = 0;
	int sync[2];

	for (int go = 0; go < 2; go++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sync) < 0)
			abort();
		run_start(&r, ARGS("--cmdline", "test=hello", "--sync", run_fd(dup(sync[1]))));
		close(sync[1]);
		ok(read(sync[0], &byte, 1) == 1 && byte == 'R', "ready");
		ok(r.len == 0, "the guest does not run yet");
		if (go)
			ok(write(sync[0], "G", 1) == 1, "go");
		close(sync[0]);
		ok(run_end(&r) == (go ? 0 : 9) && (r.len > 0) == go,
		   go ? "then it runs" : "without an answer it never does");
		run_done(&r);
	}
}

static void it_tells_the_other_side_why_not(void)
{
	char text[2048] = "";
	int sync[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
		abort();
	run_start(&r, ARGS("--kernel", "/dev/null", "--sync", run_fd(dup(sync[1]))));
	close(sync[1]);
	ok(read(sync[0], text, sizeof(text) - 1) > 0 &&
		   strstr(text, "{\"error\":\"BadImage\"") == text,
	   "a kernel that is none: %s", text);
	close(sync[0]);
	ok(run_end(&r) == 1, "its status");
	run_done(&r);
}

int main(void)
{
	const char *skip = run_skip();

	if (skip) {
		tap_skip("machine", skip);
		return tap_done();
	}
	each_run_says_and_ends_as_it_should();
	memory_above_the_hole_is_there();
	memory_is_shared_only_when_asked();
	an_initrd_is_passed_on();
	what_is_typed_arrives();
	the_button_is_seen();
	the_power_button_is_seen();
	who_does_not_see_it_is_forced();
	the_control_socket_is_strict();
	a_socket_by_path_is_replaced();
	it_waits_for_the_other_side();
	it_tells_the_other_side_why_not();
	return tap_done();
}
