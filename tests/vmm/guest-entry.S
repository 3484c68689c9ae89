/* tests/vmm/guest-entry.S - how the mini guest is entered: in long mode, by PVH, and by its other
 * processors */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long pvh_start

	.text
	.code64
	.globl _start
_start: /* RSI: Linux' boot parameters */
	lea stack_top(%rip), %rsp
	mov %rsi, %rdi
	xor %esi, %esi
	call guest_main
1:	hlt
	jmp 1b

	.code32
pvh_start: /* EBX: start info; flat segments, no paging */
	mov $pml4, %eax
	mov %eax, %cr3
	mov $pdpt + 3, %eax
	mov %eax, pml4
	mov $pd + 3, %eax
	mov %eax, pdpt
	xor %ecx, %ecx
	mov $0x83, %eax
2:	mov %eax, pd(, %ecx, 8)
	add $0x200000, %eax
	inc %ecx
	cmp $8, %ecx
	jne 2b
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x10, $3f
	.code64
3:	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	lea stack_top(%rip), %rsp
	xor %edi, %edi
	mov %ebx, %esi
	call guest_main
4:	hlt
	jmp 4b

/* Copied to AP_START below 1 MiB, where the other processors begin in real mode. */
	.globl ap_start, ap_end
	.code16
ap_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov $0x9000, %eax /* the page tables of cos-vmm */
	mov %eax, %cr3
	mov $0x20, %eax
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	mov $0x100, %eax
	xor %edx, %edx
	wrmsr
	mov $0x80000011, %eax
	mov %eax, %cr0
	lgdtl 0x8000 + ap_gdt_pointer - ap_start
	ljmpl $0x10, $ap_long
ap_gdt_pointer:
	.word 39
	.long gdt
ap_end:

	.code64
ap_long:
	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %ss
	mov $1, %eax
	lock xadd %eax, ap_number(%rip)
	inc %eax
	mov %eax, %edi
	shl $12, %eax
	lea ap_stacks(%rip), %rsp
	add %rax, %rsp
	call ap_main
5:	cli
	hlt
	jmp 5b

/* Vectors 0 to 47: the number, then the common part. */
	.globl vectors
	.align 16
vectors:
	.set n, 0
	.rept 48
	.align 16
	/* exceptions with an error code of the processor's */
	.if !(n == 8 || (n >= 10 && n <= 14) || n == 17)
	push $0
	.endif
	push $n
	jmp trap
	.set n, n + 1
	.endr
trap:
	push %rax
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	mov 72(%rsp), %rdi /* vector */
	lea 88(%rsp), %rsi /* RIP of what was interrupted */
	call guest_trap
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

	.data
	.align 8
	.globl gdt
gdt:	.quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x008f8b000000ffff
gdt_pointer:
	.word 39
	.long gdt
	.globl ap_number
	.align 4
ap_number:
	.long 0

	.bss
	.align 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4096
ap_stacks:
	.skip 4096 * 65
	.skip 16384
stack_top:
	.section .note.GNU-stack, "", @progbits
