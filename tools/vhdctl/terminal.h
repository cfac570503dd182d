/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What standard output is, and what may be sent there.
 */
#ifndef _VHDCTL_TERMINAL_H
#define _VHDCTL_TERMINAL_H

#include <stdbool.h>

/** terminal_columns - as wide as that, or as $COLUMNS, or 80 */
int terminal_columns(void);

/** terminal_colour - it is a terminal, and NO_COLOR is not set */
bool terminal_colour(void);

/** terminal_utf8 - may characters of U+2580 be sent there, as the locale says */
bool terminal_utf8(void);

#endif /* _VHDCTL_TERMINAL_H */
