/* vmm/msr.h - which model specific registers a guest may touch */
#pragma once

#include "lib/base/err.h"

struct vm;
struct kvm_run;

/* Refuses the ranges of the table in msr.c; a kernel without the filter refuses what it does not
 * know, as ever. */
int msr_filter(struct vm *vm, struct cos_err *err);
/* Answers KVM_EXIT_X86_RDMSR and _WRMSR: the guest gets #GP. */
void msr_refuse(struct kvm_run *run);
