/* cosd/notify.h - what systemd is told (sd_notify(3)'s protocol); nothing happens without
 * NOTIFY_SOCKET */
#pragma once

void notify_ready(void);
/* This process is the service's main one from now on. */
void notify_main_pid(void);
