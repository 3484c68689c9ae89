/* lib/model/state.h - names of a guest's states and events; the table of moves is cosd's */
#pragma once

/* X(id, name, meaning) */
#define COS_STATES(X)                                                                              \
	X(DEFINED, "defined", "It exists and does not run.")                                       \
	X(STARTING, "starting", "Its start steps are under way.")                                  \
	X(RUNNING, "running", "Its command or init was executed.")                                 \
	X(FROZEN, "frozen", "Its processes are suspended.")                                        \
	X(STOPPING, "stopping",                                                                    \
	  "It was asked to end, or it has ended and its hook *post_stop* runs.")                   \
	X(FAILED, "failed", "Its last start failed, or it ended with an error; *status* says why.")

enum guest_state {
#define X(id, ...) GS_##id,
	COS_STATES(X)
#undef X
		GS__N
};

/* X(id, name, meaning): what a guest's health checks say. */
#define COS_HEALTH(X)                                                                              \
	X(STARTING, "starting", "No check has succeeded yet.")                                     \
	X(GOOD, "healthy", "The last check succeeded, or too few failed since then.")              \
	X(BAD, "unhealthy", "As many checks as *retries* says have failed in a row.")

enum guest_health {
#define X(id, ...) HEALTH_##id,
	COS_HEALTH(X)
#undef X
		HEALTH__N
};

#define COS_EVENTS(X)                                                                              \
	X(START, "start")                                                                          \
	X(READY, "ready")                                                                          \
	X(FAIL, "fail")                                                                            \
	X(FREEZE, "freeze")                                                                        \
	X(THAW, "thaw")                                                                            \
	X(STOP, "stop")                                                                            \
	X(KILL, "kill")                                                                            \
	X(EXIT, "exit")                                                                            \
	X(DOWN, "down")                                                                            \
	X(TIMEOUT, "timeout")

enum guest_event {
#define X(id, ...) GE_##id,
	COS_EVENTS(X)
#undef X
		GE__N
};

extern const char *const guest_state_name[GS__N];
extern const char *const guest_event_name[GE__N];
extern const char *const guest_health_name[HEALTH__N];

/* Of a cos-vmm whose guest wants to be started again. */
#define VM_STATUS_RESET 10
/* How a machine ended, by the exit status of its cos-vmm: "triple-fault"; NULL: none of its ends.
 */
const char *vm_end_text(int status);
