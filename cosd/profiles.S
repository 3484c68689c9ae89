/* cosd/profiles.S - the built-in profiles as data */
	.section .rodata
	.global profile_default_start, profile_default_end
	.global profile_nouserns_start, profile_nouserns_end
profile_default_start:
	.incbin "default.json"
profile_default_end:
profile_nouserns_start:
	.incbin "default-nouserns.json"
profile_nouserns_end:
	.section .note.GNU-stack, "", %progbits
