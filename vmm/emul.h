/* vmm/emul.h - the few instructions that KVM refuses in a guest's kernel
 *
 * Where KVM has VMX or SVM its own emulator is asked for next to nothing. Where it has to emulate
 * all of the guest's kernel mode, it lacks some that kernels use. */
#pragma once

#include <stddef.h>

struct vcpu;

#define EMUL_TEXT 160

/* Carries out the instruction at the vCPU's RIP, or raises the exception that it raises, after
 * KVM_EXIT_INTERNAL_ERROR; from the vCPU's thread. 0, or -ENOSYS: it is none of the table's, and
 * WHAT says where and which. */
int emul_step(struct vcpu *c, char what[EMUL_TEXT]);
