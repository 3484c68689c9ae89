/* lib/launch/init-blob.S - the program cos-init as data of whoever starts guests */
	.section .rodata
	.balign 16
	.global cos_init_start, cos_init_end
cos_init_start:
	.incbin "lib/launch/cos-init"
cos_init_end:
	.section .note.GNU-stack, "", %progbits
