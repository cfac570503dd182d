/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telling how far a long command is: --progress, --progress-json, SIGUSR1.
 *
 * The command counts with libvhd's vhd_progress_*(); a thread of this file's
 * looks twice a second and prints, all on stderr.
 *
 *	meter_start("converting", true);
 *	err = work();			(vhd_progress_begin(total), _add(n) ...)
 *	meter_stop(!err);
 *
 * The other half of being a good long command: where it goes round, it looks at
 * vhd_interrupted and ends with -EINTR, leaving things as they were.
 */
#ifndef _VHDCTL_METER_H
#define _VHDCTL_METER_H

#include <stdbool.h>

/** enum meter_mode - auto: if stderr is a terminal, after a second */
enum meter_mode { METER_AUTO, METER_ON, METER_OFF, METER_JSON };

/* As the options say; set by next_option(). */
extern enum meter_mode meter_mode;

/** meter_init - take SIGUSR1, which would kill otherwise; once, early */
void meter_init(void);

/**
 * meter_start - a job begins
 * @verb: "checking"
 * @bytes: what is counted; else blocks
 */
void meter_start(const char *verb, bool bytes);

/**
 * meter_stop - it is over; nothing of the line stays on a terminal
 * @whole: it has succeeded: the last line of JSON says so
 */
void meter_stop(bool whole);

/** meter_clear - make room for a message */
void meter_clear(void);

#endif /* _VHDCTL_METER_H */
