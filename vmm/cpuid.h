/* vmm/cpuid.h - what a guest is told of its processor */
#pragma once

#include "lib/base/err.h"

struct vm;
struct vcpu;
struct kvm_cpuid2;

/* The host's, as KVM supports it, with the rows of cpuid.c applied. *RET is to be freed. */
int cpuid_template(const struct vm *vm, struct kvm_cpuid2 **ret, struct cos_err *err);
/* Sets it for vCPU INDEX of N, with that one's number in it. T is changed. */
int cpuid_set(int vcpu, struct kvm_cpuid2 *t, unsigned index, unsigned n, struct cos_err *err);
