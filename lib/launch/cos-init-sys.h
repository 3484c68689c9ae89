/* lib/launch/cos-init-sys.h - system calls and entry point of cos-init, which has no C library
 *
 * Each sys_x() returns what the kernel returns: a result, or a negative errno. Only uapi headers.
 */
#pragma once

#include <asm/ioctls.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/wait.h>

#if defined(__x86_64__)

/* A kernel enters with argc, argv and the environment on the stack, and no return address. */
#define SYS_ENTRY(fn)                                                                              \
	__asm__(".globl _start\n"                                                                  \
		".type _start, @function\n"                                                        \
		"_start:\n\t"                                                                      \
		"xor %ebp, %ebp\n\t"                                                               \
		"mov %rsp, %rdi\n\t"                                                               \
		"and $-16, %rsp\n\t"                                                               \
		"call " #fn "\n\t"                                                                 \
		"hlt\n")

static inline long sys_call(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

/* The child shares the memory and runs FN(ARG) on the stack that ends at TOP (16-byte aligned);
 * FN must not return. */
static inline long sys_clone_vm(void *top, void (*fn)(void *), void *arg)
{
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	register void (*r12)(void *) __asm__("r12") = fn;
	register void *r13 __asm__("r13") = arg;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r13, %%rdi\n\t"
			 "call *%%r12\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(__NR_clone), "D"(CLONE_VM | SIGCHLD), "S"(top), "d"(0), "r"(r10),
			   "r"(r8), "r"(r12), "r"(r13)
			 : "rcx", "r11", "cc", "memory");
	return ret;
}

#elif defined(__aarch64__)

#define SYS_ENTRY(fn)                                                                              \
	__asm__(".globl _start\n"                                                                  \
		".type _start, %function\n"                                                        \
		"_start:\n\t"                                                                      \
		"mov x29, #0\n\t"                                                                  \
		"mov x30, #0\n\t"                                                                  \
		"mov x0, sp\n\t"                                                                   \
		"and sp, x0, #-16\n\t"                                                             \
		"bl " #fn "\n\t"                                                                   \
		"brk #1\n")

static inline long sys_call(long nr, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "cc", "memory");
	return x0;
}

static inline long sys_clone_vm(void *top, void (*fn)(void *), void *arg)
{
	register long x8 __asm__("x8") = __NR_clone;
	register long x0 __asm__("x0") = CLONE_VM | SIGCHLD;
	register void *x1 __asm__("x1") = top;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register void (*x5)(void *) __asm__("x5") = fn;
	register void *x6 __asm__("x6") = arg;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, #0\n\t"
			 "mov x0, x6\n\t"
			 "blr x5\n\t"
			 "brk #1\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x6)
			 : "cc", "memory");
	return x0;
}

#else
#error "cos-init: add the entry point and the system call of this architecture"
#endif

__attribute__((noreturn)) static inline void sys_exit(int status)
{
	for (;;)
		sys_call(__NR_exit_group, status, 0, 0, 0);
}

static inline long sys_write(int fd, const void *buf, unsigned long len)
{
	return sys_call(__NR_write, fd, (long)buf, (long)len, 0);
}

static inline long sys_close(int fd)
{
	return sys_call(__NR_close, fd, 0, 0, 0);
}

static inline long sys_set_cloexec(int fd)
{
	return sys_call(__NR_fcntl, fd, F_SETFD, FD_CLOEXEC, 0);
}

static inline long sys_set_undumpable(void)
{
	return sys_call(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0);
}

static inline long sys_chdir(const char *path)
{
	return sys_call(__NR_chdir, (long)path, 0, 0, 0);
}

static inline long sys_setsid(void)
{
	return sys_call(__NR_setsid, 0, 0, 0, 0);
}

/* Makes the terminal FD the controlling one of the caller's new session. */
static inline long sys_set_ctty(int fd)
{
	return sys_call(__NR_ioctl, fd, TIOCSCTTY, 0, 0);
}

static inline long sys_execve(const char *path, char *const *argv, char *const *envp)
{
	return sys_call(__NR_execve, (long)path, (long)argv, (long)envp, 0);
}

static inline long sys_kill(int pid, int sig)
{
	return sys_call(__NR_kill, pid, sig, 0, 0);
}

/* Any child; FLAGS as wait4(2). */
static inline long sys_wait(int *status, int flags)
{
	return sys_call(__NR_wait4, -1, (long)status, flags, 0);
}

/* Masks have bit N - 1 for signal N. */
static inline long sys_sigmask(unsigned long mask)
{
	return sys_call(__NR_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask));
}

static inline long sys_sigwait(unsigned long mask, siginfo_t *info)
{
	return sys_call(__NR_rt_sigtimedwait, (long)&mask, (long)info, 0, sizeof(mask));
}

/* HANDLER is SIG_DFL or SIG_IGN. */
static inline long sys_sigaction(int sig, __sighandler_t handler)
{
	struct sigaction sa = { .sa_handler = handler };

	return sys_call(__NR_rt_sigaction, sig, (long)&sa, 0, sizeof(sa.sa_mask));
}
