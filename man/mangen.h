/* man/mangen.h - what the files of the manual's generator share */
#pragma once

/* S as it is, whatever scdoc would make of it. */
void put(const char *s);
void put_bold(const char *s);

/* Tables, each an exit status. ARG: what stands behind the table's name in the page. */
int print_limits(const char *arg);
int print_net_limits(const char *arg);
int print_disk_limits(const char *arg);
int print_rlimits(const char *arg);
/* Of cos-vmm: options, commands, ends or exits. */
int print_vmm(const char *which);

/* Lines of tab-separated values for tests. */
void tsv_limits(void);
