/* man/mangen.h - what the files of the manual's generator share */
#pragma once

/* Prints a table of cos-vmm: options, commands, ends or exits. Returns an exit status. */
int print_vmm(const char *which);
